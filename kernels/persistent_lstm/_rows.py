"""States of rows that lie anywhere: one ``(L, 1, H)`` a row, and what a kernel is told of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .plan import Launch
from .types import LSTMState

__all__ = ["fits_a_table", "joined", "table_of"]

FLOAT_BYTES = 4


def joined(rows: Sequence[LSTMState]) -> LSTMState:
    """Return the rows' states as one, copied together."""
    return LSTMState(torch.cat([row.h for row in rows], 1), torch.cat([row.C for row in rows], 1))


def fits_a_table(rows: Sequence[LSTMState]) -> bool:
    """Whether a kernel can read all where they are: float32, units side by side."""
    return all(
        row.h.dtype == row.C.dtype == torch.float32
        and row.h.stride(2) == row.C.stride(2) == 1
        and row.h.stride(0) == row.C.stride(0)
        for row in rows
    )


def table_of(rows: Sequence[LSTMState], launch: Launch) -> Tensor:
    """Return addresses of h and of C of the first layer of ``launch``, and bytes to the next layer.

    ``(3, B)``, int64, on the device of the states; they must stay where they are until the launch
    has begun.
    """
    first = launch.layers[0]
    steps = [row.h.stride(0) * FLOAT_BYTES for row in rows]
    addresses = [
        [part.data_ptr() + first * step for part, step in zip(parts, steps, strict=True)]
        for parts in ([row.h for row in rows], [row.C for row in rows])
    ]
    table = torch.tensor([*addresses, steps], dtype=torch.int64)
    device = rows[0].h.device
    if device.type == "cuda":
        table = table.pin_memory()
    return table.to(device, non_blocking=True)
