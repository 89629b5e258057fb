"""A million timesteps beside cuDNN: the exchange must never lose or tear a word."""

from __future__ import annotations

import math
import time
from typing import Any

import torch
from persistent_lstm import LSTMState, lstm, raise_pending_error

from .correctness import GPU, Case, relative_error

CHUNK = 1000
# Both sum in float32, in different orders, and ours splits h into two 16-bit halves.
TOLERANCE = 1e-5


def soak(
    batch: int, timesteps: int, backend: str = "triton", seconds: float = math.inf
) -> dict[str, Any]:
    """Run 4 x 512 for ``timesteps`` in chunks of 1,000, both states carried apart.

    It ends early after ``seconds``.
    """
    case = Case(4, 512, batch, CHUNK)
    weights = case.weights()
    peer = torch.nn.LSTM(512, 512, 4, device=GPU)
    with torch.no_grad():
        for layer, w in enumerate(weights):
            for name, tensor in zip(
                ("weight_ih", "weight_hh", "bias_ih", "bias_hh"), w, strict=True
            ):
                getattr(peer, f"{name}_l{layer}").copy_(tensor)
    zeros = torch.zeros(4, batch, 512, device=GPU)
    state, peer_state = LSTMState(zeros, zeros), (zeros, zeros)
    generator = torch.Generator(GPU).manual_seed(3)
    worst, ours, theirs, steps = 0.0, 0.0, 0.0, 0
    end = time.monotonic() + seconds
    with torch.inference_mode():
        while steps < timesteps // CHUNK * CHUNK and (time.monotonic() < end or not steps):
            x = torch.randn(CHUNK, batch, 512, device=GPU, generator=generator)
            torch.cuda.synchronize()
            began = time.perf_counter()
            y, state = lstm(x, weights, state, backend=backend)
            torch.cuda.synchronize()
            between = time.perf_counter()
            expected, peer_state = peer(x, peer_state)
            torch.cuda.synchronize()
            ours += between - began
            theirs += time.perf_counter() - between
            raise_pending_error(x.device)
            worst = max(worst, relative_error(y, expected))
            steps += CHUNK
    return {
        "backend": backend,
        "batch": batch,
        "timesteps": steps,
        "worst_chunk_error": worst,
        "tolerance": TOLERANCE,
        "ours_us_per_timestep": 1e6 * ours / steps,
        "cudnn_float32_us_per_timestep": 1e6 * theirs / steps,
        "ok": worst <= TOLERANCE,
    }
