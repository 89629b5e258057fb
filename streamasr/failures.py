"""Recordings that fail while the others of a job go on. Quick to import."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from .errors import AudioWarning, MissingError, StreamasrError, unexpected
from .paths import unusable

__all__ = ["Failure", "attempt", "check_recordings", "warn_of_failure"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Failure:
    """A recording that a job had to leave out, and why: one line that begins with its name."""

    path: Path
    problem: str


def attempt(path: Path, work: Callable[[], T]) -> T | Failure:
    """Return what ``work`` makes of a recording, or what went wrong with it: the others go on."""
    try:
        return work()
    except StreamasrError as error:
        return Failure(path, str(error))
    except Exception as error:
        return Failure(path, unexpected(str(path), error))


def check_recordings(paths: Iterable[Path]) -> None:
    """Raise MissingError that names every recording of a list that cannot be opened.

    A figure over the others would not be the one that was asked for.
    """
    problems = (unusable(str(path)) for path in dict.fromkeys(paths))
    if missing := [problem for problem in problems if problem]:
        raise MissingError(missing)


def warn_of_failure(failure: Failure) -> None:
    """Issue an AudioWarning."""
    warnings.warn(f"{failure.problem}; left out", AudioWarning, stacklevel=2)
