"""The journal of a job: an SQLite file in the output folder that survives a kill at any time."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from ..errors import OutputError

__all__ = ["JOURNAL", "Entry", "Journal"]

JOURNAL = ".streamasr-journal.sqlite"
T = TypeVar("T")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS recordings (
    source TEXT NOT NULL, output TEXT NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    settings TEXT NOT NULL, seconds REAL NOT NULL, problem TEXT, done_at TEXT NOT NULL,
    times INTEGER NOT NULL, PRIMARY KEY (source, output)
) WITHOUT ROWID
"""
_RECORD = """
INSERT INTO recordings VALUES (?, ?, ?, ?, ?, ?, ?, datetime('now'), 1)
ON CONFLICT (source, output) DO UPDATE SET
    size = excluded.size, mtime_ns = excluded.mtime_ns, settings = excluded.settings,
    seconds = excluded.seconds, problem = excluded.problem, done_at = excluded.done_at,
    times = times + 1
"""
_FIND = """
SELECT source, output, size, mtime_ns, settings, seconds, problem FROM recordings
WHERE source = ? AND output = ?
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """A recording that was processed.

    ``size`` and ``mtime_ns`` are the file's, -1 where it could not be asked; ``settings`` stands
    for all else that decides the text; ``seconds`` are of audio; ``problem`` is None for success.
    """

    source: str
    output: str
    size: int
    mtime_ns: int
    settings: str
    seconds: float = 0.0
    problem: str | None = None

    def same_work(self, other: Entry) -> bool:
        """Whether processing one again would only repeat the other."""
        return (self.size, self.mtime_ns, self.settings) == (
            other.size,
            other.mtime_ns,
            other.settings,
        )


class Journal:
    """The journal of an output folder, held by one run at a time. A context manager.

    Raises OutputError where it cannot be kept, or another run holds it.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / JOURNAL
        self._database = self._try(
            lambda: sqlite3.connect(self._path, timeout=1.0, isolation_level=None)
        )
        try:
            # Held until the process ends, however it does.
            self._try(lambda: self._database.execute("PRAGMA locking_mode = EXCLUSIVE"))
            self._try(lambda: self._database.execute("PRAGMA journal_mode = WAL"))
            self._try(lambda: self._database.execute("PRAGMA synchronous = NORMAL"))
            self._try(lambda: self._database.execute(_SCHEMA))
        except OutputError:
            self._database.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the folder for other runs."""
        self._database.close()

    def find(self, source: str, output: str) -> Entry | None:
        """Return the entry of a recording and its output, if any."""
        keys = (_text(source), _text(output))
        row = self._try(lambda: self._database.execute(_FIND, keys).fetchone())
        return None if row is None else Entry(source, output, *row[2:])

    def record(self, entry: Entry) -> None:
        """Commit an entry; when this returns, killing the process does not lose it."""
        problem = None if entry.problem is None else _text(entry.problem)
        values = (
            _text(entry.source),
            _text(entry.output),
            entry.size,
            entry.mtime_ns,
            entry.settings,
            entry.seconds,
            problem,
        )
        self._try(lambda: self._database.execute(_RECORD, values))

    def _try(self, action: Callable[[], T]) -> T:
        try:
            return action()
        except sqlite3.OperationalError as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
                raise OutputError(
                    f"{self._path.parent}: another run is writing there; wait for it to end"
                ) from error
            raise OutputError(f"{self._path}: the journal cannot be written ({error})") from error
        except sqlite3.DatabaseError as error:
            raise OutputError(
                f"{self._path}: the journal is damaged ({error}); delete it to begin anew"
            ) from error


def _text(name: str) -> str:
    """Return a name without the lone surrogates of one that is not UTF-8, and unmistakably so."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")
