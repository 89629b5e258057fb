"""Decode a stream's acoustic output into events; a session holds the decoding state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, repeat
from typing import Protocol

from ..acoustic import AcousticOutput, SecondPassInput
from ..decoding import SegmentDecoder, WordDecoder
from ..events import Event
from ..segment import Part
from ..text.format import Formatter
from ..text.live import EventFormatter
from ..transcript import Token, Word, clipped

__all__ = ["LiveSession", "RecordingSession", "SegmentOutputs", "Session"]

SegmentOutputs = Sequence[tuple[Part, AcousticOutput]]
"""Parts of segments, each with the model's output."""


class Session(Protocol):
    """A stream's decoding state. Used by one thread at a time."""

    def second_inputs(self, outputs: SegmentOutputs) -> list[list[SecondPassInput]]:
        """Return what the second pass reads for ``decode``, of each output; often nothing."""

    def decode(self, outputs: SegmentOutputs) -> list[Event]:
        """Decode what follows; return its events."""


class LiveSession:
    """A live stream: finals of the segments that ended, and the newest partial."""

    def __init__(self, decoding: SegmentDecoder, text: EventFormatter | None = None) -> None:
        self._decoding, self._text = decoding, text
        self._state = decoding.initial_state()
        self._text_state = text.initial_state() if text else None

    def second_inputs(self, outputs: SegmentOutputs) -> list[list[SecondPassInput]]:
        """Return what the second pass reads of each output."""
        states = chain([self._state], repeat(self._decoding.initial_state()))
        return [
            self._decoding.second_inputs(part, output, state)
            for (part, output), state in zip(outputs, states, strict=False)
        ]

    def decode(self, outputs: SegmentOutputs) -> list[Event]:
        """Decode what follows; return finals and the newest partial."""
        events = []
        for part, output in outputs:
            found, self._state = self._decoding(part, output, self._state)
            events += found
        partial, self._state = self._decoding.partial(self._state)
        events += partial
        if self._text is not None and self._text_state is not None:
            events, self._text_state = self._text.many(events, self._text_state)
        return events


class RecordingSession:
    """A recording: the words of ``Recognizer.transcribe``, without endpoints or partials."""

    def __init__(
        self, words: WordDecoder, sample_rate: int, formatter: Formatter | None = None
    ) -> None:
        self._words = words
        self._rate = sample_rate
        self._state = words.initial_state(partials=False)
        self._formatter = formatter
        self._text = formatter.initial_state() if formatter else None
        self._waiting: list[Word] = []
        self._finals = 0

    def second_inputs(self, outputs: SegmentOutputs) -> list[list[SecondPassInput]]:
        """Return none: segments are read as a whole when they have ended."""
        return [[] for _ in outputs]

    def decode(self, outputs: SegmentOutputs) -> list[Event]:
        """Decode what follows; return the words that are complete, and as written, as a final."""
        said: list[Word] = []
        ended = False
        for part, output in outputs:
            words, self._state = self._words(output, self._state)
            if part.ended:
                ended = True
                last, self._state = self._words.finish(self._state)
                words = [clipped(word, part.end / self._rate) for word in (*words, *last)]
            said += words
        tokens: tuple[Token, ...] | None = None
        if self._formatter is not None and self._text is not None:
            tokens = self._written(self._formatter, said, ended=ended)
            said = self._covered(tokens, ended=ended)
        if not said:
            return []
        self._finals += 1
        event = Event("final", self._finals - 1, said[0].start, said[-1].end, tuple(said))
        return [replace(event, tokens=tokens)]

    def _written(
        self, formatter: Formatter, words: list[Word], *, ended: bool
    ) -> tuple[Token, ...]:
        """Return what is written for good now that ``words`` have come."""
        assert self._text is not None
        self._waiting += words
        if ended:
            tokens, self._text = formatter.end_segment(self._text, words)
        else:
            tokens, self._text = formatter.read(words, self._text)
        return tuple(tokens)

    def _covered(self, tokens: Sequence[Token], *, ended: bool) -> list[Word]:
        """Take the words that ``tokens`` stand for, and what is left out before them."""
        missing = sum(len(token.words) for token in tokens)
        count = len(self._waiting) if ended else 0
        for place, word in enumerate(self._waiting):
            if not missing:
                break
            if self._formatter is not None and not self._formatter.left_out(word):
                missing -= 1
            count = max(count, place + 1)
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        return taken
