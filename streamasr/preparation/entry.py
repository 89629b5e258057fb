"""What the readers of all kinds of data sets have in common."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from ..errors import ConfigError
from ..failures import Failure

__all__ = ["Entry", "Reader", "json_lines", "seconds_of", "text_lines", "where_it_is"]


@dataclass(frozen=True, slots=True)
class Entry:
    """An utterance as a data set has it: ``start`` to ``end`` of ``path``, in seconds.

    ``name`` is the data set's own, unless it has none; ``text`` is as it was written.
    """

    path: Path
    text: str
    speaker: str = ""
    start: float = 0.0
    end: float = math.inf
    name: str = ""


Reader: TypeAlias = Callable[[Path, Callable[[Failure], None]], Iterator[Entry]]
"""Yields a data set's utterances; lines that are wrong are passed on as failures.

Raises ConfigError where the data set cannot be read at all.
"""


def text_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a UTF-8 file, gzipped or not; raises ConfigError if it cannot be read."""
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8-sig", newline="\n") as file:
            for line in file:
                yield line.rstrip("\r\n")
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file") from error
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as UTF-8 text ({error})") from error


def json_lines(
    path: Path, on_failure: Callable[[Failure], None]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each line's place, for messages, and the JSON object in it."""
    for number, line in enumerate(text_lines(path), start=1):
        if not line.strip():
            continue
        place = f"{path}:{number}"
        try:
            found = json.loads(line)
        except ValueError as error:
            on_failure(Failure(path, f"{place}: not JSON ({error})"))
            continue
        if isinstance(found, dict):
            yield place, found
        else:
            on_failure(Failure(path, f"{place}: not a JSON object"))


def seconds_of(value: object, name: str) -> float:
    """Return a number of seconds that a data set states; raises ValueError that names it."""
    try:
        seconds = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 0):
        raise ValueError(f"{name} is {value!r}, not a number of seconds")
    return seconds


def where_it_is(name: str, folder: Path) -> Path:
    """Return the recording that a data set's file in ``folder`` names.

    Relative names are relative to that folder or, as Kaldi and Lhotse have it, to where the command
    is run.
    """
    path = folder / name
    return Path(name) if not path.exists() and Path(name).exists() else path
