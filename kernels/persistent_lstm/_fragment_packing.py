"""Weights in the order in which the threads of the fragment kernel hold them.

Legend: H hidden size, K columns of a matrix, U units that a program owns.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from ._layout import LANES, THREADS, gate_rows, k_order

__all__ = ["pack_fragments", "pack_gates"]


def pack_fragments(w: Tensor, units: int, width: int, *, split: bool) -> Tensor:
    """Pack a 16-bit matrix (4H, K) as ``(H/U, U/4 * k tiles, 256, 4)`` int32: registers of mma.

    Columns are filled up with zeros to ``width``. Register r of a lane holds two columns, of the
    upper half of the fragment's rows for even r.
    """
    hidden = w.shape[0] // 4
    w = functional.pad(w, (0, width - w.shape[1])).view(4, hidden // units, units, width)
    columns, owned = (one.to(w.device) for one in k_order(width, split))
    gate, unit = (one.to(w.device) for one in gate_rows(units))
    # (parts, fragment, k tile, thread, pair of columns, half of rows, column of the pair)
    pair = columns.transpose(0, 1).reshape(1, -1, THREADS, 2, 1, 2)
    lane = torch.arange(THREADS, device=w.device) % LANES
    gate, unit = (one[:, lane].reshape(len(one), 1, THREADS, 1, 2, 1) for one in (gate, unit))
    packed = w.transpose(0, 1)[:, gate, unit, pair]
    packed = packed * owned.transpose(0, 1).reshape(1, -1, THREADS, 2, 1, 2)
    return packed.reshape(hidden // units, -1, THREADS, 8).view(torch.int32).contiguous()


def pack_gates(v: Tensor, units: int) -> Tensor:
    """Order values of the rows (4H,) as ``(H/U, U, 4)``, float32: a unit's gates side by side."""
    return v.float().view(4, -1, units).permute(1, 2, 0).contiguous()
