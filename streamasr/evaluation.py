"""Scoring a manifest through the streaming path that users get."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from .api import Recognizer
from .failures import Failure, attempt
from .manifest import Utterance
from .wer import ErrorCounts, count_errors

__all__ = ["Evaluation", "Result", "evaluate"]


@dataclass(frozen=True, slots=True)
class Result:
    """An utterance's reference and hypothesis; ``seconds`` is the processing time."""

    utterance: Utterance
    text: str
    duration: float
    seconds: float

    @property
    def counts(self) -> ErrorCounts:
        """The errors of this utterance alone."""
        return count_errors([self.utterance.transcript], [self.text])


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The results of a manifest; recordings that ``failed`` are in none of the figures."""

    results: tuple[Result, ...]
    failed: tuple[Failure, ...] = ()

    @property
    def counts(self) -> ErrorCounts:
        """Errors over all utterances."""
        return _counts(self.results)

    @property
    def hours(self) -> float:
        """Hours of audio."""
        return sum(r.duration for r in self.results) / 3600

    @property
    def rtf(self) -> float:
        """Processing time over audio time, decoding of files included, start-up not."""
        audio = sum(r.duration for r in self.results)
        return sum(r.seconds for r in self.results) / audio if audio else 0.0

    def by_speaker(self) -> dict[str, ErrorCounts]:
        """Errors of each speaker, in order of name."""
        groups: dict[str, list[Result]] = {}
        for result in self.results:
            groups.setdefault(result.utterance.speaker, []).append(result)
        return {speaker: _counts(groups[speaker]) for speaker in sorted(groups)}

    def worst(self, count: int) -> list[Result]:
        """Return the ``count`` utterances with the highest WER, the longest first among equals."""
        scored = [(r.counts, r) for r in self.results]
        scored.sort(key=lambda pair: (pair[0].wer, pair[0].words), reverse=True)
        return [result for _, result in scored[:count]]


def _counts(results: Iterable[Result]) -> ErrorCounts:
    chosen = list(results)
    return count_errors([r.utterance.transcript for r in chosen], [r.text for r in chosen])


def evaluate(
    recognizer: Recognizer,
    utterances: Sequence[Utterance],
    *,
    chunk_ms: int,
    report: Callable[[Result | Failure], None] = lambda _: None,
) -> Evaluation:
    """Transcribe every utterance as a stream of its own, in chunks.

    A recording that breaks off or cannot be read is among the ``failed``.
    """
    results: list[Result] = []
    failed: list[Failure] = []
    for utterance in utterances:
        outcome = attempt(utterance.path, partial(_measure, recognizer, utterance, chunk_ms))
        if isinstance(outcome, Failure):
            failed.append(outcome)
        else:
            results.append(outcome)
        report(outcome)
    return Evaluation(tuple(results), tuple(failed))


def _measure(recognizer: Recognizer, utterance: Utterance, chunk_ms: int) -> Result:
    began = time.perf_counter()
    transcript = recognizer.transcribe(utterance.path, chunk_ms=chunk_ms)
    seconds = time.perf_counter() - began
    return Result(utterance, transcript.plain_text, transcript.duration, seconds)
