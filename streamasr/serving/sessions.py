"""Decode a stream's acoustic output into events; a session holds the decoding state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ..acoustic import AcousticOutput
from ..decoding import SegmentDecoder, WordDecoder
from ..events import Event
from ..segment import Part
from ..transcript import Word, clipped

__all__ = ["LiveSession", "RecordingSession", "SegmentOutputs", "Session"]

SegmentOutputs = Sequence[tuple[Part, AcousticOutput]]
"""Parts of segments, each with the model's output."""


class Session(Protocol):
    """A stream's decoding state. Used by one thread at a time."""

    def decode(self, outputs: SegmentOutputs) -> list[Event]:
        """Decode what follows; return its events."""


class LiveSession:
    """A live stream: finals of the segments that ended, and the newest partial."""

    def __init__(self, decoding: SegmentDecoder) -> None:
        self._decoding = decoding
        self._state = decoding.initial_state()

    def decode(self, outputs: SegmentOutputs) -> list[Event]:
        """Decode what follows; return finals and the newest partial."""
        events = []
        for part, output in outputs:
            found, self._state = self._decoding(part, output, self._state)
            events += found
        partial, self._state = self._decoding.partial(self._state)
        return [*events, *partial]


class RecordingSession:
    """A recording: the words of ``Recognizer.transcribe``, without endpoints or partials."""

    def __init__(self, words: WordDecoder, sample_rate: int) -> None:
        self._words = words
        self._rate = sample_rate
        self._state = words.initial_state(partials=False)
        self._finals = 0

    def decode(self, outputs: SegmentOutputs) -> list[Event]:
        """Decode what follows; return the words that are complete as a final."""
        said: list[Word] = []
        for part, output in outputs:
            words, self._state = self._words(output, self._state)
            if part.ended:
                last, self._state = self._words.finish(self._state)
                words = [clipped(word, part.end / self._rate) for word in (*words, *last)]
            said += words
        if not said:
            return []
        self._finals += 1
        return [Event("final", self._finals - 1, said[0].start, said[-1].end, tuple(said))]
