"""What goes to stderr: errors, notes, and progress. Stdout is the transcript's alone."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from ..audio.level import Level
    from ..transcript import Transcript

__all__ = [
    "debug",
    "error",
    "note",
    "notes_on",
    "progress_bar",
    "stderr",
    "stdout",
    "warning",
]

debug = False
stderr = Console(stderr=True, highlight=False)


def error(message: str) -> None:
    """Print one line that begins with ``streamasr: error:``."""
    print(f"streamasr: error: {message}", file=sys.stderr, flush=True)


def warning(message: str) -> None:
    """Print one line that begins with ``streamasr: warning:``: what ``--quiet`` does not hide."""
    print(f"streamasr: warning: {message}", file=sys.stderr, flush=True)


def note(message: str) -> None:
    """Print a line that is neither transcript nor error; on a terminal, between words."""
    if stderr.is_terminal:
        message = textwrap.fill(
            message, stderr.width, break_long_words=False, break_on_hyphens=False
        )
    print(message, file=sys.stderr, flush=True)


def notes_on(
    name: str, notes: Sequence[str], level: Level | None, transcript: Transcript | None
) -> None:
    """Print what there is to know of a recording; no ``level`` if that is not to be looked at."""
    for line in notes:
        note(line)
    if level is not None and transcript is not None:
        about = level.note_on(len(transcript.words), transcript.duration)
        if about:
            note(f"{name}: {about}")


def progress_bar(*, quiet: bool = False) -> Progress:
    """Return a bar with RTF for tasks that count seconds of audio; hidden where no one looks."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f}%"),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=stderr,
        transient=True,
        # By default rich would send what is printed to stdout to its own console, stderr.
        redirect_stdout=False,
        redirect_stderr=False,
        disable=quiet or not stderr.is_terminal,
    )


def stdout() -> Console:
    """Return a console for tables that were asked for."""
    return Console(highlight=False)
