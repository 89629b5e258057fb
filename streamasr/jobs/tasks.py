"""The messages between the command and its workers; light, so that a command starts quickly."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..hotwords import Hotword
from ..options import DecoderName, RecognizerOptions
from ..transcript import Transcript

if TYPE_CHECKING:
    from ..api import Recognizer
    from ..audio.level import Level

__all__ = ["ROWS", "About", "Advance", "Outcome", "Settings", "Task"]

ROWS = 16
"""Rows of a batch: more make a step no cheaper on a CPU."""


@dataclass(frozen=True)
class Settings:
    """What all workers of a job share.

    ``track`` is which of several audio tracks is read: a number or a language.
    ``long_seconds`` is the length from which a recording is done in sections; ``rows`` streams
    advance together. With ``helpers``, that many threads decode, and others read ahead:
    for a worker whose model runs on a GPU.
    """

    options: RecognizerOptions = field(default_factory=RecognizerOptions)
    track: str | None = None
    long_seconds: float = 600.0
    threads: int = 1
    rows: int = ROWS
    helpers: int = 0


@dataclass(frozen=True, slots=True)
class Task:
    """A recording to be done, or every ``count``-th section of a long one, from ``index`` on."""

    id: int
    path: str
    index: int = 0
    count: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a task.

    ``problem`` is one line for a person; with a ``transcript`` it is what broke the recording off.
    A recording that turned out long has neither: ``long`` asks for tasks for its sections.
    ``notes`` are lines for a person that are no problems, and ``level`` is how loud it is.
    """

    task: Task
    transcript: Transcript | None = None
    problem: str | None = None
    long: bool = False
    notes: tuple[str, ...] = ()
    level: Level | None = None


@dataclass(frozen=True, slots=True)
class Advance:
    """How much of a recording in sections has been done since the last one of these.

    ``share`` is that of the whole recording, 0 where its length is unknown.
    """

    task: Task
    seconds: float
    share: float


@dataclass(frozen=True, slots=True)
class About:
    """The model of a worker; ``backend`` and ``decoder`` are for people to read.

    ``degraded`` says why the model's language model cannot be used, if that is so.
    """

    fingerprint: str
    decoder_name: DecoderName
    backend: str
    decoder: str
    unusable_hotwords: tuple[tuple[Hotword, str], ...]
    degraded: str | None = None

    @classmethod
    def of(cls, recognizer: Recognizer) -> About:
        """Return what a loaded recognizer is."""
        return cls(
            recognizer.fingerprint,
            recognizer.decoder,
            f"{recognizer.backend} ({recognizer.backend_reason})",
            f"{recognizer.decoder} ({recognizer.decoder_reason})",
            tuple(recognizer.unusable_hotwords),
            recognizer.decoder_reason if recognizer.degraded else None,
        )
