"""How far a job is: a bar on a terminal, a line now and then elsewhere, a line at its end."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from . import console

if TYPE_CHECKING:
    from ..jobs.tasks import About, Advance, Outcome
    from ..timings import Timings

__all__ = ["JobProgress"]

_LOG_SECONDS = 30.0


class JobProgress:
    """The progress display of a job. A context manager.

    ``sizes`` are those of the recordings, by their task's id, in any unit: what counts is their
    share.
    """

    def __init__(self, sizes: Sequence[int], *, quiet: bool) -> None:
        self._sizes, self._quiet = sizes, quiet
        self._done = self._failed = self._size_done = 0
        self._audio = self._audio_ahead = self._size_ahead = 0.0
        self._name = self._made_by = ""
        self._created = time.perf_counter()
        self._began = self._logged = 0.0
        self._bar = Progress(
            # The name of a file is no markup: [red].wav is a possible one.
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.percentage:3.0f}%"),
            console=console.stderr,
            transient=True,
            # By default rich would send what is printed to stdout to its own console, stderr.
            redirect_stdout=False,
            redirect_stderr=False,
            disable=quiet or not console.stderr.is_terminal,
        )
        self._task = self._bar.add_task("starting", total=max(1, sum(sizes)))

    @property
    def hidden(self) -> bool:
        """Whether there is no bar, which would share the terminal with what is printed."""
        return self._bar.disable

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def started(self, about: About, workers: int) -> None:
        """Begin to count; say what is worse than it could be."""
        if about.degraded:
            from ..api import degraded_message

            console.warning(degraded_message(about.degraded))
        for hotword, reason in about.unusable_hotwords:
            console.note(f"hotword {hotword.text!r} cannot be used: {reason}")
        count = f"{workers} worker{'s' * (workers != 1)}"
        self._made_by = f"{count}, backend {about.backend}, decoder {about.decoder}"
        self._began = self._logged = time.perf_counter()
        self._bar.start()

    def ended(self, outcome: Outcome) -> None:
        """Count a recording as done."""
        self._done += 1
        self._size_done += self._sizes[outcome.task.id]
        self._audio += outcome.transcript.duration if outcome.transcript else 0.0

    def delivered(self, outcome: Outcome, problem: str | None) -> None:
        """Say what a listener should know of a recording."""
        self._failed += problem is not None
        if not self._quiet:
            level = None if outcome.problem else outcome.level
            console.notes_on(outcome.task.path, outcome.notes, level, outcome.transcript)

    def under_way(self, advances: Iterable[Advance]) -> None:
        """Show where the job stands, with recordings that are done in part."""
        self._audio_ahead = self._size_ahead = 0.0
        if self._done < len(self._sizes):
            self._name = ""
        for advance in advances:
            self._name = advance.task.path
            self._audio_ahead += advance.seconds
            self._size_ahead += advance.share * self._sizes[advance.task.id]
        if self._bar.disable:
            now = time.perf_counter()
            if not self._quiet and now - self._logged >= _LOG_SECONDS:
                self._logged = now
                console.note(self._line())
        else:
            done = self._size_done + self._size_ahead
            self._bar.update(self._task, completed=done, description=self._line())

    def summary(self) -> str:
        """Return what the job came to, in a line."""
        files = len(self._sizes)
        line = (
            f"{self._done - self._failed} of {files} file{'s' * (files != 1)}, "
            f"{self._audio:.1f} s of audio in {self._seconds:.1f} s (RTFx {self._rtfx:.1f})"
        )
        if self._began:
            line += f", start-up {self._began - self._created:.1f} s, {self._made_by}"
        return line + (f"; {self._failed} failed" if self._failed else "")

    def print_timings(self, timings: Timings) -> None:
        """Print the share of each stage in the time since the model was loaded."""
        seconds = self._seconds
        table = Table(title=f"{self._audio:.1f} s of audio")
        for column in ("stage", "seconds", "share", "RTF"):
            table.add_column(column, justify="left" if column == "stage" else "right")
        stages = dict(timings.seconds)
        stages["other"] = max(0.0, seconds - sum(stages.values()))
        for stage, spent in stages.items():
            share = spent / seconds if seconds else 0.0
            rtf = spent / self._audio if self._audio else 0.0
            table.add_row(stage, f"{spent:.3f}", f"{share:.0%}", f"{rtf:.4f}")
        console.stderr.print(table)

    @property
    def _seconds(self) -> float:
        return time.perf_counter() - self._began if self._began else 0.0

    @property
    def _rtfx(self) -> float:
        audio = self._audio + self._audio_ahead
        return audio / self._seconds if self._seconds else 0.0

    def _line(self) -> str:
        hours = (self._audio + self._audio_ahead) / 3600
        line = f"{self._done} of {len(self._sizes)} files, {hours:.2f} h, RTFx {self._rtfx:.0f}"
        if size_done := self._size_done + self._size_ahead:
            left = round(self._seconds * (sum(self._sizes) - size_done) / size_done)
            line += f", {left // 3600}:{left // 60 % 60:02}:{left % 60:02} left"
        line += f", {self._failed} failed" if self._failed else ""
        return line + (f", {self._name}" if self._name else "")
