"""A resumable job: which recordings are to be transcribed, and which are done."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from .. import __version__
from ..errors import OutputError, unexpected
from ..events.writers import TEMPORARY, TranscriptWriter, write_transcript
from ..paths import STDIN
from ..transcript import Transcript
from .inputs import Input
from .journal import Entry, Journal

__all__ = ["Job", "Planned", "by_size", "settings_hash"]


@dataclass(frozen=True, slots=True)
class Planned:
    """A recording of a job, and its entry in the journal as it shall be."""

    input: Input
    output: Path
    entry: Entry


class Job:
    """Inputs, the folder that their transcripts go to, and its journal.

    ``todo`` is what is missing, changed or, with ``retry_failed``, failed before, and stdin, which
    has no identity; ``done`` counts what needs nothing, ``failed_before`` what failed and is left
    alone.

    Raises OutputError where nothing can be written.
    """

    def __init__(
        self,
        inputs: Sequence[Input],
        folder: Path,
        journal: Journal,
        writer: TranscriptWriter,
        settings: str,
        *,
        retry_failed: bool = False,
    ) -> None:
        self._folder = folder
        self._journal = journal
        self._writer = writer
        self.todo: list[Planned] = []
        self.failed_before: list[Entry] = []
        self.done = 0
        self._prepared: set[Path] = set()
        for item in dict.fromkeys(inputs):
            planned = self._plan(item, settings)
            if item.path == STDIN:
                self.todo.append(planned)
                continue
            known = journal.find(planned.entry.source, planned.entry.output)
            same = known is not None and known.same_work(planned.entry)
            if known and same and known.problem is not None and not retry_failed:
                self.failed_before.append(known)
            elif known and same and known.problem is None and planned.output.exists():
                self.done += 1
            else:
                self.todo.append(planned)

    def _plan(self, item: Input, settings: str) -> Planned:
        place = item.place.with_name(item.place.name + self._writer.extension)
        try:
            status = Path(item.path).stat()
            size, mtime = status.st_size, status.st_mtime_ns
        except (OSError, ValueError):  # opening it will report the reason
            size = mtime = -1
        source = os.fspath(Path(item.path).absolute())
        return Planned(
            item, self._folder / place, Entry(source, os.fspath(place), size, mtime, settings)
        )

    def finish(
        self,
        planned: Planned,
        transcript: Transcript | None,
        problem: str | None,
        about: Mapping[str, object],
    ) -> str | None:
        """Write a transcript, then record it as done; return the problem, if any.

        ``about`` is what the transcript says of how it was made.

        What may be mended without the recording being changed is not written down, so that the next
        run tries again: an output that cannot be written, and a recording that cannot be opened.
        """
        seconds = 0.0
        if transcript is not None:
            seconds = transcript.duration
            path = planned.input.path
            try:
                text = self._writer.render(transcript, source=path, about=about)
                self._prepare(planned.output.parent)
                write_transcript(planned.output, text)
            except OutputError as error:
                # That is not the recording's failure: the next run tries again.
                return str(error)
            except ValueError as error:
                problem = unexpected(path, error)
        lasting = problem is None or _can_be_read(planned.input.path)
        if lasting and planned.input.path != STDIN:
            self._journal.record(replace(planned.entry, seconds=seconds, problem=problem))
        return problem

    def _prepare(self, folder: Path) -> None:
        """Make a folder, and clear it of what a killed run left half-written."""
        if folder in self._prepared:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for left in folder.glob(TEMPORARY.format("*")):
                left.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"{folder}: cannot be made ({error.strerror})") from error
        self._prepared.add(folder)


def _can_be_read(path: str) -> bool:
    try:
        return os.access(path, os.R_OK)
    except ValueError:  # a NUL byte, for ever
        return True


def settings_hash(settings: Mapping[str, object]) -> str:
    """Return a hash of all that decides a transcript beside its recording.

    The program's version counts, and whether the beam search is installed.
    """
    beam = find_spec("numba") is not None
    everything = {**settings, "version": __version__, "beam": beam}
    return hashlib.sha256(json.dumps(everything, sort_keys=True).encode()).hexdigest()[:16]


def by_size(planned: Sequence[Planned]) -> Iterator[Planned]:
    """Yield the largest first: the last ones to end are then short."""
    return iter(sorted(planned, key=lambda item: -item.entry.size))
