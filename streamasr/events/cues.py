"""Subtitle cues: which words stand on the screen together, on which lines, and for how long.

The limits are those of broadcast subtitling: two lines of at most 42 characters, at most 7 s.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

from ..transcript import Token, Word, as_tokens

__all__ = ["MAX_GAP", "Cue", "layout_cues", "milliseconds", "one_line", "split_at_pauses"]

MAX_GAP = 0.8
"""Seconds of silence that end a segment, and with it a cue, whatever else would still fit."""

_PAUSE_MS = 200
"""A gap between words from this length on is a pause; shorter ones lie within a phrase."""


_CLAUSE = (",", ";", ":")

Item = TypeVar("Item", Word, Token)


@dataclass(frozen=True, slots=True)
class Cue:
    """One subtitle: its ``lines`` are shown from ``start`` to ``end``.

    Both times are seconds from the start of the audio and whole milliseconds, which is what the
    subtitle formats can write; so what holds here still holds in the file. ``words`` are the
    recognised words that the lines show.
    """

    start: float
    end: float
    lines: tuple[str, ...]
    words: tuple[Word, ...] = ()


def milliseconds(seconds: float) -> int:
    """``seconds`` to the nearest whole millisecond."""
    return round(seconds * 1000)


def one_line(text: str) -> str:
    """``text`` with each run of white space, line breaks and tabs included, as one space."""
    return " ".join(text.split())


def split_at_pauses(words: Iterable[Item], max_gap: float = MAX_GAP) -> list[tuple[Item, ...]]:
    """Split words or tokens, in time order, where more than ``max_gap`` seconds pass without one.

    The gap is measured in whole milliseconds from the latest end so far, so words that overlap
    never part. Words with no visible text are left out.
    """
    limit = milliseconds(max_gap)
    runs: list[list[Item]] = []
    latest_end = 0
    for word in words:
        if not one_line(word.text):
            continue
        if not runs or milliseconds(word.start) - latest_end > limit:
            runs.append([])
        runs[-1].append(word)
        latest_end = max(latest_end, milliseconds(word.end))
    return [tuple(run) for run in runs]


def layout_cues(
    words: Sequence[Word] | Sequence[Token],
    *,
    max_line: int = 42,
    max_lines: int = 2,
    max_duration: float = 7.0,
    min_duration: float = 1.0,
    max_gap: float = MAX_GAP,
) -> list[Cue]:
    """Lay words or tokens, in time order, out as readable subtitles.

    Every word with visible text appears once, in order. A cue has at most ``max_lines`` lines of
    at most ``max_line`` characters, balanced in length; a word longer than that stands whole on a
    line of its own. A gap of more than ``max_gap`` seconds always ends a cue. A sentence that no
    longer fits begins a cue. A cue that a sentence fills ends at the best place in its second half:
    behind a comma or the like, else at the longest pause, else where it is full.

    Cues never overlap, and last from 1 ms to ``max_duration`` seconds; a longer word is shown for
    its first ``max_duration`` seconds. A cue shorter than ``min_duration`` seconds stays on until
    then or until the next one, so the last cue can end after the recording.

    Raises ``ValueError`` for limits that nothing can meet.
    """
    if max_line < 1 or max_lines < 1:
        raise ValueError(f"max_line {max_line} and max_lines {max_lines} must be at least 1")
    if not 0.001 <= min_duration <= max_duration:
        raise ValueError(
            f"durations must satisfy 0.001 <= min_duration {min_duration} "
            f"<= max_duration {max_duration} seconds"
        )
    longest = milliseconds(max_duration)
    groups = [
        group
        for run in split_at_pauses(as_tokens(words), max_gap)
        for group in _split_run(run, max_line, max_lines, longest)
    ]
    spans = _spans(groups, milliseconds(min_duration), longest)
    return [
        Cue(
            start / 1000,
            end / 1000,
            _balance(_texts(group), max_line),
            tuple(word for token in group for word in token.words),
        )
        for group, (start, end) in zip(groups, spans, strict=True)
    ]


def _split_run(
    run: tuple[Token, ...], max_line: int, max_lines: int, longest: int
) -> list[tuple[Token, ...]]:
    """Split a run of tokens into groups that each fit a cue; ``longest`` in milliseconds."""
    groups = []
    while run:
        count = 1
        while count < len(run) and _fits(run[: count + 1], max_line, max_lines, longest):
            count += 1
        if count < len(run):
            count = _best_break(run[: count + 1])
        groups.append(run[:count])
        run = run[count:]
    return groups


def _fits(group: tuple[Token, ...], max_line: int, max_lines: int, longest: int) -> bool:
    duration = _latest_end(group) - milliseconds(group[0].start)
    return duration <= longest and len(_wrap(_texts(group), max_line)) <= max_lines


def _best_break(group: tuple[Token, ...]) -> int:
    """How many tokens to keep of ``group``, whose last one is the first that does not fit.

    Only the second half counts, but for a sentence's end: an early pause, however long, would leave
    a cue nearly empty.
    """
    full = len(group) - 1
    sentences = [count for count in range(1, full + 1) if group[count - 1].ends_sentence]
    if sentences:
        return sentences[-1]
    places = range((full + 1) // 2, full + 1)
    clauses = [count for count in places if group[count - 1].mark in _CLAUSE]
    gaps = [milliseconds(after.start) - milliseconds(token.end) for token, after in pairwise(group)]
    best = max(clauses or places, key=lambda count: (gaps[count - 1], count))
    return best if clauses or gaps[best - 1] >= _PAUSE_MS else full


def _spans(
    groups: Sequence[tuple[Token, ...]], shortest: int, longest: int
) -> list[tuple[int, int]]:
    """When each group is shown, in milliseconds: in order, apart, and never for no time."""
    spans = []
    free = 0
    for index, group in enumerate(groups):
        start = max(free, milliseconds(group[0].start))
        end = min(max(_latest_end(group), start + shortest), start + longest)
        if index + 1 < len(groups):
            end = min(end, milliseconds(groups[index + 1][0].start))
        free = max(end, start + 1)
        spans.append((start, free))
    return spans


def _latest_end(group: Iterable[Token]) -> int:
    return max(milliseconds(token.end) for token in group)


def _texts(group: Iterable[Token]) -> list[str]:
    return [one_line(str(token)) for token in group]


def _wrap(texts: Iterable[str], width: int) -> list[str]:
    """Fill lines one after the other; ``textwrap`` would break a text that holds a space."""
    lines: list[str] = []
    for text in texts:
        if lines and len(lines[-1]) + 1 + len(text) <= width:
            lines[-1] += " " + text
        else:
            lines.append(text)
    return lines


def _balance(texts: Sequence[str], max_line: int) -> tuple[str, ...]:
    """Wrap to the narrowest width that needs no more lines than ``max_line`` does."""
    lines = _wrap(texts, max_line)
    for width in range(len(" ".join(texts)) // len(lines), max_line):
        narrower = _wrap(texts, width)
        if len(narrower) == len(lines):
            return tuple(narrower)
    return tuple(lines)
