"""Run a job: the one way from recordings to transcripts, for one file or forty thousand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from ..cores import cores
from .outputs import Delivered, Output
from .request import Request
from .tasks import About, Advance, Outcome, Settings, Task

__all__ = ["Engine", "Reporter", "pool_for", "run_job"]

_SMALL_BYTES = 2_000_000
_SMALL_FILES = 8
"""Less than this is done sooner than worker processes have started."""
_GPU_ROWS = 64


class Engine(Protocol):
    """Processes tasks: a pool of workers, or one recording after the other."""

    @property
    def workers(self) -> int:
        """How many workers there are."""

    @property
    def under_way(self) -> Mapping[int, Advance]:
        """The progress of recordings that are done in part, by their task's id."""

    def open(self) -> About:
        """Load the model, or start workers that do; return what it is."""

    def run(self, tasks: Sequence[Task]) -> Iterator[Sequence[Outcome] | None]:
        """Process the tasks; yield outcomes as they come, None now and then in between."""

    def interrupted(self) -> Outcome | None:
        """Return the outcome of a recording in progress on Ctrl-C, if it can be used."""

    def close(self) -> None:
        """End at once."""


class Reporter(Protocol):
    """Reports the progress of a job."""

    def started(self, about: About, workers: int) -> None:
        """Report that the model is loaded."""

    def ended(self, outcome: Outcome) -> None:
        """Report a task that was processed; its transcript may be delivered later."""

    def delivered(self, outcome: Outcome, problem: str | None) -> None:
        """Report a task whose transcript, if there is one, has been delivered."""

    def under_way(self, advances: Iterable[Advance]) -> None:
        """Report the progress of recordings that are done in part."""


def run_job(request: Request, engine: Engine, output: Output, reporter: Reporter) -> list[str]:
    """Process what ``output`` lacks; return the problems, a line for each recording.

    Raises StreamasrError where no recording can be done, and KeyboardInterrupt after the last words
    of the recording in progress have been delivered.
    """
    problems: list[str] = []
    if output.tasks:
        try:
            about = engine.open()
            reporter.started(about, engine.workers)
            made = request.about(about.fingerprint, about.decoder_name)
            try:
                for outcome, problem in _delivered(engine, output, reporter, made):
                    reporter.delivered(outcome, problem)
                    if problem:
                        problems.append(problem)
            except KeyboardInterrupt:
                if (rest := engine.interrupted()) is not None:
                    output.interrupted(rest, made)
                raise
        finally:
            engine.close()
    return [*problems, *output.failed_before]


def _delivered(
    engine: Engine, output: Output, reporter: Reporter, made: Mapping[str, object]
) -> Iterator[Delivered]:
    for outcomes in engine.run(output.tasks):
        for outcome in outcomes or ():
            reporter.ended(outcome)
            yield from output.deliver(outcome, made)
        reporter.under_way(engine.under_way.values())


def pool_for(request: Request, tasks: Sequence[Task]) -> Engine:
    """Return the workers that do many recordings at once; raises ModelError without Ray."""
    settings = Settings(request.options, request.track)
    if request.engine == "ray":
        from .on_ray import RayPool

        return RayPool(settings, request.workers)
    from .local import LocalPool, OwnPool

    if request.workers is None and _has_gpu():
        # One thread feeds the GPU; the others search for words.
        return OwnPool(replace(settings, rows=_GPU_ROWS, helpers=max(1, cores() - 1)))
    if request.workers is None and _is_small(tasks):
        return OwnPool(settings)
    return LocalPool(settings, request.workers or cores())


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
