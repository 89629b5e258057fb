"""The recognition state of a stream, and how the model's answer to a chunk becomes events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, Protocol

import torch

from ..events import Event
from ..listening import Listening
from ..recognizer import Recognizer, StreamState
from ..transcript import Word
from ..vad import VoiceState

__all__ = ["Heard", "Kind", "LiveSession", "RecordingSession", "Session", "Told"]

Kind = Literal["new", "again", "break", "end"]
"""Samples that came; samples that ``Told.again`` asked for; the silence behind a segment that the
caller breaks off, or behind the stream."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What the model and the voice detector made of a chunk.

    ``samples (n,)`` gave ``log_probs (T, V + P)`` and the state ``stream`` after them. Of new
    samples of a live stream, ``speech`` are the detector's answers, ``voice`` its state after them.
    """

    kind: Kind
    samples: torch.Tensor
    log_probs: torch.Tensor
    stream: StreamState
    speech: Sequence[float] = ()
    voice: VoiceState | None = None


class Told(NamedTuple):
    """The events of a chunk. ``again`` must be heard next, from the session's new state."""

    events: list[Event]
    again: torch.Tensor | None = None


class Session(Protocol):
    """A stream's state. Used by one thread at a time."""

    @property
    def stream(self) -> StreamState:
        """From which the model hears the next chunk."""

    def take(self, heard: Heard) -> Told:
        """Decode a chunk that was heard from ``stream``; return its events."""


class LiveSession:
    """A live stream: segments, partials, endpoints."""

    def __init__(self, listening: Listening) -> None:
        self._listening = listening
        self._state = listening.initial_state()

    @property
    def stream(self) -> StreamState:
        """From which the model hears the next chunk."""
        return self._state.stream

    @property
    def voice(self) -> VoiceState:
        """From which the voice detector hears the next chunk."""
        return self._state.voice

    def take(self, heard: Heard) -> Told:
        """Decode a chunk; return finals and the newest partial."""
        state = self._state
        if heard.kind in ("break", "end"):
            events, ended = self._listening.end(heard.log_probs, state)
            self._state = self._listening.following(ended)
            return Told(events)
        if heard.voice is not None:
            state = replace(state, voice=heard.voice)
            state = self._listening.hear(heard.samples, heard.speech, state)
        events, again, state = self._listening.take(heard.log_probs, heard.stream, state)
        partial, self._state = self._listening.partial(state)
        return Told([*events, *partial], again)


class RecordingSession:
    """A recording: the words of ``Recognizer.transcribe``, without endpoints or partials."""

    def __init__(self, recognizer: Recognizer) -> None:
        self._recognizer = recognizer
        self._stream = recognizer.initial_state()
        self._segments = 0

    @property
    def stream(self) -> StreamState:
        """From which the model hears the next chunk."""
        return self._stream

    def take(self, heard: Heard) -> Told:
        """Decode a chunk; return the words that are complete as a final."""
        samples = self._stream.samples
        words, self._stream = self._recognizer.decode(heard.log_probs, heard.stream)
        if heard.kind == "end":
            last, self._stream = self._recognizer.close(self._stream)
            end = samples / self._recognizer.sample_rate
            words = [*words, *last] if samples else []
            words = [replace(w, start=min(w.start, end), end=min(w.end, end)) for w in words]
        return Told(self._final(words))

    def _final(self, words: list[Word]) -> list[Event]:
        if not words:
            return []
        self._segments += 1
        return [Event("final", self._segments - 1, words[0].start, words[-1].end, tuple(words))]
