"""Rules for dates, years and times of the day."""

from __future__ import annotations

from .ahead import Ahead
from .span import Span
from .spoken import Pair, Read, below_hundred, cardinal, is_number, ordinal, pair
from .tables import DAYS, HOURS_AFTER, LABELS_OF_MANY, MONTHS, SCALES, TIME_BEFORE, YEAR_BEFORE

__all__ = ["date", "day_of_month", "decade", "hours", "ordinal_number", "pairs", "suffixed", "year"]

# In front of "may" and "march" they say that a month is meant.
_BEFORE_MONTH = {"on", "since", "until", "till", "by", "from", "before", "after", "of", "to", "in"}
_BEFORE_MONTH |= {"the", *DAYS}
_CENTURIES = range(10, 21)
_DECADES = {"hundreds": 0, "tens": 10, "twenties": 20, "thirties": 30, "forties": 40, "fifties": 50}
_DECADES |= {"sixties": 60, "seventies": 70, "eighties": 80, "nineties": 90}
_DAYTIMES = {"morning", "afternoon", "evening"}


def suffixed(number: int) -> str:
    """Return 1st, 2nd and so on."""
    teens = number % 100 in (11, 12, 13)
    return f"{number:,}" + ("th" if teens else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th"))


def date(words: Ahead, at: int, last: Span | None) -> Span | None:
    """Write a month with its day, its year or both: "march third eighteen eighty five"."""
    if words[at] not in MONTHS:
        return None
    # "he may first ask", "they march on".
    doubtful = words[at] in ("may", "march") and words[at - 1] not in _BEFORE_MONTH
    if day := _day(ordinal(words, at + 1)):
        found = year(words, day.end)
        # "in june second graders".
        if (doubtful and not found) or (day.value <= 3 and words[at - 1] == "in"):
            return None
        return _dated(at, f"{MONTHS[words[at]]} {suffixed(day.value)}", day.end, found)
    return _without_ordinal(words, at, last, doubtful=doubtful)


def _without_ordinal(words: Ahead, at: int, last: Span | None, *, doubtful: bool) -> Span | None:
    """Write "october twenty nineteen", "on december twenty five"."""
    day = _day(below_hundred(words, at + 1))
    found, alone = year(words, day.end) if day else None, year(words, at + 1)
    if alone and not found and not doubtful:
        return Span(at, alone.end, f"{MONTHS[words[at]]} {alone.value}", "date")
    if not day or words[at - 1] == "in":
        return None
    before = words[at - 1] == "on" or (last is not None and last.kind == "date")
    if found or (before and not is_number(words[day.end])):
        return _dated(at, f"{MONTHS[words[at]]} {day.value}", day.end, found)
    return None


def _day(number: Read | None) -> Read | None:
    return number if number and 0 < number.value <= 31 else None


def _dated(at: int, written: str, end: int, found: Read | None) -> Span:
    if found:
        return Span(at, found.end, f"{written}, {found.value}", "date")
    return Span(at, end, written, "date")


def day_of_month(words: Ahead, at: int, _last: Span | None) -> Span | None:
    """Write "twelfth of may", with its year if it has one, and "sunday the eleventh"."""
    day = ordinal(words, at)
    if not day or day.value > 31:
        return None
    if words[day.end] == "of" and words[day.end + 1] in MONTHS:
        end = day.end + 2
        written = f"{suffixed(day.value)} of {MONTHS[words[end - 1]]}"
        if found := year(words, end):
            written, end = f"{written} {found.value}", found.end
        return Span(at, end, written, "date")
    if words[at - 1] == "the" and words[at - 2] in DAYS:
        return Span(at, day.end, suffixed(day.value), "date")
    return None


def year(words: Ahead, at: int) -> Read | None:
    """Read a year behind a month or a day: "eighteen eighty five", "two thousand and ten"."""
    found = pair(words, at)
    if found and found.first in _CENTURIES:
        return Read(int(f"{found.first}{found.second}"), found.end)
    number = cardinal(words, at)
    if number and _said_as_year(words, at, number):
        return number
    return None


def _said_as_year(words: Ahead, at: int, number: Read) -> bool:
    """Say whether a cardinal is said as years are: "two thousand and one", "nineteen hundred"."""
    if words[at + 1] == "thousand":
        return words[at] == "two" and 2000 <= number.value < 2100
    return words[at + 1] == "hundred" and 1000 < number.value < 2000


def decade(words: Ahead, at: int, _last: Span | None) -> Span | None:
    """Write "nineteen sixties" and "eighteen hundreds"."""
    century = below_hundred(words, at)
    if not century or century.value not in _CENTURIES or words[century.end] not in _DECADES:
        return None
    number = 100 * century.value + _DECADES[words[century.end]]
    return Span(at, century.end + 1, f"{number}s", "year")


def hours(words: Ahead, at: int, _last: Span | None) -> Span | None:
    """Write an hour by itself: "nine a m", "four o'clock", "oh six hundred hours"."""
    zero = words[at] in ("oh", "o", "zero") and is_number(words[at + 1])
    found = below_hundred(words, at + zero)
    if not found or not found.value:
        return None
    if found.value < 24 and words.match(found.end, ("hundred", "hours")):
        return Span(at, found.end + 2, f"{found.value:02}:00", "time")
    if zero or found.value > 12:
        return None
    if words[found.end] == "o'clock":
        return Span(at, found.end + 1, f"{found.value} o'clock", "time")
    half, end = _half_of_day(words, found.end)
    return Span(at, end, f"{found.value}{half}", "time") if half else None


def _half_of_day(words: Ahead, at: int) -> tuple[str, int]:
    """Read "a m" or "p m", as letters or as one word."""
    word = words[at]
    if word in ("a", "p") and words[at + 1] == "m":
        return f" {word}.m.", at + 2
    if word == "pm" or (word == "am" and words[at + 1] != "i"):
        return f" {word[0]}.m.", at + 1
    return "", at


def pairs(words: Ahead, at: int, last: Span | None) -> Span | None:
    """Write pairs of numbers: times, years, numbers of rooms; what may be several stays."""
    zero = words[at] in ("oh", "o") and is_number(words[at + 1])
    found = pair(words, at + zero)
    if not found:
        return None
    if found.minutes and words[found.end] == "hours":
        return Span(at, found.end + 1, f"{found.first:02}:{found.second}", "time")
    if zero or found.first > 20 or (found.first < 10 and is_number(words[found.end])):
        return None
    if words[at - 1] in LABELS_OF_MANY:
        return Span(at, found.end, f"{found.first}{found.second}", "number")
    if time := _time(words, at, found, last):
        return time
    # "four oh four" is digits, if anything.
    digits = found.first < 10 and found.second[0] == "0"
    return None if digits else _year(words, at, found, last)


def _time(words: Ahead, at: int, found: Pair, last: Span | None) -> Span | None:
    """Write a pair as a time of the day, where something says that it is one."""
    if found.first > 12 or not found.minutes:
        return None
    half, end = _half_of_day(words, found.end)
    before = words[at - 1] in TIME_BEFORE
    before |= words[at - 1] in ("is", "was") and words[at - 2] in ("it", "time", "that", "now")
    before |= words[at - 1] == "it's"
    continued = last is not None and last.kind == "time" and last.end == at - 1
    if half or before or continued or _behind(words, found.end):
        return Span(at, end, f"{found.first}:{found.second}{half}", "time")
    return None


def _behind(words: Ahead, at: int) -> bool:
    """Say whether what follows shows that a time of the day came before it."""
    if words[at] in HOURS_AFTER:
        return True
    return words[at] == "in" and words[at + 1] == "the" and words[at + 2] in _DAYTIMES


def _year(words: Ahead, at: int, found: Pair, last: Span | None) -> Span:
    """Write a pair as a year; what may be a time, too, stays as it was said."""
    said = Span(at, found.end, "", "said")
    if found.first < 10:
        return said
    written = Span(at, found.end, f"{found.first}{found.second}", "year")
    if found.first > 12 or int(found.second) >= 60 or words[at - 1] in YEAR_BEFORE:
        return written
    if last is not None and last.kind == "year" and last.end == at - 1:
        return written
    if int(found.second) % 5 == 0:
        return Span(at, found.end, f"{found.first}:{found.second}", "time")
    return said


def ordinal_number(words: Ahead, at: int, _last: Span | None) -> Span | None:
    """Write an ordinal above ten; "a twenty second delay" is a cardinal."""
    found = ordinal(words, at)
    if not found or found.value <= 10 or (found.end == at + 1 and found.value >= 100):
        return None
    if words.match(at, ("one", "hundredth")) or words.match(at, ("one", "thousandth")):
        return None
    if words[found.end - 1] == "second":
        before = words[at - 1]
        if before not in ("the", "her", "his", "their", "my", "our", "your", "and"):
            return None
        if before != "the" and words[found.end] in SCALES:
            return None
    return Span(at, found.end, suffixed(found.value), "ordinal")
