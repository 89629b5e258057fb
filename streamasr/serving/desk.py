"""Where log-posteriors become events: in the server's process, or in another one beside it.

The model's part of a stream stays with the scheduler, the decoder's part lies here; what goes
between them is small.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ..events import Event
from ..listening import Listening
from ..recognizer import Recognizer
from ..transcript import Word

__all__ = ["Desk", "Heard", "Kind", "Told"]

log = logging.getLogger("streamasr.serving")

Kind = Literal["new", "again", "break", "closing"]


@dataclass(frozen=True, slots=True)
class Heard:
    """What the model made of a piece of a stream.

    ``samples (n,)`` are ``new``, or those that ``Told.again`` asked for, or the ``closing``
    silence, or, at a ``break``, the silence after which the stream begins afresh. ``speech`` is
    what the voice detector says of new ones, ``log_probs (T, V + P)`` what the model says.
    """

    id: int
    kind: Kind
    samples: NDArray[np.float32]
    speech: list[float]
    log_probs: NDArray[np.float32]


class Told(NamedTuple):
    """What is to be told of a piece; ``again`` is to be heard next, from a fresh state.

    ``last`` if nothing follows, ``failed`` if that is for an error's sake.
    """

    id: int
    events: list[Event]
    again: NDArray[np.float32] | None = None
    last: bool = False
    failed: bool = False


class Live:
    """A live stream: segments, partials, endpoints."""

    def __init__(self, listening: Listening) -> None:
        self._listening = listening
        self._state = listening.initial_state()

    def take(self, heard: Heard, log_probs: torch.Tensor) -> Told:
        """Take a piece; return finals and the newest partial."""
        if heard.kind in ("break", "closing"):
            events, ended = self._listening.end(log_probs, self._state)
            self._state = self._listening.following(ended)
            return Told(heard.id, events, last=heard.kind == "closing")
        if heard.kind == "new":
            samples = torch.from_numpy(heard.samples)
            self._state = self._listening.hear(samples, heard.speech, self._state)
        stream = self._state.stream
        stream = replace(stream, samples=stream.samples + len(heard.samples))
        events, again, state = self._listening.take(log_probs, stream, self._state)
        partial, self._state = self._listening.partial(state)
        return Told(heard.id, [*events, *partial], None if again is None else again.numpy())


class Whole:
    """A recording: as ``Recognizer.transcribe``, without endpoints or partials."""

    def __init__(self, recognizer: Recognizer) -> None:
        self._recognizer = recognizer
        self._stream = recognizer.initial_state()
        self._samples = 0
        self._segments = 0

    def take(self, heard: Heard, log_probs: torch.Tensor) -> Told:
        """Take a piece; return the words that are complete as a final."""
        words, self._stream = self._recognizer.decode(log_probs, self._stream)
        if heard.kind == "closing":
            last, self._stream = self._recognizer.close(self._stream)
            end = self._samples / self._recognizer.sample_rate
            words = [*words, *last] if self._samples else []
            words = [replace(w, start=min(w.start, end), end=min(w.end, end)) for w in words]
            return Told(heard.id, self._final(words), last=True)
        self._samples += len(heard.samples)
        return Told(heard.id, self._final(words))

    def _final(self, words: list[Word]) -> list[Event]:
        if not words:
            return []
        self._segments += 1
        return [Event("final", self._segments - 1, words[0].start, words[-1].end, tuple(words))]


class Desk:
    """The decoders of many streams. Used by one thread."""

    def __init__(self, recognizer: Recognizer) -> None:
        self._recognizer = recognizer
        self._listening = Listening(recognizer)
        self._streams: dict[int, Live | Whole] = {}

    def open(self, stream: int, live: bool) -> None:
        """Begin a stream: a live one, or a recording."""
        self._streams[stream] = Live(self._listening) if live else Whole(self._recognizer)

    def close(self, stream: int) -> None:
        """Forget a stream, if it is still there."""
        self._streams.pop(stream, None)

    @torch.inference_mode()
    def hear(self, heard: Heard) -> Told | None:
        """Take a piece; return what is to be told, unless the stream was forgotten."""
        stream = self._streams.get(heard.id)
        if stream is None:
            return None
        try:
            told = stream.take(heard, torch.from_numpy(heard.log_probs))
        except Exception:
            log.exception("a decoder failed")
            told = Told(heard.id, [], last=True, failed=True)
        if told.last:
            self.close(heard.id)
        return told
