"""Version 2 of the kernel on a GPU: pieces, correctness, times beside cuDNN and version 1, soak.

Whatever does not fit the time that there is is left out and named.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from statistics import median
from typing import Any

import torch
from persistent_lstm import lstm, plan_for
from persistent_lstm.timing import by_layer, record

from . import correctness, soak
from .correctness import GPU, Case
from .pieces import pieces

__all__ = ["CASES", "Clock", "Timing", "parts"]

BACKEND = "triton2"

CASES = [
    *(Case(4, 512, B, 32, residual=r, split=s) for B in (1, 8, 16) for r in (0, 1) for s in (0, 1)),
    *(Case(4, 512, B, 16, residual=True, ragged=True) for B in (3, 33)),
    Case(4, 512, 4, 32),
    Case(4, 512, 32, 32),
    Case(4, 512, 64, 32, split=False),
    Case(4, 512, 70, 16, residual=True, ragged=True),
    Case(4, 512, 128, 8),
    Case(4, 512, 130, 8, split=False, ragged=True),
    Case(4, 512, 1, 16, dtype="float16", residual=True),
    Case(4, 512, 9, 16, dtype="float16", split=False),
    Case(5, 512, 1, 16),
    Case(4, 256, 8, 16, residual=True),
    Case(3, 384, 5, 16, residual=True),
    Case(2, 640, 2, 16),
    Case(2, 768, 9, 16, split=False),
    Case(1, 1024, 1, 16),
    Case(2, 1024, 8, 16),
    Case(1, 1024, 33, 16, split=False),
    Case(1, 1024, 8, 16, residual=True),
    Case(3, 80, 5, 16),
    Case(2, 512, 1, 16, I=320),
    Case(2, 512, 8, 16, I=700),
    *(Case(4, 512, 1, T) for T in (1, 2)),
    Case(4, 512, 1, 1000, residual=True, chunks=8),
    Case(4, 512, 8, 1000, chunks=5),
]


class Clock:
    """How much of the time for all parts is left."""

    def __init__(self, minutes: float) -> None:
        self.end = time.monotonic() + 60 * minutes

    def left(self, share: float = 1.0) -> float:
        """Seconds until ``share`` of the rest is over."""
        return share * (self.end - time.monotonic())


@dataclass(frozen=True)
class Timing:
    """A stack and a chunk; bfloat16 weights."""

    L: int
    H: int
    B: int
    T: int
    residual: bool = False

    def backends(self) -> Iterator[tuple[str, Callable[[], object]]]:
        """Yield each way to run it."""
        case = Case(self.L, self.H, self.B, self.T, residual=self.residual)
        weights, (x, state) = case.weights(), case.input()

        def ours(backend: str, split: bool) -> Callable[[], object]:
            options: dict[str, Any] = {"residual": self.residual, "split": split}
            return lambda: lstm(x, weights, state, backend=backend, **options)

        yield "version 2", ours("triton2", True)
        yield "version 2, rounded", ours("triton2", False)
        yield "version 1", ours("triton", True)
        if not self.residual:
            module = torch.nn.LSTM(self.H, self.H, self.L, device=GPU, dtype=torch.bfloat16)
            module.flatten_parameters()
            half = x.bfloat16()
            zeros = torch.zeros(self.L, self.B, self.H, device=GPU, dtype=torch.bfloat16)
            yield "cuDNN", lambda: module(half, (zeros, zeros))


TIMINGS = [
    *(Timing(4, 512, B, 32) for B in (1, 8, 16, 32, 64)),
    Timing(4, 512, 1, 32, residual=True),
    Timing(4, 512, 1, 1),
    Timing(4, 512, 1, 4),
    Timing(4, 512, 1, 8),
    Timing(1, 1024, 8, 32),
    Timing(4, 512, 8, 32, residual=True),
    Timing(4, 512, 32, 32, residual=True),
    Timing(4, 512, 8, 4),
    Timing(4, 512, 128, 32),
    Timing(4, 512, 1, 512),
    Timing(1, 1024, 1, 32),
    Timing(1, 512, 1, 32),
]


def graph_microseconds(run: Callable[[], object], seconds: float) -> dict[str, float]:
    """Capture ``run`` as a CUDA graph; microseconds of a replay, by the GPU's own clock."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.synchronize()
    captured = torch.cuda.CUDAGraph()
    with torch.cuda.graph(captured):
        run()
    captured.replay()
    torch.cuda.synchronize()
    times: list[float] = []
    end = time.monotonic() + seconds
    while len(times) < 20 or time.monotonic() < end:
        events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
        events[0].record()
        captured.replay()
        events[1].record()
        torch.cuda.synchronize()
        times.append(1e3 * events[0].elapsed_time(events[1]))
    times.sort()
    return {"p50": median(times), "p90": times[9 * len(times) // 10], "least": times[0]}


def measure(timing: Timing, seconds: float = 0.15) -> dict[str, Any]:
    """Time one chunk with every backend; microseconds a timestep."""
    rows = {}
    with torch.inference_mode():
        for name, run in timing.backends():
            try:
                found = graph_microseconds(run, seconds)
            except Exception as error:  # the other backends go on
                rows[name] = {"error": f"{type(error).__name__}: {error}"[:300]}
                continue
            rows[name] = {k: round(v / timing.T, 3) for k, v in found.items()}
    return {"timing": timing.__dict__, "us_per_timestep": rows, "ok": True}


def inside(rows: int, *, residual: bool = False) -> dict[str, Any]:
    """Where a timestep's time goes: nanoseconds of each layer's waits and work, medians."""
    case = Case(4, 512, rows, 32, residual=residual)
    weights, (x, state) = case.weights(), case.input()
    plan = plan_for(weights, rows, residual=residual, backend=BACKEND)
    with torch.inference_mode():
        layers = by_layer(record(plan, x, weights, state))
    names = ("start_up", "step", "wait_input", "wait_h", "cell")
    found = [{name: round(getattr(one, name).p50) for name in names} for one in layers]
    return {"rows": rows, "residual": residual, "ns": found, "ok": True}


def check(case: Case) -> dict[str, Any]:
    """Check one case in a process of its own."""
    return correctness.check(case, BACKEND)


def parts(
    clock: Clock,
    attempt: Callable[[str, Callable[[], dict[str, Any]]], dict[str, Any]],
    *,
    jobs: int,
    steps: int,
) -> Iterator[tuple[str, Any]]:
    """Run all parts, what matters most first; yield the name and the results of each."""
    yield "pieces", {name: attempt(f"piece {name}", run) for name, run in pieces(GPU)}
    first = [Case(4, 512, 1, 32), Case(4, 512, 8, 32, residual=True)]
    yield "first", [attempt(str(case), lambda case=case: check(case)) for case in first]  # type: ignore[misc]
    yield "graph", attempt("CUDA graph", lambda: correctness.graph(BACKEND))
    yield "timings", _while_time(clock, 0.45, attempt, [(str(t), t) for t in TIMINGS], measure)
    sizes = [(f"inside, {rows} rows", rows) for rows in (1, 8, 32)]
    yield "inside", _while_time(clock, 0.3, attempt, sizes, inside)
    yield "correctness", _cases(clock, 0.6, attempt, jobs)
    found = attempt("failures", lambda: _all_ok(dict(correctness.failures(BACKEND))))
    yield "failures", found
    sizes = [(f"soak, {rows} rows", rows) for rows in (1, 8, 64)]
    each = clock.left() / len(sizes)
    yield (
        "soak",
        _while_time(clock, 1.0, attempt, sizes, lambda rows: soak.soak(rows, steps, BACKEND, each)),
    )


def _all_ok(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {"parts": found, "ok": all(one["ok"] for one in found.values())}


def _while_time(
    clock: Clock, share: float, attempt: Any, sizes: list[tuple[str, Any]], run: Any
) -> list[dict[str, Any]]:
    end = time.monotonic() + clock.left(share)
    found = []
    for name, size in sizes:
        if time.monotonic() < end:
            found.append(attempt(name, lambda size=size: run(size)))
        else:
            found.append({"not_run": name})
    return found


def _cases(clock: Clock, share: float, attempt: Any, jobs: int) -> list[dict[str, Any]]:
    """Run the cases, ``jobs`` at once; most of the time is the compiler's."""
    end = time.monotonic() + clock.left(share)
    context = get_context("spawn")
    found = []
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=correctness.forbid_tf32) as pool:
        running = [(case, pool.submit(check, case)) for case in CASES]
        for case, future in running:
            if time.monotonic() > end and future.cancel():
                found.append({"not_run": str(case)})
            else:
                found.append(attempt(str(case), future.result))
    return found
