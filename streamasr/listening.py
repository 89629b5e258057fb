"""Live recognition: blocks of samples in, events out.

Each segment is a stream of its own: the decoder, ``(h, C)`` and the frontend begin afresh, as for a
listener who has heard nothing. The model was trained on utterances that begin so, and makes fewer
errors than with the state of what came before (docs/RESULTS.md).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import ArrayLike

from .acoustic import AcousticOutput, AcousticState
from .audio.live import Block
from .audio.polyphase import ResamplingState, checked_rate, convert, flush, heard_at
from .decoding import SegmentDecoder, SegmentState
from .events import Event
from .recognizer import LISTEN_CHUNK_MS, Recognizer
from .samples import as_samples
from .segment import EndpointConfig, Part, Segmenter, SegmenterState

__all__ = ["ListenState", "Listener", "Listening", "listen"]


@dataclass(frozen=True, slots=True)
class ListenState:
    """All that is remembered of a session: the states of its stages. A value."""

    segmenter: SegmenterState
    acoustic: AcousticState
    decoding: SegmentState

    @property
    def received(self) -> int:
        """Samples of the session so far, lost ones included."""
        return self.segmenter.received


class Listening:
    """Recognition with endpoints: ``(samples, state) -> (events, state)``. Immutable.

    The three stages one after the other; ``hear`` runs the second for many sessions at once.
    """

    def __init__(self, recognizer: Recognizer, endpoint: EndpointConfig | None = None) -> None:
        self.segmenter = Segmenter(recognizer.config.frontend, endpoint)
        self.acoustic = recognizer.acoustic
        self.decoding = SegmentDecoder(recognizer.words, recognizer.sample_rate)

    def initial_state(self) -> ListenState:
        """Return the state of a session that has heard nothing."""
        return ListenState(
            self.segmenter.initial_state(),
            self.acoustic.initial_state(),
            self.decoding.initial_state(),
        )

    def advance(self, samples: torch.Tensor, state: ListenState) -> tuple[list[Event], ListenState]:
        """Hear ``samples (n,)``, 16 kHz float32; return what is now final, and the state."""
        parts, segmenter = self.segmenter(samples, state.segmenter)
        return self._decode(parts, replace(state, segmenter=segmenter))

    def hear(
        self, parts: Sequence[Sequence[Part]], states: Sequence[AcousticState]
    ) -> list[tuple[list[AcousticOutput], AcousticState]]:
        """Run the model over the parts of several sessions, in one pass.

        The first part of each goes on from its state; one behind a part that ended begins afresh.
        """
        fresh = self.acoustic.initial_state()
        samples = [part.samples for own in parts for part in own]
        befores = [
            state if place == 0 else fresh
            for own, state in zip(parts, states, strict=True)
            for place in range(len(own))
        ]
        found = iter(self.acoustic.many(samples, befores))
        heard = []
        for own in parts:
            outputs, afters = zip(*(next(found) for _ in own), strict=True)
            heard.append(([*outputs], fresh if own[-1].ended else afters[-1]))
        return heard

    def partial(self, state: ListenState) -> tuple[list[Event], ListenState]:
        """Return the segment as it looks now, if that has changed, and the state that knows."""
        events, decoding = self.decoding.partial(state.decoding)
        return events, replace(state, decoding=decoding)

    def break_off(
        self, state: ListenState, lost_seconds: float = 0.0, reason: str = ""
    ) -> tuple[list[Event], ListenState]:
        """End the segment, since nothing follows, or only after ``lost_seconds``."""
        lost = round(lost_seconds * self.segmenter.sample_rate)
        part, segmenter = self.segmenter.end(state.segmenter, lost)
        events, state = self._decode([part], replace(state, segmenter=segmenter))
        if lost_seconds:
            events.append(self.decoding.gap(lost, reason, state.decoding))
        return events, state

    def _decode(self, parts: Sequence[Part], state: ListenState) -> tuple[list[Event], ListenState]:
        """Run the model over the parts of a session, and decode what it made of them."""
        ((outputs, acoustic),) = self.hear([parts], [state.acoustic])
        events: list[Event] = []
        decoding = state.decoding
        for part, output in zip(parts, outputs, strict=True):
            found, decoding = self.decoding(part, output, decoding)
            events += found
        return events, replace(state, acoustic=acoustic, decoding=decoding)


class Listener:
    """One live session: ``accept`` blocks as they come, then ``finish``; both return events.

    Blocks are cut to ``chunk_ms`` for the model; how, changes no final.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        endpoint: EndpointConfig | None = None,
        *,
        chunk_ms: int = LISTEN_CHUNK_MS,
    ) -> None:
        self._listening = Listening(recognizer, endpoint)
        self._rate = recognizer.sample_rate
        self._chunk = recognizer.chunk_samples(chunk_ms)
        self._pending: list[torch.Tensor] = []
        self._pending_length = 0
        self._resampling: ResamplingState | None = None
        self._clock = 0.0
        self.state = self._listening.initial_state()

    @property
    def seconds(self) -> float:
        """Length of the session so far, lost audio included."""
        return (self.state.received + self._pending_length) / self._rate

    def accept(self, block: Block | ArrayLike, sample_rate: int | None = None) -> list[Event]:
        """Hear a block from a ``Microphone``, or samples ``(n,)``: mono, floats or int16.

        ``sample_rate`` is theirs, in Hz, the model's (16000) when None; it may change on the way.
        Raises AudioError for NaN, infinity, other shapes and rates, having changed nothing.
        """
        if not isinstance(block, Block):
            block = Block(np.asarray(block), time.monotonic())
        rate = self._rate if sample_rate is None else checked_rate(sample_rate)
        before = self.state.received + self._pending_length
        heard = heard_at(rate, self._rate, before, self._resampling)
        samples = as_samples(block.samples, heard, rate)
        events: list[Event] = []
        if block.reason:
            events += self._break_off(block.lost_seconds, block.reason)
        if rate != self._rate or self._resampling is not None:
            ready, self._resampling = convert(samples.numpy(), rate, self._rate, self._resampling)
            samples = torch.from_numpy(ready)
        if len(samples):
            self._pending.append(samples)
            self._pending_length += len(samples)
            self._clock = block.captured_at - self.seconds
        if self._pending_length >= self._chunk:
            waiting = torch.cat(self._pending)
            whole = len(waiting) - len(waiting) % self._chunk
            self._pending, self._pending_length = [waiting[whole:]], len(waiting) - whole
            for chunk in torch.split(waiting[:whole], self._chunk):
                found, self.state = self._listening.advance(chunk, self.state)
                events += self._stamped(found)
            partial, self.state = self._listening.partial(self.state)
            events += self._stamped(partial)
        return events

    def finish(self) -> list[Event]:
        """Hear the end: return the last final, if words are open."""
        return self._break_off()

    def _break_off(self, lost_seconds: float = 0.0, reason: str = "") -> list[Event]:
        events: list[Event] = []
        if self._resampling is not None:
            rest = torch.from_numpy(flush(self._resampling))
            self._pending.append(rest)
            self._pending_length += len(rest)
            self._resampling = None
        if self._pending_length:
            events, self.state = self._listening.advance(torch.cat(self._pending), self.state)
            self._pending, self._pending_length = [], 0
        last, self.state = self._listening.break_off(self.state, lost_seconds, reason)
        return self._stamped([*events, *last])

    def _stamped(self, events: Sequence[Event]) -> list[Event]:
        now = time.monotonic() - self._clock
        return [replace(e, latency_ms=1000 * max(0.0, now - e.end)) for e in events]


def listen(
    listener: Listener,
    blocks: Iterable[Block | ArrayLike] | None = None,
    *,
    sample_rate: int | None = None,
    device: int | str | None = None,
) -> Iterator[Event]:
    """Yield the events of ``blocks``, or of a microphone: see ``Recognizer.listen``."""
    with ExitStack() as stack:
        if blocks is None:
            from .audio.microphone import Microphone

            blocks = stack.enter_context(Microphone(device)).blocks()
        for block in blocks:
            yield from listener.accept(block, sample_rate)
        yield from listener.finish()
