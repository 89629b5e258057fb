"""The recordings of a manifest as adaptation uses them: decoded, with text, and checked for length.

Rows without a transcript are transcribed by the model itself, cut at pauses where they are long,
and kept where it was sure of the words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..api import Recognizer
from ..audio import SAMPLE_RATE, open_audio
from ..books.numerals import spoken_number
from ..failures import Failure, attempt
from ..manifest import Utterance, normalise
from ..transcript import Word

__all__ = ["Excerpt", "OwnTranscripts", "Recording", "Rejected", "collect", "spoken"]

SHORTEST_SECONDS, LONGEST_SECONDS = 0.5, 40.0
_CUT_SECONDS = 20.0
"""Recordings without a transcript are cut at pauses from this length on."""
_MARGIN_SECONDS = 0.25
"""Around what was said in a cut."""

_NUMBER = re.compile(r"[$£]?\d(?:[\d,.]*\d)?(?:[a-z]+|%)?", re.IGNORECASE)

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Recording:
    """A recording or a part of one: ``samples (n,)`` at 16 kHz, and the normalised ``text``.

    ``labelled`` says that a person wrote the text, and not the model.
    """

    path: Path
    samples: Samples
    text: str
    labelled: bool

    @property
    def seconds(self) -> float:
        """Its length."""
        return len(self.samples) / SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class Rejected:
    """A recording that is left out, and why; ``text`` is the transcript that was in doubt."""

    path: Path
    reason: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A part of a recording, from ``start`` to ``end`` seconds, as the model transcribed it.

    ``confidence`` is the mean of its words'.
    """

    start: float
    end: float
    text: str
    confidence: float


class OwnTranscripts:
    """Excerpts by recording, kept in a file so that an interrupted run transcribes none twice."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, list[Excerpt]] = {}
        if path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    name, excerpts = json.loads(line)
                except ValueError:  # the last line of a run that was killed
                    continue
                self._known[name] = [Excerpt(*excerpt) for excerpt in excerpts]

    def of(
        self, recognizer: Callable[[], Recognizer], path: Path, samples: Samples
    ) -> list[Excerpt]:
        """Return the excerpts of a recording, transcribed now unless they are known."""
        name = str(path)
        if name not in self._known:
            self._known[name] = excerpts = [*_transcribed(recognizer(), samples)]
            values = [(e.start, e.end, e.text, e.confidence) for e in excerpts]
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps([name, values]) + "\n")
        return self._known[name]


def collect(
    utterances: Sequence[Utterance],
    recognizer: Callable[[], Recognizer],
    own: OwnTranscripts,
    *,
    least_confidence: float,
    report: Callable[[int, int], None] = lambda *_: None,
) -> tuple[list[Recording], list[Rejected], list[Failure]]:
    """Return the recordings to use, those to leave out, and those that could not be read.

    Args:
        utterances: rows of a manifest; a transcript without a letter is none.
        recognizer: gives the model that transcribes rows without one; only called for such.
        own: what it has transcribed already.
        least_confidence: mean of the words' that an own transcript must have.
        report: called with the rows that are done, and all.
    """
    found: list[Recording] = []
    rejected: list[Rejected] = []
    failed: list[Failure] = []
    for number, utterance in enumerate(utterances, start=1):
        samples = attempt(utterance.path, partial(_decode, utterance.path))
        if isinstance(samples, Failure):
            failed.append(samples)
        elif text := spoken(utterance.transcript):
            seconds = len(samples) / SAMPLE_RATE
            if reason := _unfit(seconds):
                rejected.append(Rejected(utterance.path, reason))
            else:
                found.append(Recording(utterance.path, samples, text, labelled=True))
        else:
            excerpts = own.of(recognizer, utterance.path, samples)
            kept, left_out = _sure(utterance.path, samples, excerpts, least_confidence)
            found += kept
            rejected += left_out
        report(number, len(utterances))
    return found, rejected, failed


def spoken(transcript: str) -> str:
    """Return a transcript as it is scored, with its numbers in words."""
    return normalise(_NUMBER.sub(lambda found: f" {spoken_number(found[0])} ", transcript))


def _decode(path: Path) -> Samples:
    with open_audio(path) as audio:
        return np.concatenate([*audio.blocks(), np.zeros(0, np.float32)])


def _unfit(seconds: float) -> str:
    if seconds < SHORTEST_SECONDS:
        return f"only {seconds:.1f} s long"
    if seconds > LONGEST_SECONDS:
        return (
            f"{seconds:.0f} s long, with one transcript for all of it: cut it into sentences "
            f"(enroll --from takes subtitles), at most {LONGEST_SECONDS:.0f} s each"
        )
    return ""


def _sure(
    path: Path, samples: Samples, excerpts: Sequence[Excerpt], least: float
) -> tuple[list[Recording], list[Rejected]]:
    """Return the excerpts whose text is likely right as recordings, and the others."""
    kept, rejected = [], []
    for excerpt in excerpts:
        begin, end = (round(at * SAMPLE_RATE) for at in (excerpt.start, excerpt.end))
        part = samples[begin:end]
        if excerpt.confidence < least:
            reason = f"the model is not sure of its own transcript ({excerpt.confidence:.0%})"
            rejected.append(Rejected(path, reason, excerpt.text))
        elif not _unfit(len(part) / SAMPLE_RATE):
            kept.append(Recording(path, part, normalise(excerpt.text), labelled=False))
    if not excerpts:
        rejected.append(Rejected(path, "nothing was recognised in it"))
    return kept, rejected


def _transcribed(recognizer: Recognizer, samples: Samples) -> Iterator[Excerpt]:
    """Yield a recognizer's transcript, as one excerpt, or cut at pauses if it is long."""
    seconds = len(samples) / SAMPLE_RATE
    if seconds <= _CUT_SECONDS:
        transcript = recognizer.transcribe(samples, sample_rate=SAMPLE_RATE)
        if transcript.words:
            yield _excerpt(transcript.words, 0.0, seconds)
        return
    for event in recognizer.listen([samples], sample_rate=SAMPLE_RATE):
        if event.type == "final" and event.words:
            start = max(0.0, event.start - _MARGIN_SECONDS)
            yield _excerpt(event.words, start, min(seconds, event.end + _MARGIN_SECONDS))


def _excerpt(words: Sequence[Word], start: float, end: float) -> Excerpt:
    confidence = sum(word.confidence for word in words) / len(words)
    return Excerpt(start, end, " ".join(word.text for word in words), confidence)
