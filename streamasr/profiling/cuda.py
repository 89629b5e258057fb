"""CUDA graphs, events, kernel counts and memory bandwidth."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from persistent_lstm.timing import Spread

__all__ = ["captured", "count_kernels", "queued", "read_bandwidth"]

QUEUE = 32
READ_BYTES = 2**30


def captured(call: Callable[[], object]) -> Callable[[], None]:
    """Capture one ``call``, which has run before, and return the replay of it."""
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):  # libraries set up their workspaces for this stream
            call()
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay


def queued(call: Callable[[], object], repeat: int, seconds: float, fewest: int) -> list[float]:
    """Time chunks by CUDA events, several in the queue at once; microseconds each."""
    samples: list[float] = []
    deadline = time.perf_counter() + seconds
    while len(samples) < repeat:
        events = [(_event(), _event()) for _ in range(QUEUE)]
        for start, end in events:
            start.record()
            call()
            end.record()
        torch.cuda.synchronize()
        # The first found the queue empty: its time is that of its launch, too.
        samples += [1e3 * start.elapsed_time(end) for start, end in events[1:]]
        if len(samples) >= fewest and time.perf_counter() > deadline:
            break
    return samples[:repeat]


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]


def count_kernels(call: Callable[[], object]) -> int | None:
    """Count the kernels that one ``call`` runs; None where the profiler sees none."""
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profiler:
        call()
        torch.cuda.synchronize()
    names = [e.name for e in profiler.events() or [] if e.device_type.name == "CUDA"]
    # Copies and fills by the driver are no kernels.
    return sum(not name.startswith(("Memcpy", "Memset")) for name in names) or None


def read_bandwidth(device: torch.device) -> float:
    """Measure how fast memory is read, in bytes a second: sums of up to 1 GiB."""
    free, _ = torch.cuda.mem_get_info(device)
    count = min(READ_BYTES, free // 4) // 4
    values = torch.ones(count, dtype=torch.float32, device=device)
    for _ in range(3):
        values.sum()
    times = queued(values.sum, 31, 10.0, 31)
    return 4 * count / (1e-6 * Spread.of(torch.tensor(times)).p50)
