"""A worker: transcribe recordings, many at a time in one batch.

A worker is a process, a Ray actor, or the command itself; the engines differ in nothing else.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..acoustic import ContinuousBatch
from ..api import Recognizer
from ..audio import open_audio
from ..audio.level import Level
from ..errors import AudioError, unexpected
from ..samples import rechunk
from ..transcript import Transcript, Word
from .helpers import Helpers, ahead
from .sections import Section, cut_at_pauses, own_words
from .tasks import About, Advance, Outcome, Settings, Task

__all__ = ["Worker"]

STEPS = 64
"""Timesteps of a chunk."""

_BEHIND = 16
"""Rows that wait for each helper, at most."""


class _TooLong(Exception):
    """A recording is to be done in sections."""


@dataclass
class _Open:
    """A recording in progress: the samples read so far, and the words of the sections done.

    ``duration`` is stated by the file; ``news`` are the seconds of sections done since ``advances``
    was last called. ``lost`` says that decoding a row failed.
    """

    task: Task
    rows: Iterator[tuple[Section | None, Iterator[Tensor]]]
    samples: int = 0
    problem: str | None = None
    too_long: bool = False
    exhausted: bool = False
    active: int = 0
    lost: bool = False
    words: list[Word] = field(default_factory=list)
    whole: Transcript | None = None
    duration: float | None = None
    news: float = 0.0
    notes: list[str] = field(default_factory=list)
    level: Level | None = None

    def store(self, section: Section | None, decode: Callable[[], Transcript]) -> None:
        """Store the transcript of a row: the whole recording's, or a section's."""
        self.active -= 1
        try:
            transcript = decode()
        except Exception as error:
            self.fail(error)
            return
        if section is None:
            self.whole = transcript
        else:
            self.words += own_words(section, transcript.words)
            self.news += section.own_seconds(transcript.duration)

    def fail(self, error: Exception) -> None:
        """Fail the recording: words may be missing in the middle."""
        self.problem = self.problem or unexpected(self.task.path, error)
        self.lost = True


class Worker:
    """A model and the recordings in its batch.

    ``add`` tasks, then call ``step`` until their outcomes have come.
    """

    def __init__(self, settings: Settings, recognizer: Recognizer | None = None) -> None:
        torch.set_num_threads(settings.threads)
        self._settings = settings
        self._recognizer = recognizer or Recognizer.from_options(settings.options)
        self._rate = self._recognizer.sample_rate
        self._chunk = STEPS * self._recognizer.config.frontend.step_samples
        self._closing = self._recognizer.acoustic.closing_silence().cpu().numpy()
        self._batch: ContinuousBatch[tuple[_Open, Section | None]] = ContinuousBatch(
            self._recognizer.acoustic
        )
        self._helpers = (
            Helpers(self._recognizer.words, settings.helpers) if settings.helpers else None
        )
        self._searched: dict[Future[Transcript], tuple[_Open, Section | None]] = {}
        self._waiting: deque[Task] = deque()
        self._open: list[_Open] = []

    @property
    def about(self) -> About:
        """The model, backend and decoder of this worker."""
        return About.of(self._recognizer)

    @property
    def busy(self) -> bool:
        """Whether anything is left to do."""
        return bool(self._waiting or self._open)

    def close(self) -> None:
        """End the helpers, if there are any."""
        if self._helpers:
            self._helpers.close()

    def add(self, tasks: list[Task]) -> None:
        """Queue tasks."""
        self._waiting.extend(tasks)

    def step(self) -> list[Outcome]:
        """Advance each recording in the batch by a chunk; return the outcomes that are there."""
        self._fill()
        for row in self._batch.step():
            opened, section = row.key
            samples = opened.samples if section is None else len(section.samples)
            if opened.too_long:
                opened.active -= 1
            elif self._helpers:
                future = self._helpers.decode(row.output, samples / self._rate)
                self._searched[future] = row.key
            else:
                duration = samples / self._rate
                words = self._recognizer.words
                opened.store(section, partial(words.transcript, row.output, duration))
        if self._searched:
            # Collect what is done without waiting, while there are rows to advance.
            done, _ = wait(self._searched, 0 if len(self._batch) else 1, FIRST_COMPLETED)
            for future in done:
                opened, section = self._searched.pop(future)
                opened.store(section, future.result)
        ended = [opened for opened in self._open if opened.exhausted and not opened.active]
        self._open = [opened for opened in self._open if opened not in ended]
        return [self._outcome(opened) for opened in ended]

    def advances(self) -> list[Advance]:
        """Return the progress of recordings in sections since the last call."""
        found = []
        for opened in self._open:
            if opened.news:
                share = opened.news / opened.duration if opened.duration else 0.0
                found.append(Advance(opened.task, opened.news, share))
                opened.news = 0.0
        return found

    @property
    def _room(self) -> bool:
        """Whether a row may join: a batch may be full, and helpers may be far behind."""
        behind = len(self._searched) > _BEHIND * self._settings.helpers
        return len(self._batch) < self._settings.rows and not behind

    def _fill(self) -> None:
        """Join rows while there is room: first those of recordings that are open."""
        for opened in self._open:
            self._join(opened)
        while self._waiting and self._room:
            task = self._waiting.popleft()
            opened = _Open(task, iter(()))
            opened.rows = self._sections(opened) if task.count else self._row(opened)
            self._open.append(opened)
            self._join(opened)

    def _join(self, opened: _Open) -> None:
        while not opened.exhausted and self._room:
            try:
                row = next(opened.rows, None)
            except Exception as error:
                opened.fail(error)
                row = None
            if row is None:
                opened.exhausted = True
            else:
                section, chunks = row
                opened.active += 1
                self._batch.join((opened, section), chunks)

    def _outcome(self, opened: _Open) -> Outcome:
        if opened.too_long:
            return Outcome(opened.task, long=True)
        transcript = opened.whole
        if opened.task.count and opened.samples:
            words = sorted(opened.words, key=lambda word: word.start)
            transcript = Transcript(tuple(words), opened.samples / self._rate)
        if not opened.samples or opened.lost:
            transcript = None
        if transcript is not None:
            transcript = self._recognizer.formatted(transcript)
        notes = tuple(opened.notes)
        return Outcome(opened.task, transcript, opened.problem, notes=notes, level=opened.level)

    def _row(self, opened: _Open) -> Iterator[tuple[None, Iterator[Tensor]]]:
        """Yield the one row of a recording that is not cut."""
        yield None, self._chunks(self._until_too_long(opened))

    def _until_too_long(self, opened: _Open) -> Iterator[NDArray[np.float32]]:
        limit = self._settings.long_seconds

        def too_long(seconds: float | None) -> None:
            if seconds is not None and seconds > limit:
                raise _TooLong

        try:
            yield from self._blocks(opened, lambda: too_long(opened.samples / self._rate), too_long)
        except _TooLong:
            opened.too_long = True

    def _sections(self, opened: _Open) -> Iterator[tuple[Section, Iterator[Tensor]]]:
        sections = cut_at_pauses(self._blocks(opened), self._rate)
        task = opened.task
        for section in itertools.islice(sections, task.index, None, task.count):
            yield section, self._chunks(iter([section.samples]))

    def _blocks(
        self,
        opened: _Open,
        each: Callable[[], None] = lambda: None,
        stated: Callable[[float | None], None] = lambda _: None,
    ) -> Iterator[NDArray[np.float32]]:
        """Yield a recording's samples; what breaks it off is noted."""
        try:
            path, track = opened.task.path, self._settings.track
            with open_audio(path, track=track, on_note=opened.notes.append) as audio:
                opened.duration, opened.level = audio.duration, audio.level
                stated(audio.duration)
                for block in audio.blocks():
                    opened.samples += len(block)
                    each()
                    yield block
        except AudioError as error:
            opened.problem = str(error)
        except _TooLong:
            raise
        except Exception as error:
            opened.problem = unexpected(opened.task.path, error)

    def _chunks(self, blocks: Iterator[NDArray[np.float32]]) -> Iterator[Tensor]:
        """Yield samples chunk by chunk, the closing silence behind them if there are any."""

        def closed() -> Iterator[NDArray[np.float32]]:
            something = False
            for block in blocks:
                something = True
                yield block
            if something:
                yield self._closing

        chunks = rechunk(closed(), self._chunk)
        if self._helpers:
            chunks = ahead(chunks, self._helpers.readers)
        return map(torch.from_numpy, chunks)
