"""Inverse text normalisation of English: numbers, dates, money, letters as they are written.

Numbers up to ten are words, as in The Economist's style, unless they count per cent, money or the
like. What may mean several things stays as it was said.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

from .ahead import Ahead
from .dates import date, day_of_month, decade, hours, ordinal_number, pairs
from .letters import letters, monarch, title
from .span import Span
from .spoken import (
    Quantity,
    below_hundred,
    cardinal,
    digits,
    fraction,
    is_number,
    pair,
    percent,
    quantity,
)
from .tables import (
    CURRENCIES,
    DIGITS,
    LABELS,
    LABELS_OF_MANY,
    PHRASES,
    TITLES,
    UNTOUCHED,
    YEAR_BEFORE,
)

__all__ = ["LOOK_BACK", "Span", "scan", "write_decided", "write_numbers"]

LOOK_BACK = 3
"""Words before one that the rules look at, at most."""

_Rule = Callable[[Ahead, int, Span | None], Span | None]

_DENOMINATORS = " half third quarter fifth sixth seventh eighth ninth tenth"
_NUMERATORS = "zero one two three four five six seven eight nine"


def write_numbers(words: Sequence[str]) -> list[Span]:
    """Return how the numbers, dates, letters and titles of a text are written.

    ``words`` are lower case, as recognised. The spans are in order and do not overlap; words
    outside them are written as they are, as are small and ambiguous numbers.
    """
    return [span for span in scan(words)[0] if span.kind != "said"]


def write_decided(words: Sequence[str]) -> tuple[list[Span], int]:
    """Return the spans that no further word can change, and how many words are decided."""
    spans, decided = scan(words, complete=False)
    return [span for span in spans if span.kind != "said"], decided


def scan(
    words: Sequence[str], begin: int = 0, last: Span | None = None, *, complete: bool = True
) -> tuple[list[Span], int]:
    """Return the spans from ``begin`` on, and how many words are decided.

    Those that are "said" are written as they were said, and are to be kept together: the rules
    are not to begin within them. ``last`` is the span before ``begin``, if one ends there or one
    word before; ``LOOK_BACK`` words in front of ``begin`` are enough. Without ``complete`` more
    words may follow, and only what they cannot change is decided.
    """
    seen = Ahead(words)
    spans: list[Span] = []
    at = begin
    while at < len(words):
        seen.overran = False
        found = _first(seen, at, last)
        if seen.overran and not complete:
            break
        if found is None:
            at += 1
            continue
        spans.append(found)
        last, at = found, found.end
    return spans, at


def _first(words: Ahead, at: int, last: Span | None) -> Span | None:
    """Return what the first rule that fits says of the words at a place."""
    for rule in _RULES:
        if found := rule(words, at, last):
            return found
    return None


def _by_first_word(phrases: Sequence[str]) -> dict[str, list[tuple[str, ...]]]:
    table: dict[str, list[tuple[str, ...]]] = {}
    for phrase in phrases:
        first, *rest = phrase.split()
        table.setdefault(first, []).append((first, *rest))
    return table


_PHRASES = _by_first_word([*UNTOUCHED, *PHRASES])


def _phrase(words: Ahead, at: int, _last: Span | None) -> Span | None:
    """Write a phrase of the tables, or leave an idiom as it was said."""
    for phrase in _PHRASES.get(words[at], ()):
        if words.match(at, phrase):
            written = PHRASES.get(" ".join(phrase))
            return Span(at, at + len(phrase), written or "", "letters" if written else "said")
    return None


def _clock(words: Ahead, at: int, _last: Span | None) -> Span | None:
    """Leave "twenty past eight", "ten to five" and "a quarter to twelve" as they were said."""
    minutes = below_hundred(words, at)
    if minutes and words[at - 1] in ("past", "to") and words[at - 2] in ("quarter", "half"):
        return Span(at, minutes.end, "", "said") if minutes.value <= 12 else None
    if not minutes or minutes.value not in (5, 10, 20, 25):
        return None
    if words[minutes.end] not in ("past", "to"):
        return None
    hour = below_hundred(words, minutes.end + 1)
    if not hour or not 1 <= hour.value <= 12 or is_number(words[hour.end]):
        return None
    if _currency(words, hour.end) or percent(words, hour.end):
        return None
    return Span(at, hour.end, "", "said")


def _digits(words: Ahead, at: int, _last: Span | None) -> Span | None:
    """Write digits said one by one: three or more, two behind "room" and the like."""
    plus = words[at] == "plus"
    if words[at] not in DIGITS and not plus and words[at] not in ("double", "triple"):
        return None
    if toll_free := _toll_free(words, at):
        return toll_free
    found, end = digits(words, at + plus)
    if plus:
        return Span(at, end, f"+{found}", "number") if len(found) >= 7 else None
    labelled = words[at - 1] in LABELS_OF_MANY
    if len(found) < (2 if labelled else 3) or words[at] in ("oh", "o"):
        return None
    if not labelled and len(found) == end - at and _is_count(found):
        return Span(at, end, "", "said")
    while (group := below_hundred(words, end)) and group.value >= 10:
        if is_number(words[group.end]) and words[group.end] in ("hundred", "thousand"):
            break
        found, end = f"{found}{group.value}", group.end
    return Span(at, end, _telephone(found), "number")


def _toll_free(words: Ahead, at: int) -> Span | None:
    """Write "one eight hundred" and seven digits."""
    if words[at] != "one" or words[at + 1] not in DIGITS or words[at + 2] != "hundred":
        return None
    found, end = digits(words, at + 3)
    if len(found) != 7:
        return None
    return Span(at, end, _telephone(f"1{DIGITS[words[at + 1]]}00{found}"), "number")


def _is_count(found: str) -> bool:
    """Say whether someone counts: one two three."""
    return found[0] == "1" and all(int(b) - int(a) == 1 for a, b in pairwise(found))


def _telephone(found: str) -> str:
    """Return digits in groups where they are as many as a telephone number has."""
    if len(found) == 11 and found[0] == "1":
        return f"1-{_telephone(found[1:])}"
    if len(found) == 10:
        return f"{found[:3]}-{found[3:6]}-{found[6:]}"
    return f"{found[:3]}-{found[3:]}" if len(found) == 7 else found


def _minus(words: Ahead, at: int, _last: Span | None) -> Span | None:
    """Write a negative number."""
    if words[at] != "minus" or is_number(words[at - 1]):
        return None
    found = quantity(words, at + 1)
    if not found or found.article:
        return None
    return Span(at, found.end, f"-{found.text}", "number")


def _part(words: Ahead, at: int, _last: Span | None) -> Span | None:
    """Write a fraction below one: "two thirds", "three sixteenths"."""
    found = fraction(words, at)
    if not found or words[at] == "a" or not _is_part(words, at, *found):
        return None
    top, bottom, end = found
    if bottom > 10 or top > 9:
        return Span(at, end, f"{top}/{bottom}", "fraction")
    written = f"{_NUMERATORS.split()[top]}-{_DENOMINATORS.split()[bottom - 2]}"
    return Span(at, end, written + ("s" if top > 1 else ""), "fraction")


def _is_part(words: Ahead, at: int, top: int, bottom: int, end: int) -> bool:
    """Say whether what reads as a fraction certainly is one."""
    if bottom in (2, 4):
        # "the last three quarters", "one half or the other".
        before = words[at - 1]
        return words[end] == "of" and before not in ("first", "last", "past", "next", "all")
    if bottom > 10:
        # "the one hundredth of them".
        return bottom < 100 and (top > 1 or words[end] == "of")
    return words[end] not in ("avenue", "street")


def _currency(words: Ahead, at: int) -> str:
    """Return a currency's sign, "" where none is named; a pound may be a weight."""
    word = words[at]
    if word in ("pound", "pounds") and words[at + 1] != "sterling":
        return ""
    return CURRENCIES.get(word, "")


def _range(words: Ahead, at: int, _last: Span | None) -> Span | None:
    """Write "five to fifteen", "ten or twenty percent"; "two or three hundred" stays."""
    low = quantity(words, at)
    if not low or low.article:
        return None
    joint = words[low.end]
    if joint not in ("to", "or") and (joint != "and" or words[at - 1] != "between"):
        return None
    high = quantity(words, low.end + 1)
    if not high or high.article or pair(words, low.end + 1):
        return None
    scale = 1 if low.scale or high.scale or not high.whole else _shared_scale(low, high)
    if scale > 1 and (low.value < 10 or scale == 100):
        return Span(at, high.end, "", "said")
    if scale > 1:
        low = replace(low, value=scale * low.value, figures=f"{scale * low.value:,.0f}")
    return _written_range(words, at, low, joint, high)


def _shared_scale(low: Quantity, high: Quantity) -> int:
    """Return the hundred or thousand that is said once: "twenty to thirty thousand"."""
    if high.value < 100:
        return 1
    scale = 100 if high.value < 1000 else 1000
    return 1 if high.value % scale or low.value >= high.value / scale else scale


def _written_range(words: Ahead, at: int, low: Quantity, joint: str, high: Quantity) -> Span | None:
    """Write both numbers, and what they count if that is money or per cent."""
    if sign := _currency(words, high.end):
        scale = f" {low.scale or high.scale}".rstrip()
        end = high.end + 1 + (words[high.end + 1] == "sterling")
        return Span(at, end, f"{sign}{low.figures}{scale} {joint} {sign}{high.text}", "money")
    if count := percent(words, high.end):
        return Span(at, high.end + count, f"{low.text} {joint} {high.text}%", "percent")
    if high.small or high.value < low.value:
        return None
    return Span(at, high.end, f"{low.text} {joint} {high.text}", "number")


def _point(words: Ahead, at: int, _last: Span | None) -> Span | None:
    """Write "point five percent"; other points are none of a number's."""
    found, end = digits(words, at + 1) if words[at] == "point" else ("", at)
    count = percent(words, end) if found else 0
    return Span(at, end + count, f"0.{found}%", "percent") if count else None


def _amount(words: Ahead, at: int, _last: Span | None) -> Span | None:
    """Write a cardinal or a decimal with what it counts: per cent, money, feet."""
    if words[at - 1] == "at" and words.match(at, ("one", "point")):
        return None
    amount = quantity(words, at)
    if not amount or (amount.article and words[at - 1] in ("half", "many", "quite", "of")):
        return None
    if count := percent(words, amount.end):
        return Span(at, amount.end + count, f"{amount.text}%", "percent")
    if words[amount.end] in ("odd", "something", "ish"):
        return Span(at, amount.end, "", "said")
    return _money(words, at, amount) or _height(words, at, amount) or _plain(words, at, amount)


def _height(words: Ahead, at: int, amount: Quantity) -> Span | None:
    """Write "six foot eleven"."""
    if words[amount.end] not in ("foot", "feet") or amount.value > 11:
        return None
    inches = below_hundred(words, amount.end + 1)
    if not inches or inches.value > 11 or is_number(words[inches.end]):
        return None
    written = f"{amount.text} {words[amount.end]} {inches.value}"
    return Span(at, inches.end, written, "number")


def _plain(words: Ahead, at: int, amount: Quantity) -> Span | None:
    """Write a number that counts anything, a year that is said like one, a numbered thing."""
    before = words[at - 1]
    if amount.small and before not in LABELS:
        return None
    text = amount.text
    year = 1000 < amount.value < 2100 and words[at + 1] in ("hundred", "thousand")
    if year and words[at] != "one" and before in YEAR_BEFORE:
        return Span(at, amount.end, text.replace(",", ""), "year")
    letter = words[amount.end]
    if (
        before in LABELS
        and len(letter) == 1
        and letter not in "ai"
        and len(words[amount.end + 1]) != 1
    ):
        return Span(at, amount.end + 1, text + letter.upper(), "number")
    return Span(at, amount.end, text, "number")


def _money(words: Ahead, at: int, amount: Quantity) -> Span | None:
    """Write a sum of money, with cents or pence behind it if there are any."""
    word, end = words[amount.end], amount.end + 1
    sign = CURRENCIES.get(word, "")
    if not sign:
        return None
    pound = sign == "£" and not amount.scale
    if amount.whole and not amount.scale and (word.endswith("s") or amount.value == 1):
        joined = words[end] == "and"
        cents = below_hundred(words, end + joined)
        weight = sign == "£" and cents and words[cents.end] in ("ounce", "ounces")
        if cents and cents.value and not is_number(words[cents.end]) and not weight:
            named = words[cents.end] in ("cents", "cent", "pence", "p")
            if named or (not joined and cents.value >= 10 and words[cents.end] not in CURRENCIES):
                written = f"{sign}{amount.figures}.{cents.value:02}"
                return Span(at, cents.end + named, written, "money")
    if words[end] == "sterling":
        end += 1
    elif pound:
        return None
    return Span(at, end, f"{sign}{amount.text}", "money")


def _other(words: Ahead, at: int, _last: Span | None) -> Span | None:
    """Leave a cardinal that begins a row of numbers which no rule reads."""
    if words[at] in TITLES or not is_number(words[at]):
        return None
    found = cardinal(words, at)
    return Span(at, found.end, "", "said") if found else None


_RULES: tuple[_Rule, ...] = (
    _phrase,
    title,
    monarch,
    letters,
    date,
    day_of_month,
    decade,
    hours,
    _clock,
    pairs,
    _digits,
    ordinal_number,
    _part,
    _minus,
    _point,
    _range,
    _amount,
    _other,
)
