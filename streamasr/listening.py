"""A live session: blocks of samples in, partial and final events out."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import ArrayLike

from .audio.live import Block
from .audio.polyphase import ResamplingState, checked_rate, convert, flush, position_at
from .events import Event
from .pipeline import LivePipeline
from .samples import as_samples
from .segment import EndpointConfig
from .streams import Stages

__all__ = ["LISTEN_CHUNK_MS", "Listener", "listen"]

LISTEN_CHUNK_MS = 80


class Listener:
    """One live session: ``accept`` blocks as they come, then ``finish``; both return events.

    Blocks are cut to ``chunk_ms`` for the model; how, changes no final.
    """

    def __init__(
        self,
        recognizer: Stages,
        endpoint: EndpointConfig | None = None,
        *,
        chunk_ms: int = LISTEN_CHUNK_MS,
    ) -> None:
        self._pipeline = LivePipeline(
            recognizer.acoustic, recognizer.words, endpoint, recognizer.formatter
        )
        self._rate = recognizer.sample_rate
        self._chunk = recognizer.chunk_samples(chunk_ms)
        self._pending: list[torch.Tensor] = []
        self._pending_length = 0
        self._resampling: ResamplingState | None = None
        self._clock = 0.0
        self.state = self._pipeline.initial_state()

    @property
    def seconds(self) -> float:
        """Length of the session so far, lost audio included."""
        return (self.state.received + self._pending_length) / self._rate

    def accept(self, block: Block | ArrayLike, sample_rate: int | None = None) -> list[Event]:
        """Accept a block from a ``Microphone``, or samples ``(n,)``: mono, floats or int16.

        ``sample_rate`` is theirs, in Hz, the model's (16000) when None; it may change on the way.
        Raises AudioError for NaN, infinity, other shapes and rates, having changed nothing.
        """
        if not isinstance(block, Block):
            block = Block(np.asarray(block), time.monotonic())
        rate = self._rate if sample_rate is None else checked_rate(sample_rate)
        before = self.state.received + self._pending_length
        position = position_at(rate, self._rate, before, self._resampling)
        samples = as_samples(block.samples, position, rate)
        events: list[Event] = []
        if block.reason:
            events += self._end_segment(block.lost_seconds, block.reason)
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
                found, self.state = self._pipeline.advance(chunk, self.state)
                events += self._stamped(found)
            partial, self.state = self._pipeline.partial(self.state)
            events += self._stamped(partial)
        return events

    def finish(self) -> list[Event]:
        """Flush: return the last final, if words are open."""
        return self._end_segment()

    def _end_segment(self, lost_seconds: float = 0.0, reason: str = "") -> list[Event]:
        events: list[Event] = []
        if self._resampling is not None:
            rest = torch.from_numpy(flush(self._resampling))
            self._pending.append(rest)
            self._pending_length += len(rest)
            self._resampling = None
        if self._pending_length:
            events, self.state = self._pipeline.advance(torch.cat(self._pending), self.state)
            self._pending, self._pending_length = [], 0
        last, self.state = self._pipeline.end_segment(self.state, lost_seconds, reason)
        return self._stamped([*events, *last])

    def _stamped(self, events: Sequence[Event]) -> list[Event]:
        now = time.monotonic() - self._clock
        return [replace(e, latency_ms=1000 * max(0.0, now - e.end)) for e in events]


def listen(
    listener: Listener,
    blocks: Iterable[Block | ArrayLike] | None,
    sample_rate: int | None,
    device: int | str | None,
) -> Iterator[Event]:
    """Yield the events of ``blocks``, or of a microphone; see ``Recognizer.listen``."""
    with ExitStack() as stack:
        if blocks is None:
            from .audio.microphone import Microphone

            blocks = stack.enter_context(Microphone(device)).blocks()
        for block in blocks:
            yield from listener.accept(block, sample_rate)
        yield from listener.finish()
