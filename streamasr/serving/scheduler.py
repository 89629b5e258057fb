"""Continuous batching of live streams: one pass through the model a tick, for all that have audio.

A thread of its own takes a chunk from every stream that has one, cuts it into segments, and runs
the model over all of them in one batched call; a pool of threads decodes what that gives side by
side. A stream has at most one chunk on its way, so its order is kept, and one that sends faster
than real time gets no more than its turn.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal

import torch

from ..acoustic import AcousticState
from ..api import Recognizer
from ..cores import cores
from ..errors import StreamasrError
from ..events import Event
from ..pipeline import LivePipeline
from ..segment import Part, SegmenterState
from .metrics import Metrics
from .sessions import Heard, LiveSession, RecordingSession, Session
from .warmup import warm_up

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
    """A stream's audio on its way to the model. Its methods are safe to call from any thread.

    The states of the segmenter and of the model belong to the thread that runs them, the session to
    the thread that decodes.
    """

    id: int
    live: bool
    tell: Callable[[list[Event]], None]
    ended: Callable[[BaseException | None], None]
    _scheduler: Scheduler
    _segmenter: SegmenterState
    _acoustic: AcousticState
    _session: Session
    _waiting: deque[torch.Tensor] = field(default_factory=deque)
    _samples: int = 0
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
            return self._busy or self._break

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
        decoders: threads that decode, one stream each at a time; one for each core if None.
        batched: whether a pass hears all streams at once; one after the other otherwise.

    It is ready when it is made: what decodes has been compiled.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        metrics: Metrics,
        *,
        max_streams: int = 64,
        chunk_ms: int = 80,
        tick_seconds: float = 0.04,
        decoders: int | None = None,
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
        self._pipeline = LivePipeline(recognizer.acoustic, recognizer.words)
        self._ids = itertools.count()
        self._sources: dict[int, Source] = {}
        self._closed = False
        warm_up(recognizer)
        # Each decodes a stream of its own: more threads in it would only wait for each other.
        self._decoders = ThreadPoolExecutor(
            decoders or cores(), "decoder", initializer=torch.set_num_threads, initargs=(1,)
        )
        self._threads = torch.get_num_threads()
        metrics.waiting_seconds.set_function(self._waiting_seconds)
        self._thread = threading.Thread(target=self._run, name="recognition", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread that runs the model does."""
        return self._thread.is_alive()

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
            source = Source(
                next(self._ids),
                *(live, tell, ended, self),
                self._pipeline.segmenter.initial_state(),
                self.recognizer.acoustic.initial_state(),
                self._session(live=live),
            )
            self._sources[source.id] = source
            self.metrics.streams.set(len(self._sources))
            return source

    def _session(self, *, live: bool) -> Session:
        if live:
            return LiveSession(self._pipeline.decoding)
        return RecordingSession(self.recognizer.words, self.recognizer.sample_rate)

    def forget(self, source: Source) -> None:
        """Remove a stream, if it is still there."""
        with self.changed:
            source._gone = True
            source._waiting.clear()
            source._samples = 0
            self._sources.pop(source.id, None)
            self.metrics.streams.set(len(self._sources))

    def __len__(self) -> int:
        with self.changed:
            return len(self._sources)

    def _waiting_seconds(self) -> float:
        with self.changed:
            waiting = sum(source._samples for source in self._sources.values())
        return waiting / self.recognizer.sample_rate

    def close(self) -> None:
        """Stop after the chunks in hand; streams that are still open are told nothing more."""
        with self.changed:
            self._closed = True
            self.changed.notify()
        self._thread.join()
        self._decoders.shutdown(cancel_futures=True)

    def _run(self) -> None:
        torch.set_num_threads(self._threads)  # each thread has its own number
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
            source._samples >= self.chunk_samples or source._break or source._end
        )

    def _take(self, source: Source, most: int) -> _Turn:
        """Return the at ``most`` so many samples to hear next; the caller holds the lock."""
        source._busy = True
        if not source._samples:
            kind: Kind = "break" if source._break else "end"
            source._break = False
            return _Turn(source, kind, torch.zeros(0))
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
                for turn, heard in zip(group, self._hear(group), strict=True):
                    self._decoders.submit(self._decode, turn.source, heard, turn.kind == "end")
            except Exception:
                log.exception("a pass through the model failed: its %d streams end", len(group))
                for turn in group:
                    self._end(turn.source, Failed())

    def _hear(self, turns: Sequence[_Turn]) -> list[Heard]:
        """Cut a chunk of each stream into segments, and run the model over their parts."""
        cut = self._cut(turns)
        found = self._pipeline.hear(
            [parts for parts, _ in cut], [turn.source._acoustic for turn in turns]
        )
        self.metrics.audio_seconds.inc(
            sum(len(turn.samples) for turn in turns) / self.recognizer.sample_rate
        )
        heard: list[Heard] = []
        for turn, (parts, segmenter), (outputs, acoustic) in zip(turns, cut, found, strict=True):
            turn.source._segmenter, turn.source._acoustic = segmenter, acoustic
            heard.append([*zip(parts, outputs, strict=True)])
        return heard

    def _cut(self, turns: Sequence[_Turn]) -> list[tuple[list[Part], SegmenterState]]:
        """Cut the chunks of live streams at endpoints, with one pass of the voice detector."""
        segmenter = self._pipeline.segmenter
        live = [turn for turn in turns if turn.source.live and turn.kind == "new"]
        found = iter(
            segmenter.many(
                [turn.samples for turn in live], [turn.source._segmenter for turn in live]
            )
        )
        cut = []
        for turn in turns:
            state = turn.source._segmenter
            if turn.kind != "new":
                part, state = segmenter.end(state)
            elif turn.source.live:
                cut.append(next(found))
                continue
            else:
                part, state = segmenter.whole(turn.samples, state)
            cut.append(([part], state))
        return cut

    def _decode(self, source: Source, heard: Heard, last: bool) -> None:
        """Decode a chunk and pass on its events; on a decoder's thread.

        What fails here ends this stream and nothing else.
        """
        if source._gone:
            return
        try:
            with torch.inference_mode():
                events = source._session.decode(heard)
            with self.changed:
                if source._gone:
                    return
                source.tell(events)
                if not last:
                    source._busy = False
                    self.changed.notify()
                    return
            self._end(source, None)
        except Exception:
            log.exception("decoding failed: its stream ends")
            self._end(source, Failed())

    def _end(self, source: Source, error: Failed | None) -> None:
        with self.changed:
            if source._gone:
                return
            self.forget(source)
        if error:
            self.metrics.errors.labels("internal").inc()
        source.ended(error)


Kind = Literal["new", "break", "end"]
"""Samples that came; nothing, behind a segment that the caller breaks off, or behind the stream."""


@dataclass(frozen=True, slots=True)
class _Turn:
    """What a stream has for a pass."""

    source: Source
    kind: Kind
    samples: torch.Tensor
