"""Write numbers in words, as they are spoken."""

from __future__ import annotations

import re

__all__ = ["cardinal", "ordinal", "roman", "spoken_number", "year"]

_SPELLED = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
sixteen seventeen eighteen nineteen
twenty thirty forty fifty sixty seventy eighty ninety
"""
_ONES, _TENS = _SPELLED.split()[:20], ["", "", *_SPELLED.split()[20:]]
_UNITS = ((10**12, "trillion"), (10**9, "billion"), (10**6, "million"), (1000, "thousand"))
_IRREGULAR = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}
_ROMAN = re.compile(r"(?=.)(C{0,3})(XC|XL|L?X{0,3})(IX|IV|V?I{0,3}|IIII)")
_NUMBER = re.compile(r"([$£]?)(\d(?:,?\d)*)(?:\.(\d+))?")
_PARTS = re.compile(r"\d+|%|[A-Za-z']+|.")


def cardinal(number: int) -> str:
    """Return a number below 10**15 in words, with British "and"."""
    if number < 20:
        return _ONES[number]
    if number < 100:
        return _TENS[number // 10] + (f" {_ONES[number % 10]}" if number % 10 else "")
    if number < 1000:
        rest = number % 100
        return f"{_ONES[number // 100]} hundred" + (f" and {cardinal(rest)}" if rest else "")
    unit, name = next((unit, name) for unit, name in _UNITS if number >= unit)
    rest = number % unit
    joint = " and " if rest < 100 else " "
    return f"{cardinal(number // unit)} {name}" + (joint + cardinal(rest) if rest else "")


def year(number: int) -> str:
    """Return a year from 1100 to 2099 in words."""
    century, rest = divmod(number, 100)
    if century % 10 == 0 and rest < 10:
        return cardinal(number)
    if not rest:
        return f"{cardinal(century)} hundred"
    return f"{cardinal(century)} {'o ' if rest < 10 else ''}{cardinal(rest)}"


def ordinal(number: int) -> str:
    """Return first, second and so on."""
    head, space, last = cardinal(number).rpartition(" ")
    if last in _IRREGULAR:
        last = _IRREGULAR[last]
    else:
        last = f"{last[:-1]}ieth" if last.endswith("y") else f"{last}th"
    return head + space + last


def roman(text: str) -> int | None:
    """Return the value of a Roman numeral up to 399, in capitals or not; None for other text."""
    if len(text) > 7 or not (text.isupper() or text.islower()):
        return None
    found = _ROMAN.fullmatch(text.upper())
    if not found:
        return None
    values = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100}
    digits = [values[letter] for letter in text.upper()]
    if text.upper() == "IIII":
        return 4
    following = [*digits[1:], 0]
    return sum(-d if d < after else d for d, after in zip(digits, following, strict=True))


def spoken_number(token: str) -> str | None:
    """Return a token in words that begins with a digit, ``$`` or ``£``; None for others.

    ``3rd``, ``$1.50``, ``12-15`` and ``1870s`` are such.
    """
    found = _NUMBER.match(token)
    if not found:
        return None
    currency, digits, decimals = found.groups()
    comma, digits = "," in digits, digits.replace(",", "")
    rest = token[found.end() :]
    suffix = rest.lower()
    if len(digits) > 12 or (digits[0] == "0" and len(digits) > 1):
        spoken = " ".join(_ONES[int(digit)] for digit in digits)
    else:
        number = int(digits)
        if suffix in ("st", "nd", "rd", "th") or (
            suffix == "d" and number % 10 in (2, 3) and not decimals
        ):
            return ordinal(number) if number else "zero"
        plain = not decimals and not currency
        is_year = plain and not comma and 1100 <= number < 2100
        spoken = year(number) if is_year else cardinal(number)
        if suffix == "s" and plain:
            decade = is_year and number % 10 == 0 and number % 100
            spoken, rest = (f"{spoken[:-1]}ies" if decade else f"{spoken} shillings"), ""
        elif suffix == "d" and not currency:
            spoken, rest = f"{spoken} pence", ""
    if decimals and not currency:
        spoken += " point " + " ".join(_ONES[int(digit)] for digit in decimals[:6])
    if currency:
        spoken += _money(currency, digits, decimals)
    return f"{spoken} {_rest(rest)}".strip()


def _money(currency: str, digits: str, decimals: str | None) -> str:
    """Return what follows the whole units of a sum of money."""
    name = "dollar" if currency == "$" else "pound"
    spoken = f" {name}" if digits == "1" and not decimals else f" {name}s"
    if decimals and len(decimals) == 2 and int(decimals):
        spoken += f" and {cardinal(int(decimals))}" + (" cents" if currency == "$" else "")
    return spoken


def _rest(text: str) -> str:
    """Return what is glued to a number: the end of a range, a fraction's denominator, letters."""
    words = []
    for part in _PARTS.findall(text):
        if part.isdigit():
            words.append(spoken_number(part) or "")
        elif part == "%":
            words.append("percent")
        elif part[0].isalpha() or part[0] == "'":
            words.append(part.lower())
    return " ".join(words)
