"""Time one chunk, repeatedly."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from persistent_lstm import raise_pending_error
from persistent_lstm.timing import Spread

from . import cuda

__all__ = ["FEWEST_FOR_P99", "Measured", "measure"]

WARM_UP = 10
FEWEST_SAMPLES = 10
FEWEST_FOR_P99 = 100


@dataclass(frozen=True)
class Measured:
    """Times of one backend on one cell.

    Args:
        first: milliseconds of the first call, kernels compiled or loaded, weights packed.
        warm_up: milliseconds of what came between that and the samples: the capture of a graph,
            ten more calls.
        chunk: microseconds of a chunk. On a GPU by CUDA events, chunks queued one behind another,
            so that what Python does shows only where it cannot keep up.
        waited: microseconds from the call to the result, each chunk waited for; on a CPU, the
            same as ``chunk``.
        samples: how many chunks ``chunk`` is of. With fewer than 100 its p99 is NaN.
        kernels: that a chunk launched on the GPU; None where they cannot be counted.
    """

    first: float
    warm_up: float
    chunk: Spread
    waited: Spread
    samples: int
    kernels: int | None = None


def measure(
    call: Callable[[], object],
    device: torch.device,
    *,
    repeat: int,
    seconds: float,
    graph: bool = False,
) -> Measured:
    """Time ``call``: up to ``repeat`` chunks or about ``seconds``, ten chunks at least."""
    on_gpu = device.type == "cuda"
    wait = torch.cuda.synchronize if on_gpu else _nothing
    with torch.inference_mode():
        wait()
        began = time.perf_counter()
        call()
        wait()
        warm = time.perf_counter()
        if graph:
            call = cuda.captured(call)
        for _ in range(WARM_UP):
            call()
        wait()
        ready = time.perf_counter()
        kernels = cuda.count_kernels(call) if on_gpu else None
        budget = seconds / 2 if on_gpu else seconds
        waited = _waited(call, wait, repeat, budget)
        chunk = cuda.queued(call, repeat, budget, FEWEST_SAMPLES) if on_gpu else waited
    raise_pending_error(device)
    return Measured(
        first=1e3 * (warm - began),
        warm_up=1e3 * (ready - warm),
        chunk=_spread(chunk),
        waited=_spread(waited),
        samples=len(chunk),
        kernels=kernels,
    )


def _waited(
    call: Callable[[], object], wait: Callable[[], None], repeat: int, seconds: float
) -> list[float]:
    samples: list[float] = []
    deadline = time.perf_counter() + seconds
    while len(samples) < repeat:
        began = time.perf_counter()
        call()
        wait()
        ended = time.perf_counter()
        samples.append(1e6 * (ended - began))
        if len(samples) >= FEWEST_SAMPLES and ended > deadline:
            break
    return samples


def _spread(samples: list[float]) -> Spread:
    spread = Spread.of(torch.tensor(samples, dtype=torch.float64))
    return spread if len(samples) >= FEWEST_FOR_P99 else spread._replace(p99=math.nan)


def _nothing() -> None:
    pass
