"""A client's stream: audio in with back-pressure, events out, both queues bounded."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from ..audio.resample import SAMPLE_RATE, Resampler
from ..errors import AudioError
from ..events import Event
from ..samples import as_samples

if TYPE_CHECKING:
    from .scheduler import Scheduler
    from .settings import ServeSettings

__all__ = ["MAX_EVENTS", "ClientStream", "SlowConsumer", "StreamTooLong"]

MAX_EVENTS = 1000
"""Events queued for a client that does not read; beyond them its stream is closed."""


class StreamTooLong(AudioError):
    """A stream has reached ``max_stream_seconds``."""


class SlowConsumer(AudioError):
    """A client does not read its events."""


class ClientStream:
    """The stream of one client. Made and used on the event loop.

    Args:
        scheduler: runs recognition; raises ServerFull if it has no room.
        settings: limits.
        sample_rate: of the client's audio, in Hz.
        live: whether there are partials, and segments that end at endpoints.
        plain: whether its text is plain in any case.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        settings: ServeSettings,
        sample_rate: int = SAMPLE_RATE,
        *,
        live: bool,
        plain: bool = False,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._settings = settings
        self._resampler = Resampler(sample_rate)
        self._live = live
        self._metrics = scheduler.metrics
        self._chunk = scheduler.chunk_samples
        self._received = 0
        self._clock = time.monotonic()
        self._events: deque[Event] = deque()
        self._changed = asyncio.Event()
        self._roomy = asyncio.Event()
        self._over = False
        self._error: BaseException | None = None
        self._handle = scheduler.open(
            live=live,
            plain=plain,
            on_events=lambda events: self._call(self._take, events),
            on_end=lambda error: self._call(self._end, error),
        )

    @property
    def over(self) -> bool:
        """Whether the stream has ended, or was cancelled."""
        return self._over

    @property
    def seconds(self) -> float:
        """Audio received so far."""
        return self._received / SAMPLE_RATE

    async def accept(self, samples: NDArray[np.float32]) -> None:
        """Queue ``samples (n,)``; block while ``waiting_seconds`` are queued already.

        Raises AudioError for NaN and infinity, and for more audio than a stream may have; and what
        ended the stream early, if something did.
        """
        most = self._settings.max_stream_seconds
        if self.seconds + len(samples) / self._resampler.source_rate > most:
            raise StreamTooLong(f"a stream may be {most:g} s long: begin anew")
        ready = as_samples(self._resampler.process(samples), self._received, SAMPLE_RATE)
        self._received += len(ready)
        self._clock = time.monotonic() - self.seconds
        self._handle.feed(ready)
        await self._wait_for(self._settings.waiting_seconds)

    async def processed(self) -> None:
        """Wait until all full chunks have been processed and their events are there."""
        await self._wait_for(0.0)

    async def _wait_for(self, seconds: float) -> None:
        most = max(seconds * SAMPLE_RATE, self._chunk - 1)
        while not self._over and (
            self._handle.queued_samples > most or (not seconds and self._handle.busy)
        ):
            self._roomy.clear()
            await self._roomy.wait()
        if self._error is not None:
            raise self._error

    @property
    def sample_rate(self) -> int:
        """Of the client's audio, in Hz."""
        return self._resampler.source_rate

    @sample_rate.setter
    def sample_rate(self, rate: int) -> None:
        """Take what follows to be at another rate."""
        self._flush(rate)

    async def end_segment(self) -> None:
        """End the segment here, and wait for its events; times count on."""
        self._flush(self.sample_rate)
        self._handle.end_segment()
        await self.processed()

    def end(self) -> None:
        """Signal the end of the audio; the rest is flushed."""
        self._flush(self.sample_rate)
        self._handle.end()

    def _flush(self, rate: int) -> None:
        rest = torch.from_numpy(self._resampler.flush())
        self._resampler = Resampler(rate)
        self._received += len(rest)
        self._handle.feed(rest)

    def cancel(self) -> None:
        """Drop the stream at once; whoever waits for room or for events waits no more."""
        self._end(None)
        self._handle.cancel()

    def fail(self, error: BaseException) -> None:
        """End the stream at once, with an error for whoever reads the events."""
        self._end(error)
        self._handle.cancel()

    def take_events(self) -> list[Event]:
        """Return the events that have not been read."""
        events = [*self._events]
        self._events.clear()
        return events

    async def events(self) -> AsyncIterator[Event]:
        """Yield events until the stream has ended; raises what ended it early."""
        while True:
            while self._events:
                yield self._events.popleft()
            if self._error is not None:
                raise self._error
            if self._over:
                return
            self._changed.clear()
            await self._changed.wait()

    def _call(self, function: Callable[..., None], *values: object) -> None:
        with suppress(RuntimeError):  # the loop has closed while a decoder was running
            self._loop.call_soon_threadsafe(function, *values)

    def _take(self, events: list[Event]) -> None:
        now = time.monotonic() - self._clock
        for event in events:
            latency = max(0.0, now - event.end)
            if self._live:
                self._metrics.latency.labels(event.type).observe(latency)
            # A newer partial stands for an older one that nobody has read.
            if self._events and self._events[-1].type == event.type == "partial":
                self._events.pop()
            self._events.append(replace(event, latency_ms=1000 * latency))
        if len(self._events) > MAX_EVENTS:
            self.fail(SlowConsumer(f"{MAX_EVENTS} events wait to be read: read faster"))
        if events:
            self._changed.set()
        self._roomy.set()

    def _end(self, error: BaseException | None) -> None:
        self._over = True
        self._error = self._error or error
        self._changed.set()
        self._roomy.set()
