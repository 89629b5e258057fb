"""The parts of the check in their order, and how much of the time each may take.

Whatever does not fit the time that there is is left out and named.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

from persistent_lstm.planning import PLANNERS

from . import correctness, soak, timings
from .chunk import KINDS, whole_chunks
from .correctness import FIRST, GPU
from .pieces import pieces

__all__ = ["PARTS", "Clock", "kernel_parts"]

PARTS = ["pieces", "first", "correctness", "timings", "soak", "failures", "chunks", "inside"]
SOAKED = (1, 8, 64)  # rows
LOOKED_INTO = (1, 8, 32, 64)
CHUNKS = [(f"chunks of {ms} ms, {decoder}", (decoder, ms)) for decoder, ms in KINDS]

Attempt = Callable[[str, Callable[[], dict[str, Any]]], dict[str, Any]]


class Clock:
    """How much of the time for all parts is left."""

    def __init__(self, minutes: float) -> None:
        self.end = time.monotonic() + 60 * minutes

    def left(self, share: float = 1.0) -> float:
        """Seconds until ``share`` of the rest is over."""
        return share * (self.end - time.monotonic())


def kernel_parts(
    wanted: list[str], clock: Clock, attempt: Attempt, *, jobs: int, steps: int
) -> Iterator[tuple[str, Any]]:
    """Run the parts ``wanted``, what matters most first; yield the name and results of each."""
    runs: dict[str, Callable[[], Any]] = {
        "pieces": lambda: {name: attempt(f"piece {name}", run) for name, run in pieces(GPU)},
        "first": lambda: _first(attempt),
        "correctness": lambda: _cases(clock, attempt, jobs, compile_timings="timings" in wanted),
        "timings": lambda: _timings(clock, attempt),
        "soak": lambda: _soaks(clock, attempt, steps),
        "failures": lambda: [
            attempt(f"failures, {name}", lambda name=name: _all_ok(correctness.failures(name)))  # type: ignore[misc]
            for name in PLANNERS
        ],
        "chunks": lambda: _while_time(clock, 1.0, attempt, CHUNKS, whole_chunks),
        "inside": lambda: _insides(clock, attempt),
    }
    for name, run in runs.items():
        if name in wanted:
            yield name, run()


def _first(attempt: Attempt) -> list[dict[str, Any]]:
    """What no further part would be worth without, and the oracle itself."""
    return [
        attempt("oracle", correctness.reference_speaks_for_cudnn),
        *(
            attempt(f"{name}, {case}", lambda n=name, c=case: correctness.check(c, n))  # type: ignore[misc]
            for name in PLANNERS
            for case in FIRST
            if correctness.fits(case, name)
        ),
        *(
            attempt(f"CUDA graph, {name}", lambda n=name, r=rows: correctness.graph(n, r))  # type: ignore[misc]
            for name in PLANNERS
            for rows in (1, 32)
            if correctness.fits(correctness.Case(4, 512, rows, 8, residual=True), name)
        ),
    ]


def _timings(clock: Clock, attempt: Attempt) -> list[dict[str, Any]]:
    sizes = [(str(one), one) for one in timings.TIMINGS]
    return _while_time(clock, 0.45, attempt, sizes, timings.measure)


def _soaks(clock: Clock, attempt: Attempt, steps: int) -> list[dict[str, Any]]:
    sizes = [
        (f"soak, {name}, {rows} rows", (name, rows))
        for rows in SOAKED
        for name in PLANNERS
        if correctness.fits(correctness.Case(4, 512, rows, soak.CHUNK), name)
    ]
    end = time.monotonic() + clock.left(0.6)

    def run(one: tuple[str, int]) -> dict[str, Any]:
        return soak.soak(one[1], steps, one[0], end - time.monotonic())

    return _while_time(clock, 0.6, attempt, sizes, run)


def _insides(clock: Clock, attempt: Attempt) -> list[dict[str, Any]]:
    sizes: list[tuple[str, Callable[[], dict[str, Any]]]] = [
        (f"exchange, {rows} rows", lambda rows=rows: timings.exchange(rows))  # type: ignore[misc]
        for rows in LOOKED_INTO
    ]
    sizes += [
        (f"inside, {name}, {rows} rows", lambda n=name, r=rows: timings.inside(r, backend=n))  # type: ignore[misc]
        for name in PLANNERS
        for rows in LOOKED_INTO
        if correctness.fits(correctness.Case(4, 512, rows, 32), name)
    ]
    return _while_time(clock, 1.0, attempt, sizes, lambda run: run())


def _all_ok(found: Iterator[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    parts = dict(found)
    return {"parts": parts, "ok": all(one["ok"] for one in parts.values())}


def _while_time(
    clock: Clock, share: float, attempt: Attempt, sizes: list[tuple[str, Any]], run: Any
) -> list[dict[str, Any]]:
    end = time.monotonic() + clock.left(share)
    found: list[dict[str, Any]] = []
    for name, size in sizes:
        if time.monotonic() < end:
            found.append(attempt(name, lambda size=size: run(size)))
        else:
            found.append({"not_run": name})
    return found


def _pool(jobs: int) -> ProcessPoolExecutor:
    """Return processes that compile side by side: most of the time is the compiler's."""
    return ProcessPoolExecutor(
        jobs, mp_context=get_context("spawn"), initializer=correctness.forbid_tf32
    )


def _cases(clock: Clock, attempt: Attempt, jobs: int, *, compile_timings: bool) -> list[Any]:
    """Run the cases by each backend that takes them, ``jobs`` at once, each in its process.

    What the timings run is compiled meanwhile: Triton's cache keeps it.
    """
    end = time.monotonic() + clock.left(0.4)
    found: list[dict[str, Any]] = []
    with _pool(jobs) as pool:
        running: list[tuple[str, Future[dict[str, Any]]]] = [
            (f"{name}, {case}", pool.submit(correctness.check, case, name))
            for name in PLANNERS
            for case in correctness.CASES
            if correctness.fits(case, name)
        ]
        running += [
            (f"compile, {variant}, {timing}", pool.submit(timings.warm, timing, *variant))
            for timing in timings.TIMINGS
            for variant in timing.variants()
            if compile_timings
        ]
        for name, future in running:
            try:
                error = future.exception(timeout=max(0.0, end - time.monotonic()))
            except TimeoutError:
                future.cancel()
                found.append({"not_run": name})
                continue
            if error is not None or not name.startswith("compile"):
                found.append(attempt(name, future.result))
    return found
