"""Names of recordings, before anything is decoded. Quick to import."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from .errors import AudioError

__all__ = ["STDIN", "check_file", "is_address", "one_line", "unusable"]

STDIN = "-"
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


def one_line(name: str) -> str:
    """Return a file's name fit for an error line: a name may hold a line feed or escape codes."""
    return "".join(c if c.isprintable() else "?" for c in name)


def is_address(name: str) -> bool:
    """Whether ``name`` looks like a URL."""
    return _ADDRESS.match(name) is not None


def unusable(name: str) -> str | None:
    """Return why a name cannot be opened, as open_audio would say it; None if nothing is known."""
    if not name:
        return "an empty file name: is a variable of the shell unset?"
    if name != STDIN:
        try:
            check_file(name)
        except AudioError as error:
            return str(error)
    return None


def check_file(source: str | os.PathLike[str]) -> tuple[str, Path]:
    """Return the name and the path of a regular, readable, non-empty file; raises AudioError."""
    name = os.fspath(source)
    path = Path(name)
    problem = ""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            problem = "is a folder, not a recording"
        elif not stat.S_ISREG(status.st_mode):
            # Opening a FIFO that nobody writes to would wait for ever.
            problem = 'is a pipe or a device, not a file; feed it to standard input and give "-"'
        elif status.st_size == 0:
            problem = "is empty (0 bytes)"
        else:
            path.open("rb").close()
    except FileNotFoundError:
        problem = "no such file"
        if is_address(name):
            problem = "is an address, not a file: download it first, and give the file"
    except OSError as error:
        problem = f"cannot be opened: {(error.strerror or str(error)).lower()}"
    except ValueError:  # a NUL byte
        problem = "is not a possible file name"
    if problem:
        raise AudioError(f"{one_line(name)}: {problem}")
    return name, path
