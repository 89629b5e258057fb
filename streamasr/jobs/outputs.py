"""Deliver the transcripts of a job: to a folder with a journal, or to stdout in order."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol, Self

from ..errors import OutputError
from ..events.writers import WRITERS
from ..transcript import Transcript
from .inputs import Input
from .job import Job, by_size, settings_hash
from .journal import Journal
from .request import Request
from .tasks import Outcome, Task

__all__ = ["Delivered", "FolderOutput", "Output", "StdoutOutput"]

Delivered = tuple[Outcome, str | None]
"""The outcome of a task, and its problem, if any."""


class Output(Protocol):
    """Receives a job's outcomes. A context manager.

    ``sizes`` are those of ``tasks``, in any unit; ``failed_before`` are problems that earlier runs
    had, and ``before`` ends a summary with what they did.
    """

    tasks: Sequence[Task]
    sizes: Sequence[int]
    failed_before: Sequence[str]
    before: str

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def deliver(self, outcome: Outcome, about: Mapping[str, object]) -> Iterator[Delivered]:
        """Take an outcome; yield the outcomes that could be delivered now."""

    def interrupted(self, outcome: Outcome, about: Mapping[str, object]) -> None:
        """Take the outcome of a recording that Ctrl-C broke off."""


class FolderOutput:
    """A file per recording, mirroring the inputs; a journal records what is done.

    Raises OutputError for a folder that cannot be made or that another run writes to.
    """

    def __init__(self, request: Request, inputs: Sequence[Input], folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{folder}: cannot be made ({error.strerror})") from error
        self._journal = Journal(folder)
        try:
            self._job = Job(
                inputs,
                folder,
                self._journal,
                WRITERS[request.format],
                settings_hash(request.settings()),
                retry_failed=request.retry_failed,
            )
        except BaseException:
            self._journal.close()
            raise
        self._planned = list(by_size(self._job.todo))
        self.tasks: Sequence[Task] = [
            Task(i, item.input.path) for i, item in enumerate(self._planned)
        ]
        self.sizes: Sequence[int] = [max(0, item.entry.size) for item in self._planned]
        failed = self._job.failed_before
        self.failed_before: Sequence[str] = [entry.problem for entry in failed if entry.problem]
        self.before = f", {self._job.done} done before" if self._job.done else ""
        if failed:
            again = "--retry-failed tries them again"
            self.before += f", {len(failed)} failed before: {again}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._journal.close()

    def deliver(self, outcome: Outcome, about: Mapping[str, object]) -> Iterator[Delivered]:
        """Write a transcript, then record it as done."""
        item = self._planned[outcome.task.id]
        yield outcome, self._job.finish(item, outcome.transcript, outcome.problem, about)

    def interrupted(self, outcome: Outcome, about: Mapping[str, object]) -> None:
        """Drop it: a file would look complete."""


class StdoutOutput:
    """Transcripts on stdout, in the order of the inputs.

    Args:
        request: the job.
        inputs: its recordings.
        live: whether the text of each comes by ``write_text`` first, one line in all.
        announce: called with the name before a transcript that is written at once.
    """

    failed_before: Sequence[str] = ()
    before = ""

    def __init__(
        self,
        request: Request,
        inputs: Sequence[Input],
        *,
        live: bool = False,
        announce: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._writer = WRITERS[request.format]
        self._announce = announce
        self._ended: dict[int, Outcome] = {}
        self._following = 0
        self._printed = 0
        self._live = live
        self.tasks: Sequence[Task] = [Task(i, item.path) for i, item in enumerate(inputs)]
        self.sizes: Sequence[int] = [1] * len(inputs)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def write_text(self, texts: Sequence[str]) -> None:
        """Write words or tokens of the recording in progress, if it is ``live``."""
        if not self._live:
            return
        for text in texts:
            sys.stdout.write(text if self._printed == 0 else f" {text}")
            self._printed += 1
        if texts:
            sys.stdout.flush()

    def deliver(self, outcome: Outcome, about: Mapping[str, object]) -> Iterator[Delivered]:
        """Write all transcripts that are next in order."""
        self._ended[outcome.task.id] = outcome
        while (done := self._ended.pop(self._following, None)) is not None:
            self._following += 1
            if done.transcript is not None:
                self._write(done.task.path, done.transcript, about)
            elif self._printed:
                self._end_line()
            yield done, done.problem

    def interrupted(self, outcome: Outcome, about: Mapping[str, object]) -> None:
        """Write the words so far."""
        if outcome.transcript is not None and outcome.transcript.duration:
            self._write(outcome.task.path, outcome.transcript, about)

    def _write(self, name: str, transcript: Transcript, about: Mapping[str, object]) -> None:
        if self._live:
            self.write_text(transcript.written[self._printed :])
            self._end_line()
            return
        self._announce(name)
        sys.stdout.write(self._writer.render(transcript, source=name, about=about))
        sys.stdout.flush()

    def _end_line(self) -> None:
        self._printed = 0
        sys.stdout.write("\n")
        sys.stdout.flush()
