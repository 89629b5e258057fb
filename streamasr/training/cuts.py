"""Long recordings cut between words, so that a batch holds many voices rather than a few."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from ..audio import SAMPLE_RATE
from ..tokens import Tokens
from .corpus import Corpus
from .labels import Labels, Pronunciations, Timesteps

__all__ = ["cut_corpus"]

_SHORTEST_SECONDS = 1.0
_PAUSE_SECONDS = 0.09  # where a cut is welcome


class _Gap(NamedTuple):
    """A place between two words: how many words are before it, and the timesteps around it."""

    words: int
    end: int
    start: int

    @property
    def middle(self) -> int:
        return (self.end + self.start) // 2


def cut_corpus(
    corpus: Corpus,
    labels: Labels,
    tokens: Tokens,
    pronunciations: Pronunciations,
    seconds: float,
    whole_share: float,
    rng: Generator,
) -> tuple[Corpus, Labels]:
    """Return ``corpus`` and ``labels`` with recordings cut into pieces of about ``seconds``.

    Cuts are in pauses where there are any, and elsewhere than the last time: ``rng`` draws how long
    the pieces may be. What has no alignment stays whole, and so does a share of the others.
    """
    spans: list[tuple[int, int]] = []
    texts: list[str] = []
    rows: list[Timesteps] = []
    shares: list[float] = []
    for index, text in enumerate(corpus.texts):
        row, words, length = labels.rows[index], text.split(), corpus.cache.length(index)
        longest = seconds * rng.uniform(0.6, 1.4)
        whole = rng.random() < whole_share or length <= longest * SAMPLE_RATE
        gaps = [] if whole else _gaps(row, [pronunciations[word] for word in words])
        edges = [_Gap(0, 0, 0), *_chosen(gaps, longest, labels.step_seconds)]
        for place, edge in enumerate(edges):
            last = place + 1 == len(edges)
            following = _Gap(len(words), len(row), len(row)) if last else edges[place + 1]
            begin, end = edge.middle, following.middle
            per_step = labels.step_seconds * SAMPLE_RATE
            spans.append(
                corpus.cache.span(
                    index, round(begin * per_step), length if last else round(end * per_step)
                )
            )
            texts.append(" ".join(words[edge.words : following.words]))
            rows.append(row[begin:end])
            shares.append(corpus.shares[index])
    cache = corpus.cache.cut(spans)
    pieces = replace(
        corpus,
        cache=cache,
        texts=texts,
        targets=[tokens.encode(text) for text in texts],
        shares=shares,
        seconds=[cache.length(index) / SAMPLE_RATE for index in range(len(cache))],
    )
    return pieces, Labels(rows, labels.step_seconds, labels.delay_seconds)


def _gaps(row: Timesteps, words: Sequence[Sequence[tuple[int, ...]]]) -> list[_Gap]:
    """Return the places between ``words``, each with its pronunciations, in an aligned ``row``.

    There is none where two words share a phone, and none at all if the row says something else.
    """
    changes = np.flatnonzero(np.diff(row, prepend=0, append=0))
    runs = [(int(row[a]), int(a), int(b)) for a, b in pairwise(changes)]
    runs = [run for run in runs if run[0]]
    said = [phone for phone, _, _ in runs]
    # For every number of runs that the first words may have been: how many were those before the
    # last word, and with which run that word begins.
    ways: list[dict[int, tuple[int, int]]] = [{0: (0, 0)}]
    for spellings in words:
        reached: dict[int, tuple[int, int]] = {}
        for before in ways[-1]:
            for spelling in spellings:
                # A phone that ends one word and begins the next may be one run.
                shared = before > 0 and said[before - 1] == spelling[0]
                for first in (before, before - 1) if shared else (before,):
                    if tuple(said[first : first + len(spelling)]) == spelling:
                        reached.setdefault(first + len(spelling), (before, first))
        ways.append(reached)
    place = len(runs)
    if place not in ways[-1]:
        return []
    gaps = []
    for number in range(len(words), 1, -1):
        place, first = ways[number][place]
        if first == place:
            gaps.append(_Gap(number - 1, runs[place - 1][2], runs[place][1]))
    return gaps[::-1]


def _chosen(gaps: Sequence[_Gap], longest: float, step_seconds: float) -> list[_Gap]:
    """Return the gaps to cut at: the last pause, or gap, that keeps a piece short enough."""
    chosen: list[_Gap] = []
    begin = 0
    pause: _Gap | None = None
    other: _Gap | None = None
    for gap in gaps:
        seconds = (gap.middle - begin) * step_seconds
        if seconds > longest and (cut := pause or other):
            chosen.append(cut)
            begin, pause, other = cut.middle, None, None
            seconds = (gap.middle - begin) * step_seconds
        if seconds >= _SHORTEST_SECONDS:
            other = gap
            if (gap.start - gap.end) * step_seconds >= _PAUSE_SECONDS:
                pause = gap
    return chosen
