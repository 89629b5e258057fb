"""Transcribe one recording after the other in this process: words as they come, time by stage."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from ..api import Recognizer
from ..audio import AudioFile, open_audio, open_raw
from ..audio.level import Level
from ..errors import StreamasrError, unexpected
from ..samples import rechunk
from ..timings import Timings
from ..transcript import Transcript
from .request import InTurn, Request
from .tasks import About, Advance, Outcome, Task

__all__ = ["TurnEngine"]


class TurnEngine:
    """An engine beside the pools of workers: hands on words as soon as they are final.

    Args:
        request: the job.
        in_turn: how its recordings are read.
        timings: what the time of each stage is added to.
        on_text: called with words and tokens as they become final.
        debug: whether unexpected exceptions are raised, not reported in a line.
    """

    workers = 1

    def __init__(
        self,
        request: Request,
        in_turn: InTurn,
        timings: Timings,
        *,
        on_text: Callable[[Sequence[str]], None] = lambda _: None,
        debug: bool = False,
    ) -> None:
        self.under_way: dict[int, Advance] = {}
        self._request, self._in_turn, self._timings = request, in_turn, timings
        self._on_text, self._debug = on_text, debug
        self._recognizer: Recognizer | None = None
        self._current: _Recording | None = None

    def open(self) -> About:
        """Load the model; return what it is."""
        # A stream's chunks are too small for more threads, which would wait for each other.
        torch.set_num_threads(1)
        self._recognizer = Recognizer.from_options(self._request.options)
        return About.of(self._recognizer)

    def run(self, tasks: Sequence[Task]) -> Iterator[list[Outcome] | None]:
        """Process the tasks in order; yield the outcome of each, None after each chunk."""
        assert self._recognizer is not None
        for task in tasks:
            self._current = recording = _Recording(self, self._recognizer, task)
            for texts, advance in recording:
                self.under_way = {task.id: advance}
                self._on_text(texts)
                yield None
            self.under_way = {}
            outcome = recording.outcome()
            self._current = None
            yield [outcome]

    def interrupted(self) -> Outcome | None:
        """Return the outcome so far of the recording in progress, if any."""
        return self._current.outcome() if self._current else None

    def close(self) -> None:
        """Do nothing: there are no workers to end."""


class _Recording:
    """A recording in progress; an error becomes its ``problem``."""

    def __init__(self, engine: TurnEngine, recognizer: Recognizer, task: Task) -> None:
        self._engine, self._recognizer, self._task = engine, recognizer, task
        self._stream = recognizer.stream(engine._timings, partials=False)
        self._problem: str | None = None
        self._notes: list[str] = []
        self._level: Level | None = None

    def __iter__(self) -> Iterator[tuple[list[str], Advance]]:
        """Feed it chunk by chunk: yield the text that is now final, and the progress."""
        try:
            with self._open() as audio:
                self._level = audio.level
                for chunk in rechunk(self._blocks(audio), self._chunk_samples):
                    before = len(self._stream.state.tokens)
                    words = self._stream.accept(chunk)
                    tokens = self._stream.state.tokens[before:]
                    plain = self._recognizer.formatter is None
                    texts = [word.text for word in words] if plain else [*map(str, tokens)]
                    seconds = self._stream.state.samples / self._recognizer.sample_rate
                    share = seconds / audio.duration if audio.duration else 0.0
                    yield texts, Advance(self._task, seconds, share)
        except Exception as error:
            self._note(error)

    def outcome(self) -> Outcome:
        """Finish it; of a recording that breaks off, the outcome has the words up to there."""
        transcript = Transcript()
        try:
            transcript = self._stream.finish()
        except Exception as error:
            self._note(error)
        return Outcome(
            self._task,
            None if self._problem and not transcript.duration else transcript,
            self._problem,
            notes=tuple(self._notes),
            level=self._level,
        )

    def _note(self, error: Exception) -> None:
        if isinstance(error, StreamasrError):
            self._problem = self._problem or str(error)
        elif self._engine._debug:
            raise error
        else:
            self._problem = self._problem or unexpected(self._task.path, error)

    @property
    def _chunk_samples(self) -> int:
        return self._recognizer.chunk_samples(self._engine._in_turn.chunk_ms)

    def _open(self) -> AudioFile:
        rate = self._engine._in_turn.raw_rate
        if rate is not None:
            return open_raw(self._task.path, sample_rate=rate, on_note=self._notes.append)
        track = self._engine._request.track
        return open_audio(self._task.path, track=track, on_note=self._notes.append)

    def _blocks(self, audio: AudioFile) -> Iterator[NDArray[np.float32]]:
        blocks = audio.blocks()
        while True:
            with self._engine._timings.stage("audio"):
                block = next(blocks, None)
            if block is None:
                return
            yield block
