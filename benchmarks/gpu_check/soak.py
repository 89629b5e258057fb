"""A million timesteps: the exchange must never lose, tear or mistake a word.

Errors of arithmetic are the same each time, and ``correctness`` finds them. What the exchange might
do wrong it does now and then: so the same chunks run again and again, and each result must have
the very bits of the first, which is compared with float64.
"""

from __future__ import annotations

import math
import time
from typing import Any

import torch
from persistent_lstm import LayerWeights, LSTMState, lstm, raise_pending_error

from .correctness import Case, relative_error

CHUNK = 1000
CHUNKS = 4  # different ones, that take turns
CHECKED = 100  # timesteps of each that are compared with float64


def soak(
    batch: int, timesteps: int, backend: str = "triton", seconds: float = math.inf
) -> dict[str, Any]:
    """Run 4 x 512 for ``timesteps`` in chunks of 1,000; it ends early after ``seconds``."""
    cases = [Case(4, 512, batch, CHUNK) for _ in range(CHUNKS)]
    weights = cases[0].weights()
    problems = [case.input(seed) for seed, case in enumerate(cases)]
    wide = [LayerWeights(*(t.double() for t in w)) for w in weights]
    first, worst, ours, steps = [], 0.0, 0.0, 0
    end = time.monotonic() + seconds
    with torch.inference_mode():
        for x, state in problems:
            y, last = lstm(x, weights, state, backend=backend)
            expected, _ = lstm(
                *(x[:CHECKED].double(), wide),
                LSTMState(state.h.double(), state.C.double()),
                backend="reference",
            )
            worst = max(worst, relative_error(y[:CHECKED], expected))
            first.append((y, last))
        device = problems[0][0].device
        wrong = torch.zeros((), dtype=torch.int64, device=device)
        while steps < timesteps // CHUNK * CHUNK and (time.monotonic() < end or not steps):
            torch.cuda.synchronize()
            began = time.perf_counter()
            for (x, state), (before, _) in zip(problems, first, strict=True):
                y, _ = lstm(x, weights, state, backend=backend)
                wrong += (y != before).sum()
            torch.cuda.synchronize()
            ours += time.perf_counter() - began
            raise_pending_error(device)
            steps += CHUNK * CHUNKS
    return {
        "backend": backend,
        "batch": batch,
        "timesteps": steps,
        "asked_for": timesteps,
        "worst_chunk_error": worst,
        "tolerance": cases[0].tolerance,
        "wrong": int(wrong),
        "us_per_timestep_compared": 1e6 * ours / steps,
        "ok": worst <= cases[0].tolerance and int(wrong) == 0,
    }
