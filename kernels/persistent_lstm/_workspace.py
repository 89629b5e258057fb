"""The memory of a launch: one tensor, and what lies where in it.

Legend: L layers of the launch, B rows, T timesteps, H hidden size, I input size. A row of words is
H words with ``split``, otherwise H/2.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from . import _kernels

__all__ = ["Workspace", "prepare"]


ALIGNED = 4  # words: what begins there can be read 16 bytes at a time


class Workspace(NamedTuple):
    """What the kernel reads and writes besides weights; int32 unless said otherwise.

    ``y (T, B, H)`` is filled with the sentinel, and of an exchange of flagged words ``hs``, ``rs``
    and ``sums``, of one that counts ``done (L, T)``; ``x`` and ``h_0`` are words. ``h`` and
    ``C (L, B, H)``, float32, are the state to come.
    """

    hs: Tensor
    rs: Tensor
    sums: Tensor
    y: Tensor
    done: Tensor
    x: Tensor
    h_0: Tensor
    h: Tensor
    C: Tensor


def prepare(
    x: Tensor,
    h_0: Tensor,
    width: int,
    half: str,
    *,
    residual: bool,
    split: bool,
    counted: bool = False,
) -> Workspace:
    """Allocate a launch's memory and fill it, in one launch.

    ``x (T, B, I)`` and ``h_0 (L, B, H)`` are float32 and contiguous; ``width``: columns of x,
    filled up with zeros; ``counted``: for an exchange that counts.
    """
    T, B, inputs = x.shape
    depth, _, hidden = h_0.shape
    words = hidden if split else hidden // 2
    step = T * B
    exchanged = {
        "hs": depth * step * words,
        "rs": (depth - 1) * step * words if residual else 0,
        "sums": (depth - 1) * step * hidden if residual else 0,
    }
    filled = {
        "y": step * hidden,
        "done": -(-depth * T // ALIGNED) * ALIGNED if counted else 0,
        **({} if counted else exchanged),
    }
    given = {"x": step * (width if split else width // 2), "h_0": depth * B * words}
    sizes = {**filled, **given, **exchanged}
    buffer = torch.empty(sum(sizes.values()), dtype=torch.int32, device=x.device)
    state = torch.empty(2, depth, B, hidden, dtype=torch.float32, device=x.device)
    parts = dict(zip(sizes, torch.split(buffer, list(sizes.values())), strict=True))
    counts = (sum(filled.values()), *given.values(), state.numel())
    kernel, block = _kernels.prepare_kernel()
    kernel[(sum(-(-count // block) for count in counts),)](
        x,
        h_0,
        buffer,
        state.view(torch.int32),
        *counts,
        COLUMNS=inputs,
        WIDTH=width,
        H=hidden,
        HALF=half,
        SPLIT=split,
    )
    return Workspace(**parts, h=state[0], C=state[1])
