"""Continuous batching of live streams: one pass through the model a tick, for all that have audio.

A thread of its own takes a chunk from every stream that has one, cuts it into segments, and runs
the model over all of them in one batched call; a pool of threads decodes the outputs side by side.
A stream has at most one chunk in progress, so its order is kept, and one that sends faster than
real time gets no more than its share.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain, count
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
from .sessions import LiveSession, RecordingSession, SegmentOutputs, Session
from .warmup import warm_up

__all__ = ["RecognitionFailed", "Scheduler", "ServerFull", "StreamHandle"]

log = logging.getLogger("streamasr.serving")


class ServerFull(StreamasrError):
    """The server has ``max_streams`` streams already."""


class RecognitionFailed(Exception):
    """Recognition of a stream failed, through no fault of its client."""

    def __init__(self) -> None:
        super().__init__("recognition failed, and the server's log says why: begin anew")


@dataclass(eq=False)
class StreamHandle:
    """A stream's queue and states. Its methods are safe to call from any thread.

    The states of the segmenter and of the model belong to the thread that runs them, the session to
    the thread that decodes.
    """

    id: int
    live: bool
    on_events: Callable[[list[Event]], None]
    on_end: Callable[[BaseException | None], None]
    _scheduler: Scheduler
    _segmenter: SegmenterState
    _acoustic: AcousticState
    _session: Session
    _queue: deque[torch.Tensor] = field(default_factory=deque)
    _queued: int = 0
    _end: bool = False
    _segment_ends: bool = False
    _busy: bool = False
    _cancelled: bool = False

    @property
    def queued_samples(self) -> int:
        """Samples that the model has not received."""
        return self._queued

    @property
    def busy(self) -> bool:
        """Whether a chunk is being processed, or the end of a segment is pending."""
        with self._scheduler.changed:
            return self._busy or self._segment_ends

    def feed(self, samples: torch.Tensor) -> None:
        """Queue ``samples (n,)``, float32 at the model's rate; never blocks."""
        with self._scheduler.changed:
            if not self._end and not self._cancelled and len(samples):
                self._queue.append(samples)
                self._queued += len(samples)
                self._scheduler.changed.notify()

    def end(self) -> None:
        """Signal the end of the audio: the rest is flushed, and then ``on_end`` called."""
        with self._scheduler.changed:
            self._end = True
            self._scheduler.changed.notify()

    def end_segment(self) -> None:
        """End the segment of a live stream behind what was fed; what is fed later begins another.

        Nothing may be fed while ``busy``.
        """
        assert self.live
        with self._scheduler.changed:
            self._segment_ends = True
            self._scheduler.changed.notify()

    def cancel(self) -> None:
        """Drop the stream at once: no more callbacks."""
        self._scheduler.remove(self)


class Scheduler:
    """Runs streams until it is closed.

    Args:
        recognizer: shared by all.
        max_streams: beyond them ``open`` raises ServerFull.
        chunk_ms: audio of a stream in a pass; up to four times as much where it lags.
        tick_seconds: least time between passes, so that streams share them.
        decoders: threads that decode, one stream each at a time; one for each core if None.
        batched: whether a pass runs all streams at once; one after the other otherwise.

    It is warm when it is made: the model's step and the search have been compiled.
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
        self._pipeline = LivePipeline(
            recognizer.acoustic, recognizer.words, formatter=recognizer.formatter
        )
        self._ids = count()
        self._streams: dict[int, StreamHandle] = {}
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
        on_events: Callable[[list[Event]], None],
        on_end: Callable[[BaseException | None], None],
        plain: bool = False,
    ) -> StreamHandle:
        """Add a stream, a live one or a recording; raises ServerFull.

        Args:
            live: with partials, and segments that end at endpoints.
            on_events: called after each chunk with its events; must not block.
            on_end: called once, after the last events, with the error that ended it, if any.
            plain: whether its text is plain, though the recognizer would format it.
        """
        with self.changed:
            if self._closed or len(self._streams) >= self.max_streams:
                self.metrics.refused.inc()
                raise ServerFull(f"{self.max_streams} streams are open, and no more are allowed")
            stream = StreamHandle(
                next(self._ids),
                live,
                on_events,
                on_end,
                self,
                self._pipeline.segmenter.initial_state(),
                self.recognizer.acoustic.initial_state(),
                self._session(live=live, plain=plain),
            )
            self._streams[stream.id] = stream
            self.metrics.streams.set(len(self._streams))
            return stream

    def _session(self, *, live: bool, plain: bool) -> Session:
        if live:
            return LiveSession(self._pipeline.decoding, None if plain else self._pipeline.text)
        formatter = None if plain else self.recognizer.formatter
        return RecordingSession(self.recognizer.words, self.recognizer.sample_rate, formatter)

    def remove(self, stream: StreamHandle) -> None:
        """Remove a stream, if it is still there."""
        with self.changed:
            stream._cancelled = True
            stream._queue.clear()
            stream._queued = 0
            self._streams.pop(stream.id, None)
            self.metrics.streams.set(len(self._streams))

    def __len__(self) -> int:
        with self.changed:
            return len(self._streams)

    def _waiting_seconds(self) -> float:
        with self.changed:
            waiting = sum(stream._queued for stream in self._streams.values())
        return waiting / self.recognizer.sample_rate

    def close(self) -> None:
        """Stop after the chunks in progress; streams that are still open get no more events."""
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
                    lambda: self._closed or any(map(self._ready, self._streams.values()))
                )
                if self._closed:
                    return
                # Uploads can wait; live streams cannot.
                live = any(stream.live for stream in self._streams.values())
                most = self._most if live else 4 * self._most
                turns = [self._take(s, most) for s in self._streams.values() if self._ready(s)]
            began = time.perf_counter()
            self._pass(turns)
            del turns  # do not keep streams that end meanwhile
            spent = time.perf_counter() - began
            self.metrics.tick_seconds.observe(spent)
            # Pause under load: fewer passes, with more streams in each.
            if live:
                time.sleep(max(self._tick - spent, 0.25 * spent))

    def _ready(self, stream: StreamHandle) -> bool:
        return not stream._busy and (
            stream._queued >= self.chunk_samples or stream._segment_ends or stream._end
        )

    def _take(self, stream: StreamHandle, most: int) -> _Turn:
        """Take at ``most`` so many samples off the queue; the caller holds the lock."""
        stream._busy = True
        if not stream._queued:
            kind: Kind = "end_segment" if stream._segment_ends else "end"
            stream._segment_ends = False
            return _Turn(stream, kind, torch.zeros(0))
        taken: list[torch.Tensor] = []
        room = most
        while stream._queue and room:
            piece = stream._queue.popleft()
            if len(piece) > room:
                stream._queue.appendleft(piece[room:])
                piece = piece[:room]
            room -= len(piece)
            taken.append(piece)
        stream._queued -= most - room
        return _Turn(stream, "samples", torch.cat(taken))

    def _pass(self, turns: list[_Turn]) -> None:
        self.metrics.rows.observe(len(turns))
        for group in [turns] if self._batched else [[turn] for turn in turns]:
            try:
                for turn, outputs in zip(group, self._forward(group), strict=True):
                    self._decoders.submit(self._decode, turn.stream, outputs, turn.kind == "end")
            except Exception:
                log.exception("a pass through the model failed: its %d streams end", len(group))
                for turn in group:
                    self._end(turn.stream, RecognitionFailed())

    def _forward(self, turns: Sequence[_Turn]) -> list[SegmentOutputs]:
        """Cut a chunk of each stream into segments, and run the model over their parts."""
        cut = self._cut(turns)
        found = self._pipeline.forward(
            [parts for parts, _ in cut], [turn.stream._acoustic for turn in turns]
        )
        self.metrics.audio_seconds.inc(
            sum(len(turn.samples) for turn in turns) / self.recognizer.sample_rate
        )
        outputs: list[SegmentOutputs] = []
        for turn, (parts, segmenter), (made, acoustic) in zip(turns, cut, found, strict=True):
            turn.stream._segmenter, turn.stream._acoustic = segmenter, acoustic
            outputs.append([*zip(parts, made, strict=True)])
        return self._second_pass(turns, outputs)

    def _second_pass(
        self, turns: Sequence[_Turn], outputs: Sequence[SegmentOutputs]
    ) -> list[SegmentOutputs]:
        """Run the second pass of all streams in one, where it runs while a segment lasts."""
        inputs = [
            turn.stream._session.second_inputs(own)
            for turn, own in zip(turns, outputs, strict=True)
        ]
        made = iter(
            self.recognizer.acoustic.with_second_pass(
                [output for own in outputs for _, output in own], [*chain.from_iterable(inputs)]
            )
        )
        return [[(part, next(made)) for part, _ in own] for own in outputs]

    def _cut(self, turns: Sequence[_Turn]) -> list[tuple[list[Part], SegmenterState]]:
        """Cut the chunks of live streams at endpoints, with one pass of the voice detector."""
        segmenter = self._pipeline.segmenter
        live = [turn for turn in turns if turn.stream.live and turn.kind == "samples"]
        found = iter(
            segmenter.many(
                [turn.samples for turn in live], [turn.stream._segmenter for turn in live]
            )
        )
        cut = []
        for turn in turns:
            state = turn.stream._segmenter
            if turn.kind != "samples":
                part, state = segmenter.end(state)
            elif turn.stream.live:
                cut.append(next(found))
                continue
            else:
                part, state = segmenter.whole(turn.samples, state)
            cut.append(([part], state))
        return cut

    def _decode(self, stream: StreamHandle, outputs: SegmentOutputs, last: bool) -> None:
        """Decode a chunk and hand over its events; runs on a decoder's thread.

        An error ends this stream and no other.
        """
        if stream._cancelled:
            return
        try:
            with torch.inference_mode():
                events = stream._session.decode(outputs)
            with self.changed:
                if stream._cancelled:
                    return
                stream.on_events(events)
                if not last:
                    stream._busy = False
                    self.changed.notify()
                    return
            self._end(stream, None)
        except Exception:
            log.exception("decoding failed: its stream ends")
            self._end(stream, RecognitionFailed())

    def _end(self, stream: StreamHandle, error: RecognitionFailed | None) -> None:
        with self.changed:
            if stream._cancelled:
                return
            self.remove(stream)
        if error:
            self.metrics.errors.labels("internal").inc()
        stream.on_end(error)


Kind = Literal["samples", "end_segment", "end"]
"""New samples; or none, at the end of a segment that the client asked for, or of the stream."""


@dataclass(frozen=True, slots=True)
class _Turn:
    """What a stream brings to a pass."""

    stream: StreamHandle
    kind: Kind
    samples: torch.Tensor
