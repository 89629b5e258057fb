"""Continuous batching of live streams: one pass through the model a tick, for all that have audio.

A thread of its own takes a chunk from every stream that has one, hears them in one batched call,
and hands each stream's log-posteriors to its decoder. A stream has at most one chunk on its way, so
its order is kept, and one that sends faster than real time gets no more than its turn.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from ..errors import StreamasrError
from ..events import Event
from ..recognizer import Recognizer, StreamState
from ..vad import VoiceDetector, VoiceState
from .decoders import Decoders, InProcesses, InThread, Processes
from .desk import Heard, Kind, Told
from .metrics import Metrics

__all__ = ["Failed", "Full", "Scheduler", "Source"]

log = logging.getLogger("streamasr.serving")


class Full(StreamasrError):
    """The server has as many streams as it may have."""


class Failed(Exception):
    """Recognition failed, for no fault of the caller's."""

    def __init__(self) -> None:
        super().__init__("recognition failed, and the server's log says why: begin anew")


@dataclass(eq=False)
class Source:
    """A stream's audio on its way to the model. Its methods are safe to call from any thread."""

    id: int
    live: bool
    tell: Callable[[list[Event]], None]
    ended: Callable[[BaseException | None], None]
    _scheduler: Scheduler
    _stream: StreamState
    _voice: VoiceState
    _waiting: deque[torch.Tensor] = field(default_factory=deque)
    _samples: int = 0
    _again: torch.Tensor | None = None
    _end: bool = False
    _break: bool = False
    _busy: bool = False
    _gone: bool = False

    @property
    def waiting_samples(self) -> int:
        """Samples that the model has not begun to hear."""
        return self._samples

    @property
    def busy(self) -> bool:
        """Whether something is on its way that is yet to be told."""
        with self._scheduler.changed:
            return self._busy or self._break or self._again is not None

    def put(self, samples: torch.Tensor) -> None:
        """Append ``samples (n,)``, float32 at the model's rate; never waits."""
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

    def break_off(self) -> None:
        """End the segment of a live stream behind what was put; what is put later begins afresh.

        Nothing may be put before ``busy`` says that it has been told.
        """
        assert self.live
        with self._scheduler.changed:
            self._break = True
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
        decoders: processes that decode; a thread of this one, if None.
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
        decoders: Processes | None = None,
        batched: bool = True,
    ) -> None:
        self.recognizer = recognizer
        self.metrics = metrics
        self.max_streams = max_streams
        self.changed = threading.Condition()
        self.chunk_samples = recognizer.chunk_samples(chunk_ms)
        self._most = recognizer.chunk_samples(4 * chunk_ms)
        self._tick = tick_seconds
        self._batched = batched
        self._detector = VoiceDetector()
        self._ids = itertools.count()
        self._sources: dict[int, Source] = {}
        self._closed = False
        self._decoders: Decoders = (
            InProcesses(decoders, self._told) if decoders else InThread(recognizer, self._told)
        )
        metrics.waiting_seconds.set_function(self._waiting_seconds)
        self._thread = threading.Thread(target=self._run, name="recognition", daemon=True)
        self._thread.start()

    @property
    def whole(self) -> bool:
        """Whether nothing of it has died."""
        return self._decoders.whole and self._thread.is_alive()

    def open(
        self,
        *,
        live: bool,
        tell: Callable[[list[Event]], None],
        ended: Callable[[BaseException | None], None],
    ) -> Source:
        """Add a stream, a live one or a recording; raises Full.

        Args:
            live: with partials, and segments that end where nobody speaks.
            tell: called whenever a chunk has been heard, with what is to be told; must not wait.
            ended: called once, after the last words were told, with an error if one ended it.
        """
        with self.changed:
            if self._closed or len(self._sources) >= self.max_streams:
                self.metrics.refused.inc()
                raise Full(f"{self.max_streams} streams are open, and no more are allowed")
            stream, voice = self.recognizer.initial_state(), self._detector.initial_state()
            source = Source(next(self._ids), live, tell, ended, self, stream, voice)
            self._sources[source.id] = source
            self._decoders.open(source.id, live=live)
            self.metrics.streams.set(len(self._sources))
            return source

    def forget(self, source: Source) -> None:
        """Remove a stream, if it is still there."""
        with self.changed:
            source._gone = True
            source._waiting.clear()
            source._samples = 0
            if self._sources.pop(source.id, None):
                self._decoders.close(source.id)
            self.metrics.streams.set(len(self._sources))

    def __len__(self) -> int:
        with self.changed:
            return len(self._sources)

    def _waiting_seconds(self) -> float:
        with self.changed:
            waiting = sum(source._samples for source in self._sources.values())
        return waiting / self.recognizer.sample_rate

    def close(self) -> None:
        """Stop after the current pass; streams that are still open are told nothing more."""
        with self.changed:
            self._closed = True
            self.changed.notify()
        self._thread.join()
        self._decoders.shutdown()

    def _run(self) -> None:
        while True:
            with self.changed:
                self.changed.wait_for(
                    lambda: self._closed or any(map(self._ready, self._sources.values()))
                )
                if self._closed:
                    return
                # Recordings have time, and listeners have none.
                live = any(source.live for source in self._sources.values())
                most = self._most if live else 4 * self._most
                turns = [self._take(s, most) for s in self._sources.values() if self._ready(s)]
            began = time.perf_counter()
            self._pass(turns)
            del turns  # streams that end meanwhile are not kept
            spent = time.perf_counter() - began
            self.metrics.tick_seconds.observe(spent)
            # A busy model rests a little: fewer passes, with more streams in each.
            if live:
                time.sleep(max(self._tick - spent, 0.25 * spent))

    def _ready(self, source: Source) -> bool:
        return not source._busy and (
            source._again is not None
            or source._samples >= self.chunk_samples
            or source._break
            or source._end
        )

    def _take(self, source: Source, most: int) -> _Turn:
        """Return the at ``most`` so many samples to hear next; the caller holds the lock."""
        source._busy = True
        if source._again is not None:
            samples, source._again = source._again, None
            source._stream = self.recognizer.initial_state()
            return _Turn(source, "again", samples)
        if not source._samples:
            kind: Kind = "break" if source._break else "closing"
            source._break = False
            return _Turn(source, kind, self.recognizer.closing_silence())
        taken: list[torch.Tensor] = []
        room = most
        while source._waiting and room:
            piece = source._waiting.popleft()
            if len(piece) > room:
                source._waiting.appendleft(piece[room:])
                piece = piece[:room]
            room -= len(piece)
            taken.append(piece)
        source._samples -= most - room
        return _Turn(source, "new", torch.cat(taken))

    def _pass(self, turns: list[_Turn]) -> None:
        self.metrics.rows.observe(len(turns))
        for group in [turns] if self._batched else [[turn] for turn in turns]:
            try:
                self._decoders.hear(self._hear(group))
            except Exception:
                log.exception("a pass failed")
                for turn in group:
                    self._told(Told(turn.source.id, [], last=True, failed=True))

    def _hear(self, turns: list[_Turn]) -> list[Heard]:
        """Run both models over a chunk of each stream."""
        sources = [turn.source for turn in turns]
        found = self.recognizer.log_probs_of(
            [turn.samples for turn in turns], [source._stream for source in sources]
        )
        for turn, (_, stream) in zip(turns, found, strict=True):
            turn.source._stream = stream
            if turn.kind == "break":
                turn.source._stream = self.recognizer.initial_state()
                turn.source._voice = self._detector.initial_state()
        new = [turn for turn in turns if turn.kind == "new"]
        self.metrics.audio_seconds.inc(
            sum(len(turn.samples) for turn in new) / self.recognizer.sample_rate
        )
        live = [turn for turn in new if turn.source.live]
        voices = self._detector.many(
            [turn.samples for turn in live], [turn.source._voice for turn in live]
        )
        speech: dict[int, list[float]] = {}
        for turn, (answers, voice) in zip(live, voices, strict=True):
            speech[turn.source.id], turn.source._voice = answers, voice
        return [
            Heard(
                turn.source.id,
                turn.kind,
                turn.samples.numpy(),
                speech.get(turn.source.id, []),
                log_probs.numpy(),
            )
            for turn, (log_probs, _) in zip(turns, found, strict=True)
        ]

    def _told(self, told: Told) -> None:
        """Pass on what a decoder says; on its thread."""
        with self.changed:
            source = self._sources.get(told.id)
            if source is None:
                return
            if not told.failed:
                source.tell(told.events)
            if not told.last:
                source._busy = False
                if told.again is not None:
                    source._again = torch.from_numpy(told.again)
                self.changed.notify()
                return
        self.forget(source)
        if told.failed:
            self.metrics.errors.labels("internal").inc()
        source.ended(Failed() if told.failed else None)


@dataclass(frozen=True, slots=True)
class _Turn:
    """What a stream hears in a pass."""

    source: Source
    kind: Kind
    samples: torch.Tensor
