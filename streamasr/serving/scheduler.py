"""Continuous batching of live streams: one pass through the model a tick, for all that have audio.

A thread of its own takes a chunk from every stream that has one, hears them in one batched call,
and hands each stream's log-posteriors to a pool of decoders. A stream has at most one chunk on its
way, so its order is kept, and one that sends faster than real time gets no more than its turn.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from ..errors import StreamasrError
from ..recognizer import Recognizer, StreamState
from .metrics import Metrics

__all__ = ["Full", "Listener", "Scheduler", "Source"]

log = logging.getLogger("streamasr.serving")


class Full(StreamasrError):
    """The server has as many streams as it may have."""


class Listener(Protocol):
    """What a stream's audio is for. Called from one thread at a time."""

    @property
    def stream(self) -> StreamState:
        """The state that the next chunk is heard from."""

    def hear(self, samples: torch.Tensor, log_probs: torch.Tensor, stream: StreamState) -> Any:
        """Take a chunk that was heard; return what is to be told."""

    def finish(self) -> Any:
        """Take the end; return what is to be told."""


@dataclass(eq=False)
class Source:
    """A stream's audio on its way to the model. Its methods are safe to call from any thread."""

    listener: Listener
    tell: Callable[[Any], None]
    ended: Callable[[BaseException | None], None]
    roomy: Callable[[], None]
    _scheduler: Scheduler
    _waiting: deque[torch.Tensor] = field(default_factory=deque)
    _samples: int = 0
    _end: bool = False
    _busy: bool = False
    _gone: bool = False

    @property
    def waiting_samples(self) -> int:
        """Samples that the model has not begun to hear."""
        return self._samples

    @property
    def busy(self) -> bool:
        """Whether a chunk is on its way."""
        return self._busy

    def put(self, samples: torch.Tensor) -> None:
        """Append ``samples (n,)``, float32 at the model's rate. Never waits: see ``roomy``."""
        with self._scheduler.changed:
            if not self._end and not self._gone and len(samples):
                self._waiting.append(samples)
                self._samples += len(samples)
                self._scheduler.changed.notify()

    def end(self) -> None:
        """Say that nothing follows: what is left is heard, told, and then ``ended`` called."""
        with self._scheduler.changed:
            self._end = True
            self._scheduler.changed.notify()

    def leave(self) -> None:
        """Forget the stream at once; nothing more is told."""
        self._scheduler.forget(self)


class Scheduler:
    """Runs streams until it is closed.

    Args:
        recognizer: shared by all.
        max_streams: beyond them ``open`` raises Full.
        chunk_ms: audio of a stream in a pass; more where it has fallen behind.
        tick_seconds: passes begin no closer together, so that streams meet in them.
        decoders: threads that search.
        batched: whether a pass hears all streams at once; one after the other otherwise.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        metrics: Metrics,
        *,
        max_streams: int = 64,
        chunk_ms: int = 80,
        tick_seconds: float = 0.04,
        decoders: int = 2,
        batched: bool = True,
    ) -> None:
        self.recognizer = recognizer
        self.metrics = metrics
        self.max_streams = max_streams
        self.changed = threading.Condition()
        self.chunk_samples = self._chunk = recognizer.chunk_samples(chunk_ms)
        self._most = recognizer.chunk_samples(4 * chunk_ms)
        self._tick = tick_seconds
        self._batched = batched
        self._sources: list[Source] = []
        self._closed = False
        self._pool = ThreadPoolExecutor(decoders, thread_name_prefix="decoder")
        self._thread = threading.Thread(target=self._run, name="recognition", daemon=True)
        self._thread.start()

    def open(
        self,
        listener: Listener,
        *,
        tell: Callable[[Any], None],
        ended: Callable[[BaseException | None], None],
        roomy: Callable[[], None],
    ) -> Source:
        """Add a stream; raises Full.

        Args:
            listener: what hears it.
            tell: called with what the listener returns.
            ended: called once, after the last words were told, with an error if one ended it.
            roomy: called whenever samples have been taken from it.
        """
        with self.changed:
            if self._closed or len(self._sources) >= self.max_streams:
                self.metrics.refused.inc()
                raise Full(f"{self.max_streams} streams are open, and no more are allowed")
            source = Source(listener, tell, ended, roomy, self)
            self._sources.append(source)
            self.metrics.streams.set(len(self._sources))
            return source

    def forget(self, source: Source) -> None:
        """Remove a stream, if it is still there."""
        with self.changed:
            source._gone = True
            source._waiting.clear()
            source._samples = 0
            if source in self._sources:
                self._sources.remove(source)
            self.metrics.streams.set(len(self._sources))

    def __len__(self) -> int:
        with self.changed:
            return len(self._sources)

    def close(self) -> None:
        """Stop after the current pass; streams that are still open are told nothing more."""
        with self.changed:
            self._closed = True
            self.changed.notify()
        self._thread.join()
        self._pool.shutdown()

    def _run(self) -> None:
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self._closed or any(map(self._ready, self._sources)))
                if self._closed:
                    return
                turns = [(s, self._take(s)) for s in self._sources if self._ready(s)]
                for source, _ in turns:
                    source._busy = True
            began = time.perf_counter()
            self._pass(turns)
            spent = time.perf_counter() - began
            self.metrics.tick_seconds.observe(spent)
            time.sleep(max(0.0, self._tick - spent))

    def _ready(self, source: Source) -> bool:
        return not source._busy and (source._samples >= self._chunk or source._end)

    def _take(self, source: Source) -> torch.Tensor:
        """Return the next samples of a stream, none at its end; the caller holds the lock."""
        taken: list[torch.Tensor] = []
        room = self._most
        while source._waiting and room:
            piece = source._waiting.popleft()
            if len(piece) > room:
                source._waiting.appendleft(piece[room:])
                piece = piece[:room]
            room -= len(piece)
            taken.append(piece)
        source._samples -= self._most - room
        return torch.cat(taken) if taken else torch.zeros(0)

    def _pass(self, turns: list[tuple[Source, torch.Tensor]]) -> None:
        heard = [(source, samples) for source, samples in turns if len(samples)]
        self.metrics.rows.observe(len(heard))
        for group in [heard] if self._batched else [[turn] for turn in heard]:
            if not group:
                continue
            chunks = [samples for _, samples in group]
            try:
                found = self.recognizer.log_probs_of(chunks, [s.listener.stream for s, _ in group])
            except Exception as error:
                log.exception("a pass failed")
                for source, _ in group:
                    self._fail(source, error)
                continue
            for (source, samples), (log_probs, stream) in zip(group, found, strict=True):
                self.metrics.audio_seconds.inc(len(samples) / self.recognizer.sample_rate)
                self._pool.submit(self._hear, source, samples, log_probs, stream)
        for source, samples in turns:
            if not len(samples):
                self._pool.submit(self._finish, source)

    def _hear(
        self, source: Source, samples: torch.Tensor, log_probs: torch.Tensor, stream: StreamState
    ) -> None:
        try:
            with torch.inference_mode():
                told = source.listener.hear(samples, log_probs, stream)
        except Exception as error:
            log.exception("a decoder failed")
            self._fail(source, error)
            return
        with self.changed:
            source._busy = False
            self.changed.notify()
            gone = source._gone
        if not gone:
            source.tell(told)
            source.roomy()

    def _finish(self, source: Source) -> None:
        error: BaseException | None = None
        try:
            if not source._gone:
                source.tell(source.listener.finish())
        except Exception as caught:
            log.exception("a decoder failed at the end")
            error = caught
        gone = source._gone
        self.forget(source)
        if not gone:
            source.ended(error)

    def _fail(self, source: Source, error: BaseException) -> None:
        self.metrics.errors.labels("internal").inc()
        gone = source._gone
        self.forget(source)
        if not gone:
            source.ended(error)
