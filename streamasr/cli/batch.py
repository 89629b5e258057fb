"""Many recordings at once: the part of ``streamasr transcribe`` that fills a machine."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import typer
from rich.progress import BarColumn, Progress, TextColumn

from ..cores import cores
from ..errors import OutputError
from ..events.writers import WRITERS
from ..jobs.inputs import Input, expand
from ..jobs.job import Job, by_size, settings_hash
from ..jobs.journal import Journal
from . import console
from .loading import asked_for, made_by

if TYPE_CHECKING:
    from ..jobs.pool import Pool
    from ..jobs.tasks import Advance, Outcome, Settings, Task
    from ..options import RecognizerOptions
    from ..transcript import Transcript

__all__ = ["Request", "run_batch"]

_SMALL_BYTES = 2_000_000
_SMALL_FILES = 8
"""Less than this is done sooner than worker processes have started."""
_GPU_ROWS = 64
_LOG_SECONDS = 30.0


@dataclass(frozen=True)
class Request:
    """What the command line asks for; ``output_dir`` None is stdout, in the order of the inputs."""

    names: Sequence[str]
    output_dir: Path | None
    format: str
    options: RecognizerOptions
    track: str | None
    engine: str
    workers: int | None
    retry_failed: bool
    quiet: bool


def run_batch(request: Request) -> None:
    """Do what is asked; exits with 1 if a recording failed, 130 after Ctrl-C."""
    refused: list[str] = []
    inputs = expand(request.names, refused.append, console.note_unless(request.quiet))
    # Said before the model loads: it may be a slip of the pen.
    for problem in refused:
        console.error(problem)
    if not inputs:
        raise typer.Exit(1)
    problems: list[str] = []
    try:
        if request.output_dir is None:
            _to_stdout(request, inputs, problems)
        else:
            _to_folder(request, inputs, request.output_dir, problems)
    except KeyboardInterrupt:
        if request.output_dir is not None and not request.quiet:
            console.note("interrupted; what is done is kept: run the same command to go on")
        raise typer.Exit(130) from None
    for problem in problems:
        console.error(problem)
    if problems or refused:
        raise typer.Exit(1)


def _to_folder(
    request: Request, inputs: Sequence[Input], folder: Path, problems: list[str]
) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made ({error.strerror})") from error
    asked = asked_for(request.options, track=request.track)
    # The backend changes no text, and what runs the job does not either.
    key = settings_hash({**asked, "hotwords": [str(word) for word in request.options.hotwords]})
    with Journal(folder) as journal:
        job = Job(
            *(inputs, folder, journal, WRITERS[request.format], key),
            retry_failed=request.retry_failed,
        )
        planned = dict(enumerate(by_size(job.todo)))
        with _Progress(request, [max(0, item.entry.size) for item in planned.values()]) as bar:
            tasks = [_task(number, item.input) for number, item in planned.items()]
            for outcome, about in _outcomes(request, tasks, bar):
                item = planned[outcome.task.id]
                problem = job.finish(item, outcome.transcript, outcome.problem, about)
                if problem:
                    problems.append(problem)
                bar.count(outcome.transcript, item.entry.size, failed=bool(problem))
                _tell(request, outcome)
        problems += [entry.problem for entry in job.failed_before if entry.problem]
    if not request.quiet:
        before = f", {job.done} done before" if job.done else ""
        if job.failed_before:
            before += f", {len(job.failed_before)} failed before: --retry-failed tries them again"
        console.note(bar.summary() + before)


def _to_stdout(request: Request, inputs: Sequence[Input], problems: list[str]) -> None:
    writer = WRITERS[request.format]
    ended: dict[int, Outcome] = {}
    following = 0
    with _Progress(request, [1] * len(inputs)) as bar:
        tasks = [_task(number, item) for number, item in enumerate(inputs)]
        for outcome, about in _outcomes(request, tasks, bar):
            ended[outcome.task.id] = outcome
            bar.count(outcome.transcript, 1, failed=outcome.problem is not None)
            while following in ended:
                done = ended.pop(following)
                following += 1
                if done.problem:
                    problems.append(done.problem)
                _tell(request, done)
                if done.transcript is not None:
                    source = done.task.path
                    sys.stdout.write(writer.render(done.transcript, source=source, about=about))
                    sys.stdout.flush()
    if not request.quiet:
        console.note(bar.summary())


def _tell(request: Request, outcome: Outcome) -> None:
    """Print what a listener should know of a recording."""
    if not request.quiet:
        level = None if outcome.problem else outcome.level
        console.notes_on(outcome.task.path, outcome.notes, level, outcome.transcript)


def _task(number: int, item: Input) -> Task:
    from ..jobs.tasks import Task

    return Task(number, item.path)


def _outcomes(
    request: Request, tasks: Sequence[Task], bar: _Progress
) -> Iterator[tuple[Outcome, Mapping[str, object]]]:
    """Do the tasks; yield what became of each, and what its transcript says of how it was made."""
    if not tasks:
        return
    pool = _pool(request, tasks)
    try:
        about = pool.open()
        if about.degraded:
            from ..api import degraded_message

            console.warning(degraded_message(about.degraded))
        for hotword, reason in about.unusable_hotwords:
            console.note(f"hotword {hotword.text!r} cannot be used: {reason}")
        bar.start(f"{pool.workers} worker{'s' * (pool.workers != 1)}, decoder {about.decoder}")
        made = made_by(request.options, about.decoder_name, about.fingerprint, track=request.track)
        for outcomes in pool.run(tasks):
            yield from ((outcome, made) for outcome in outcomes or ())
            bar.refresh(pool.under_way.values())
    finally:
        pool.close()


def _pool(request: Request, tasks: Sequence[Task]) -> Pool[Any]:
    from ..jobs.local import LocalPool, OwnPool
    from ..jobs.tasks import Settings

    settings = Settings(request.options, request.track)
    if request.engine == "ray":
        return _ray_pool(settings, request.workers)
    if request.workers is None and _has_gpu():
        # One thread feeds the GPU; the others search for words.
        return OwnPool(replace(settings, rows=_GPU_ROWS, helpers=max(1, cores() - 1)))
    if request.workers is None and _is_small(tasks):
        return OwnPool(settings)
    return LocalPool(settings, request.workers or cores())


def _ray_pool(settings: Settings, workers: int | None) -> Pool[Any]:
    from ..jobs.on_ray import RayPool

    return RayPool(settings, workers)


def _has_gpu() -> bool:
    # Asked first of the driver: importing torch takes seconds.
    if not Path("/proc/driver/nvidia/version").exists():
        return False
    import torch

    return torch.cuda.is_available()


def _is_small(tasks: Sequence[Task]) -> bool:
    if len(tasks) > _SMALL_FILES:
        return False
    total = 0
    for task in tasks:
        try:
            total += Path(task.path).stat().st_size
        except (OSError, ValueError):
            continue
    return total < _SMALL_BYTES


@dataclass
class _Progress:
    """How far a job is: a bar on a terminal, a line now and then elsewhere.

    ``sizes`` of the recordings, by their task's id, in any unit: what counts is their share.
    """

    request: Request
    sizes: Sequence[int]
    done: int = 0
    size_done: int = 0
    failed: int = 0
    audio: float = 0.0
    made_by: str = ""
    _created: float = field(default_factory=time.perf_counter)
    _began: float = 0.0
    _logged: float = 0.0
    _audio_ahead: float = 0.0
    _size_ahead: float = 0.0

    def __enter__(self) -> Self:
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.percentage:3.0f}%"),
            console=console.stderr,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            disable=self.request.quiet or not console.stderr.is_terminal,
        )
        self._task = self._bar.add_task("starting", total=max(1, sum(self.sizes)))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def start(self, made_by: str) -> None:
        """Begin to count: the workers are there."""
        self.made_by = made_by
        self._began = self._logged = time.perf_counter()
        self._bar.start()

    def count(self, transcript: Transcript | None, size: int, *, failed: bool) -> None:
        """Take one more recording for done."""
        self.done += 1
        self.size_done += max(0, size)
        self.failed += failed
        self.audio += transcript.duration if transcript else 0.0

    def refresh(self, under_way: Iterable[Advance]) -> None:
        """Show where the job stands, with recordings that are done in part."""
        self._audio_ahead = self._size_ahead = 0.0
        for advance in under_way:
            self._audio_ahead += advance.seconds
            self._size_ahead += advance.share * self.sizes[advance.task.id]
        if self._bar.disable:
            now = time.perf_counter()
            if not self.request.quiet and now - self._logged >= _LOG_SECONDS:
                self._logged = now
                console.note(self._line())
        else:
            self._bar.update(
                self._task, completed=self.size_done + self._size_ahead, description=self._line()
            )

    def summary(self) -> str:
        """Return what the job came to, in a line."""
        files = len(self.sizes)
        line = (
            f"{self.done - self.failed} of {files} file{'s' * (files != 1)}, "
            f"{self.audio:.1f} s of audio in {self._seconds:.1f} s (RTFx {self._rtfx:.1f})"
        )
        if self._began:
            line += f", start-up {self._began - self._created:.1f} s, {self.made_by}"
        return line + (f"; {self.failed} failed" if self.failed else "")

    @property
    def _seconds(self) -> float:
        return time.perf_counter() - self._began if self._began else 0.0

    @property
    def _rtfx(self) -> float:
        audio = self.audio + self._audio_ahead
        return audio / self._seconds if self._seconds else 0.0

    def _line(self) -> str:
        hours = (self.audio + self._audio_ahead) / 3600
        line = f"{self.done} of {len(self.sizes)} files, {hours:.2f} h, RTFx {self._rtfx:.0f}"
        if size_done := self.size_done + self._size_ahead:
            left = round(self._seconds * (sum(self.sizes) - size_done) / size_done)
            line += f", {left // 3600}:{left // 60 % 60:02}:{left % 60:02} left"
        return line + (f", {self.failed} failed" if self.failed else "")
