"""What a timestep takes: each plan of the kernels beside cuDNN, as CUDA graphs, and its insides."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import torch
from persistent_lstm import LaunchMemory, lstm, plan_for
from persistent_lstm.exchange import exchange_nanoseconds
from persistent_lstm.planning import PLANNERS
from persistent_lstm.timing import by_layer, record

from . import correctness
from .correctness import Case, fits

__all__ = ["TIMINGS", "Timing", "exchange", "graph_microseconds", "inside", "measure", "warm"]


@dataclass(frozen=True)
class Timing:
    """A stack and a chunk; bfloat16 weights."""

    L: int
    H: int
    B: int
    T: int
    residual: bool = False

    def case(self, split: bool) -> Case:
        """Return it as a case."""
        return Case(self.L, self.H, self.B, self.T, residual=self.residual, split=split)

    def variants(self) -> Iterator[tuple[str, bool]]:
        """Yield the backends of kernels that take it, each with h in halves and rounded."""
        for backend in PLANNERS:
            for split in (True, False):
                if fits(self.case(split), backend):
                    yield backend, split

    def ours(self, backend: str, split: bool) -> Callable[[], object]:
        """Return what runs a chunk by the kernels."""
        case = self.case(split)
        weights, (x, state) = case.weights(), case.input()
        options: dict[str, Any] = {"residual": self.residual, "split": split, "backend": backend}
        if backend == "triton-once":
            options["memory"] = LaunchMemory()
        return lambda: lstm(x, weights, state, **options)

    def cudnn(self) -> Callable[[], object]:
        """Return what runs a chunk by cuDNN."""
        x = self.case(True).input()[0].bfloat16()
        module = torch.nn.LSTM(self.H, self.H, self.L, device=x.device, dtype=torch.bfloat16)
        module.flatten_parameters()
        zeros = torch.zeros(self.L, self.B, self.H, device=x.device, dtype=torch.bfloat16)
        return lambda: module(x, (zeros, zeros))


TIMINGS = [
    *(Timing(4, 512, B, 32) for B in (1, 8, 32, 64, 16, 128)),
    *(Timing(4, 512, 1, T) for T in (1, 4, 8, 512)),
    *(Timing(4, 512, B, 32, residual=True) for B in (1, 8, 32, 64)),
    Timing(1, 1024, 8, 32),
    Timing(1, 1024, 1, 32),
    Timing(4, 512, 8, 4),
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


def warm(timing: Timing, backend: str, split: bool) -> dict[str, Any]:
    """Compile what ``measure`` runs, in a process of its own; Triton's cache keeps it."""
    with torch.inference_mode():
        timing.ours(backend, split)()
        torch.cuda.synchronize()
    return {"ok": True}


def measure(timing: Timing, seconds: float = 0.15) -> dict[str, Any]:
    """Time one chunk with every backend; microseconds a timestep."""
    runs: dict[str, Callable[[], Callable[[], object]]] = {
        f"{backend}{'' if split else ', rounded'}": partial(timing.ours, backend, split)
        for backend, split in timing.variants()
    }
    if not timing.residual:
        runs["cuDNN"] = timing.cudnn
    rows: dict[str, Any] = {}
    with torch.inference_mode():
        for name, build in runs.items():
            try:
                found = graph_microseconds(build(), seconds)
            except Exception as error:  # the other backends go on
                rows[name] = {"error": f"{type(error).__name__}: {error}"[:300]}
                continue
            rows[name] = {k: round(v / timing.T, 3) for k, v in found.items()}
    ok = not any("error" in row for row in rows.values())
    return {"timing": timing.__dict__, "us_per_timestep": rows, "ok": ok}


def inside(rows: int, *, residual: bool = False, backend: str = "triton") -> dict[str, Any]:
    """Where a timestep's time goes: nanoseconds of each layer's waits and work, medians."""
    case = Case(4, 512, rows, 32, residual=residual)
    weights, (x, state) = case.weights(), case.input()
    plan = plan_for(weights, rows, residual=residual, backend=backend)
    with torch.inference_mode():
        layers = by_layer(record(plan, x, weights, state))
    names = ("start_up", "step", "wait_input", "wait_h", "cell")
    found = [{name: round(getattr(one, name).p50) for name in names} for one in layers]
    return {"rows": rows, "residual": residual, "backend": backend, "ns": found, "ok": True}


def exchange(rows: int, *, split: bool = True) -> dict[str, Any]:
    """Nanoseconds of one exchange alone, as the kernels poll: what the floor is made of."""
    case = Case(4, 512, rows, 32, split=split)
    (launch,) = plan_for(case.weights(), rows, split=split).launches
    found = exchange_nanoseconds(launch, correctness.GPU, split=split)
    return {"rows": rows, "split": split, "ns": round(found, 1), "ok": True}
