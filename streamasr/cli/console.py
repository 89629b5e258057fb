"""What goes to stderr: errors, notes, and progress. Stdout is the transcript's alone."""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TextIO, cast

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ..errors import AudioWarning, DegradedWarning, OutputError

if TYPE_CHECKING:
    from ..audio.level import Level
    from ..transcript import Transcript

__all__ = [
    "StdoutError",
    "debug",
    "error",
    "note",
    "note_unless",
    "notes_on",
    "progress_bar",
    "standard_streams",
    "stderr",
    "stdout",
    "warning",
    "warnings_as_notes",
]

debug = False
stderr = Console(stderr=True, highlight=False)

_ESCAPE = "streamasr-json-escape"


class StdoutError(OutputError):
    """Stdout is closed, or its disk is full: the job ends, for nobody would get the rest."""


def error(message: str) -> None:
    """Print one line that begins with ``streamasr: error:``, whatever a name in it holds."""
    _to_stderr(f"streamasr: error: {_one_line(message)}")


def warning(message: str) -> None:
    """Print one line that begins with ``streamasr: warning:``: what ``--quiet`` does not hide."""
    _to_stderr(f"streamasr: warning: {_one_line(message)}")


def note(message: str) -> None:
    """Print a line that is neither transcript nor error; on a terminal, between words."""
    if stderr.is_terminal:
        message = textwrap.fill(
            message, stderr.width, break_long_words=False, break_on_hyphens=False
        )
    _to_stderr(message)


def note_unless(quiet: bool) -> Callable[[str], None]:
    """Return what prints notes, or swallows them where the user asked for quiet."""
    return (lambda _: None) if quiet else note


@contextmanager
def warnings_as_notes() -> Iterator[None]:
    """Print what Python code gets as an AudioWarning as a note, each text once.

    A DegradedWarning is not printed: commands have a line of their own for that.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegradedWarning)
        warnings.simplefilter("always", AudioWarning)
        others, told = warnings.showwarning, set[str]()

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if not issubclass(category, AudioWarning):
                others(message, category, filename, lineno, file, line)
            elif (text := str(message)) not in told:
                told.add(text)
                note(text)

        warnings.showwarning = show
        yield


def _one_line(message: str) -> str:
    # Surrogates, of names that are not UTF-8, are escaped where they are printed.
    return "".join(c if c.isprintable() or "\ud800" <= c <= "\udfff" else "?" for c in message)


def _to_stderr(line: str) -> None:
    try:
        print(line, file=sys.stderr, flush=True)
    except OSError:  # a full disk behind stderr must not cost the transcripts
        _discard(sys.stderr)


def notes_on(
    name: str, notes: Sequence[str], level: Level | None, transcript: Transcript | None
) -> None:
    """Print what there is to know of a recording; no ``level`` if that is not to be looked at."""
    for line in notes:
        note(line)
    if level is not None and transcript is not None:
        about = level.note_on(len(transcript.words), transcript.duration)
        if about:
            note(f"{_one_line(name)}: {about}")


def progress_bar(*, quiet: bool = False) -> Progress:
    """Return a bar with RTF for tasks that count seconds of audio; hidden where no one looks."""
    return Progress(
        # The name of a file is no markup: [red].wav is a possible one.
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:3.0f}%"),
        TextColumn("{task.fields[rate]}", markup=False),
        TimeRemainingColumn(),
        console=stderr,
        transient=True,
        # By default rich would send what is printed to stdout to its own console, stderr.
        redirect_stdout=False,
        redirect_stderr=False,
        disable=quiet or not stderr.is_terminal,
    )


def stdout() -> Console:
    """Return a console for tables that were asked for; names in them are no markup."""
    return Console(highlight=False, markup=False)


@contextmanager
def standard_streams() -> Iterator[None]:
    """Make stdout and stderr safe to print to, whatever the shell has made of them.

    Stdout escapes what its encoding lacks as JSON does, and fails with StdoutError; a reader that
    has left ends the command with 1, in silence. A closed stderr swallows what is printed: Python
    would print it to stdout.
    """
    before = sys.stdout, sys.stderr
    _occupy_standard_descriptors()
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123
    out = sys.stdout
    if isinstance(out, io.TextIOWrapper):
        codecs.register_error(_ESCAPE, _escape_as_json)
        out.reconfigure(errors=_ESCAPE)
    ours = _Stdout(out)
    sys.stdout = cast(TextIO, ours)
    try:
        try:
            yield
        finally:
            ours.flush()
    except StdoutError:
        _discard(out)
        raise
    except BrokenPipeError:
        _discard(out)
        raise SystemExit(1) from None
    finally:
        sys.stdout, sys.stderr = before


class _Stdout:
    """Stdout whose errors say what they are of; ``stream`` is None for one that is closed."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream or io.StringIO(), name)

    def write(self, text: str) -> int:
        """Write ``text``; raises StdoutError."""
        if self._stream is None:
            raise StdoutError("stdout is closed: open it, or write files with --output-dir")
        with self._failures():
            return self._stream.write(text)

    def flush(self) -> None:
        """Write what waits; raises StdoutError."""
        if self._stream is not None:
            with self._failures():
                self._stream.flush()

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except OSError as problem:
            if problem.errno == errno.EPIPE:
                raise
            reason = (problem.strerror or str(problem)).lower()
            raise StdoutError(f"stdout cannot be written: {reason}") from problem


def _escape_as_json(problem: UnicodeError) -> tuple[str, int]:
    """Replace what an encoding lacks by ``\\uXXXX``, in two where JSON does."""
    assert isinstance(problem, UnicodeEncodeError)
    text = problem.object[problem.start : problem.end].encode("utf-16-be", "surrogatepass")
    units = (text[i : i + 2].hex() for i in range(0, len(text), 2))
    return "".join(f"\\u{unit}" for unit in units), problem.end


def _occupy_standard_descriptors() -> None:
    """Keep files that are opened later from becoming a closed stdin, stdout or stderr."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _discard(stream: TextIO | None) -> None:
    """Drop what waits to be written: Python would try once more as it ends, and complain."""
    if stream is None:
        return
    with suppress(OSError, ValueError), open(os.devnull, "wb") as nowhere:  # noqa: PTH123
        os.dup2(nowhere.fileno(), stream.fileno())
