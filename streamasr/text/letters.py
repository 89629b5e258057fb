"""Rules for spelled letters, titles and monarchs."""

from __future__ import annotations

from .ahead import Ahead
from .span import Span
from .spoken import below_hundred, digits, is_number, ordinal
from .tables import (
    ACRONYMS,
    DETERMINERS,
    DIGITS,
    MONARCHS,
    NOT_NAMES,
    SPELLING,
    TITLES,
)

__all__ = ["letters", "monarch", "name", "title"]

_PARTICLES = {"van", "von", "der", "den", "de", "du", "di", "da", "le", "la", "mc", "mac", "san"}
_ROMAN = ((10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I"))


def _is_letter(word: str) -> bool:
    return len(word) == 1 and word.isalpha()


def letters(words: Ahead, at: int, _last: Span | None) -> Span | None:
    """Write letters said one by one: "b b c", "f sixteen"; "a" and "i" may be words."""
    end = at
    while _is_letter(words[end]):
        end += 1
    run = "".join(words[k] for k in range(at, end))
    if not run or words[at - 1] in ("mister", "mr"):
        return None
    if run not in ACRONYMS and words[at - 1] not in SPELLING:
        if run[0] in "aio" and not _is_code(words, at, end):
            return None
        if run[-1] in "ai" and len(run) > 1:
            end -= 1
            run = run[:-1]
    if number := _number_behind(words, end):
        return Span(at, number[1], run.upper() + number[0], "letters")
    return Span(at, end, run.upper(), "letters") if len(run) > 1 else None


def _is_code(words: Ahead, at: int, end: int) -> bool:
    """Say whether letters that begin with "a", "i" or "o" are spelled: digits follow them."""
    return end - at > 1 and len(digits(words, end)[0]) > 1


def _number_behind(words: Ahead, at: int) -> tuple[str, int] | None:
    """Read what makes a code of letters: digits said one by one, or a number above ten."""
    if words[at] not in DIGITS and not is_number(words[at]):
        return None
    found, end = digits(words, at)
    if len(found) > 1:
        return found, end
    number = below_hundred(words, at)
    if number and number.value > 10 and not is_number(words[number.end]):
        return str(number.value), number.end
    return None


def name(word: str) -> str:
    """Return a name as it is written: Smith, O'Brien, McDonald."""
    if word.startswith("mc") and len(word) > 3:
        return f"Mc{word[2:].capitalize()}"
    if word.startswith("o'") and len(word) > 3:
        return f"O'{word[2:].capitalize()}"
    return word.capitalize()


def title(words: Ahead, at: int, _last: Span | None) -> Span | None:
    """Write "doctor smith", where a name follows."""
    short = TITLES.get(words[at])
    if not short or words[at - 1] in DETERMINERS:
        return None
    follower = words[at + 1]
    if follower in ("and", "or") and short == "Mr." and words[at + 2] in ("missus", "mrs"):
        return Span(at, at + 1, short, "title")
    if not follower or follower in NOT_NAMES or follower in DETERMINERS or is_number(follower):
        return None
    if follower in TITLES or follower in _PARTICLES or len(follower) == 1:
        return Span(at, at + 1, short, "title")
    return Span(at, at + 2, f"{short} {name(follower)}", "title")


def monarch(words: Ahead, at: int, _last: Span | None) -> Span | None:
    """Write "henry the eighth"; "the first" and "the second" may be something else."""
    if words[at] not in MONARCHS or words[at + 1] != "the":
        return None
    number = ordinal(words, at + 2)
    if not number or not 2 < number.value < 40 or words[number.end] == "of":
        return None
    value, written = number.value, ""
    for worth, letter in _ROMAN:
        written += letter * (value // worth)
        value %= worth
    return Span(at, number.end, f"{name(words[at])} {written}", "title")
