"""Hypotheses of labelled recordings with each model's score, to choose weights on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..decoding import BeamConfig, BeamDecoder, BeamState
from ..decoding.candidates import Candidate, is_confident
from ..decoding.search import SearchState
from ..decoding.settings import Weights
from ..wer import count_errors

__all__ = ["HypothesisPool", "RecordingDecoder", "Segments", "merged"]

Segments = list[list[Candidate]]


class RecordingDecoder(BeamDecoder):
    """A beam search that keeps the hypotheses of each segment it ends."""

    def hypotheses(self, log_probs: Tensor, encoded: Tensor | None = None) -> Segments:
        """Decode a whole recording's ``log_probs (T, V)``; return its segments' hypotheses.

        ``encoded (T, E)`` is what a second pass reads.
        """
        self._segments: Segments = []
        _, state = self(log_probs, self.initial_state(partials=False), encoded)
        self.finish(state)
        return self._segments

    def candidates(
        self, search: SearchState, state: BeamState, most: int | None = None
    ) -> list[Candidate]:
        """Return and keep a segment's hypotheses."""
        found = super().candidates(search, state, most)
        self._segments.append(found)
        return found


class HypothesisPool:
    """The hypotheses of all recordings; knows the word errors of any weights at once.

    Args:
        references: what was said in each recording.
        config: settings that are not weighed, such as when a segment is taken for noise.
        decoded: of each recording, of each of its segments, the hypotheses that one or more
            searches have found.
    """

    def __init__(
        self, references: Sequence[str], config: BeamConfig, decoded: Iterable[Segments]
    ) -> None:
        self._references = references
        rows: list[tuple[float, float, float, float]] = []
        self._texts: list[str] = []
        starts: list[int] = []
        owners: list[int] = []
        for recording, segments in enumerate(decoded):
            for candidates in filter(None, segments):
                starts.append(len(rows))
                owners.append(recording)
                for each in candidates:
                    rows.append((each.acoustic, each.lm, float(len(each.text)), each.rescorer))
                    self._texts.append(" ".join(each.text) if _is_sure(each, config) else "")
        self._scores = np.array(rows, np.float64).reshape(-1, 4)
        self._starts = np.array(starts, np.int64)
        self._sizes = np.diff([*starts, len(rows)])
        self._owners = owners
        self._known: dict[tuple[int, tuple[int, ...]], int] = {}

    def errors(self, weights: Weights) -> NDArray[np.int64]:
        """Return the word errors of each recording, the best hypothesis of each segment taken."""
        chosen: list[list[int]] = [[] for _ in self._references]
        if len(self._starts):
            totals = self._scores @ np.array([1.0, weights.lm, weights.word, weights.rescorer])
            best = np.repeat(np.maximum.reduceat(totals, self._starts), self._sizes)
            places = np.flatnonzero(totals == best)
            first = places[np.searchsorted(places, self._starts)]
            for recording, place in zip(self._owners, first.tolist(), strict=True):
                chosen[recording].append(place)
        return np.array([self._errors_of(k, tuple(own)) for k, own in enumerate(chosen)], np.int64)

    def _errors_of(self, recording: int, chosen: tuple[int, ...]) -> int:
        key = recording, chosen
        if key not in self._known:
            text = " ".join(filter(None, (self._texts[place] for place in chosen)))
            counts = count_errors([self._references[recording]], [text])
            self._known[key] = counts.substitutions + counts.deletions + counts.insertions
        return self._known[key]


def merged(found: Sequence[Segments]) -> Segments:
    """Return the hypotheses that several searches found for one recording, each text once."""
    segments: Segments = []
    for same in zip(*found, strict=True):  # segments end by posteriors alone: alike in all
        best: dict[tuple[str, ...], Candidate] = {}
        for candidate in (each for candidates in same for each in candidates):
            known = best.get(candidate.text)
            if known is None or candidate.acoustic > known.acoustic:
                best[candidate.text] = candidate
        segments.append([*best.values()])
    return segments


def _is_sure(candidate: Candidate, config: BeamConfig) -> bool:
    confidences = [config.confidence(span.posterior) for span in candidate.spans]
    return is_confident(confidences, config.least_confidence)
