"""Spoken numbers as values: cardinals, ordinals, digits one by one, pairs, decimals, fractions.

Each function looks for one at a place of the words, and says where it ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from .ahead import Ahead
from .tables import DENOMINATORS, DIGITS, ORDINALS, SCALES, SMALL, TENS

__all__ = [
    "Pair",
    "Quantity",
    "Read",
    "below_hundred",
    "cardinal",
    "digits",
    "fraction",
    "is_number",
    "ordinal",
    "pair",
    "percent",
    "quantity",
]

_REPEATS = {"double": 2, "triple": 3}
_VULGAR = {(1, 2): "½", (1, 3): "⅓", (2, 3): "⅔", (1, 4): "¼", (3, 4): "¾", (1, 8): "⅛"}
_VULGAR |= {(3, 8): "⅜", (5, 8): "⅝", (7, 8): "⅞"}
_DECIMAL = {(1, 2): "5", (1, 4): "25", (3, 4): "75"}


class Read(NamedTuple):
    """A whole number, and the place behind its last word."""

    value: int
    end: int


class Pair(NamedTuple):
    """Two numbers below 100 one behind the other: hours and minutes, or the halves of a year."""

    first: int
    second: str
    end: int

    @property
    def minutes(self) -> bool:
        """Whether it can be a time of the day."""
        return self.first < 24 and int(self.second) < 60


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number as it is written: ``figures``, and a ``scale`` such as million, or none.

    ``value`` counts the scale in; ``whole`` has neither decimals nor a fraction; ``article``: it
    is "a hundred" or the like.
    """

    value: float
    figures: str
    scale: str
    end: int
    whole: bool = True
    article: bool = False

    @property
    def small(self) -> bool:
        """Whether a number by itself is written in words: up to ten, a hundred, a million."""
        return self.whole and (self.value <= 10 or self.article)

    @property
    def text(self) -> str:
        """The figures and the scale."""
        return f"{self.figures} {self.scale}" if self.scale else self.figures


def is_number(word: str) -> bool:
    """Say whether a word is a part of cardinals."""
    return word in SMALL or word in TENS or word in SCALES or word == "hundred"


def below_hundred(words: Ahead, at: int) -> Read | None:
    """Read a cardinal from 0 to 99."""
    word = words[at]
    if word in SMALL:
        return Read(SMALL[word], at + 1)
    if word in TENS:
        unit = SMALL.get(words[at + 1], 0)
        return Read(TENS[word] + unit, at + 2) if 0 < unit < 10 else Read(TENS[word], at + 1)
    return None


def _below_thousand(words: Ahead, at: int, *, joined: bool) -> Read | None:
    """Read a cardinal below 1,000, or one such as "eighteen hundred"."""
    if words[at] == "a" and words[at + 1] == "hundred":
        head = Read(1, at + 1)
    else:
        found = below_hundred(words, at)
        if not found or not found.value or words[found.end] != "hundred":
            return found
        head = found
    value, end = 100 * head.value, head.end + 1
    rest = _rest(words, end, joined=joined)
    if rest and words[rest.end] != "hundred":
        return Read(value + rest.value, rest.end)
    return Read(value, end)


def _rest(words: Ahead, at: int, *, joined: bool) -> Read | None:
    """Read what "hundred" or "thousand" is followed by, with or without "and"."""
    if words[at] == "and":
        if not joined:
            return None
        at += 1
    rest = below_hundred(words, at)
    return rest if rest and rest.value else None


def cardinal(words: Ahead, at: int) -> Read | None:
    """Read the longest cardinal: "two million three hundred thousand and five", "a hundred"."""
    # "between a hundred and two hundred", "from … and" are two numbers.
    joined = words[at - 1] != "between"
    total, end, limit = 0, at, 10**15
    while limit > 1:
        if end == at and words[at] == "a" and words[at + 1] in SCALES:
            part = Read(1, at + 1)
        else:
            start = end + 1 if end > at and joined and words[end] == "and" else end
            found = _below_thousand(words, start, joined=joined)
            if not found or (end > at and not found.value):
                break
            part = found
            if start > end and part.value >= 100 and words[part.end] not in SCALES:
                break
        scale = SCALES.get(words[part.end], 1)
        if scale >= limit:
            break
        if scale == 1:
            return Read(total + part.value, part.end)
        total, end, limit = total + part.value * scale, part.end + 1, scale
    return Read(total, end) if end > at else None


def ordinal(words: Ahead, at: int) -> Read | None:
    """Read an ordinal: "third", "twenty first", "one hundred and second", "two thousandth"."""
    word = words[at]
    if word in ORDINALS:
        return Read(ORDINALS[word], at + 1)
    if word in TENS and ORDINALS.get(words[at + 1], 10) < 10:
        return Read(TENS[word] + ORDINALS[words[at + 1]], at + 2)
    head = cardinal(words, at)
    if not head or head.value < 100:
        return _multiple(words, head)
    end = head.end + (words[head.end] == "and")
    tail = words[end]
    if head.value % 100 in TENS.values() and ORDINALS.get(tail, 10) < 10:
        return Read(head.value + ORDINALS[tail], end + 1)
    if not head.value % 100 and ORDINALS.get(tail, 100) < 100:
        return Read(head.value + ORDINALS[tail], end + 1)
    return _multiple(words, head)


def _multiple(words: Ahead, head: Read | None) -> Read | None:
    """Read "two hundredth" and the like."""
    if not head or (scale := ORDINALS.get(words[head.end], 0)) < 100:
        return None
    # Of "one thousand two hundredth" only the two are hundreds.
    counted = head.value % (10 * scale)
    return Read(head.value - counted + counted * scale, head.end + 1)


def digits(words: Ahead, at: int) -> tuple[str, int]:
    """Read digits said one by one, "double five" included: ``("", at)`` where there are none."""
    found, end = "", at
    while True:
        repeated = _REPEATS.get(words[end], 1)
        digit = DIGITS.get(words[end + (repeated > 1)])
        if digit is None:
            return found, end
        after = end + 1 + (repeated > 1)
        if words[after] in SCALES or words[after] == "hundred":
            return found, end
        found += repeated * digit
        end = after


def pair(words: Ahead, at: int) -> Pair | None:
    """Read two numbers below 100, the second of two digits: "ten fifteen", "five oh five"."""
    first = below_hundred(words, at)
    if not first or not first.value:
        return None
    if words[first.end] in ("oh", "o"):
        digit = DIGITS.get(words[first.end + 1], "0")
        return Pair(first.value, f"0{digit}", first.end + 2) if digit != "0" else None
    second = below_hundred(words, first.end)
    if not second or second.value < 10:
        return None
    if words[second.end] == "hundred" or words[second.end] in SCALES:
        return None
    return Pair(first.value, str(second.value), second.end)


def fraction(words: Ahead, at: int) -> tuple[int, int, int] | None:
    """Read "two thirds", "a half": numerator, denominator and end."""
    head = Read(1, at + 1) if words[at] == "a" else below_hundred(words, at)
    if not head or not head.value:
        return None
    name = words[head.end]
    bottom = DENOMINATORS.get(name)
    if bottom is None or head.value >= bottom or (head.value > 1) != name.endswith("s"):
        return None
    return head.value, bottom, head.end + 1


def quantity(words: Ahead, at: int) -> Quantity | None:
    """Read a cardinal with what makes it longer: decimals, "and a half", "million"."""
    head = cardinal(words, at)
    if not head:
        return None
    value, figures, end = float(head.value), f"{head.value:,}", head.end
    article = words[at] == "a" and end == at + 2
    if words[end] == "point":
        decimals, after = _decimals(words, end + 1)
        if decimals:
            return _scaled(words, float(f"{head.value}.{decimals}"), f"{figures}.{decimals}", after)
    if words[end] == "and" and not article:
        part = fraction(words, end + 1)
        if part and words[part[2]] != "of":
            top, bottom, after = part
            value += top / bottom
            if (top, bottom) in _DECIMAL and (words[after] in SCALES or percent(words, after)):
                return _scaled(words, value, f"{figures}.{_DECIMAL[top, bottom]}", after)
            written = figures + _VULGAR.get((top, bottom), f" {top}/{bottom}")
            return Quantity(value, written, "", after, whole=False)
    for name in ("trillion", "billion", "million"):
        if head.value >= SCALES[name] and head.value % SCALES[name] == 0:
            return Quantity(value, f"{head.value // SCALES[name]:,}", name, end, article=article)
    return Quantity(value, figures, "", end, article=article)


def _decimals(words: Ahead, at: int) -> tuple[str, int]:
    """Read the digits behind "point", one by one or as one number."""
    found, end = digits(words, at)
    if found:
        return found, end
    number = below_hundred(words, at)
    return (str(number.value), number.end) if number else ("", at)


def _scaled(words: Ahead, value: float, figures: str, end: int) -> Quantity:
    """Return a number with a fraction, and the scale behind it."""
    scale = words[end]
    if scale == "thousand":
        return Quantity(1000 * value, f"{1000 * value:,g}", "", end + 1, whole=False)
    if scale in SCALES:
        return Quantity(SCALES[scale] * value, figures, scale, end + 1, whole=False)
    return Quantity(value, figures, "", end, whole=False)


def percent(words: Ahead, at: int) -> int:
    """Return how many words say "per cent" at a place, 0 where it is not said."""
    if words[at] == "percent":
        return 1
    return 2 if words[at] == "per" and words[at + 1] == "cent" else 0
