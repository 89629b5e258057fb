"""Launches of the wide kernel: weights packed in tiles, memory prepared, arguments in order.

Legend: H hidden size, K columns of a matrix, U units that a program owns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from ._workspace import Workspace
from .plan import Launch, Plan
from .planning import launch_width, tile_columns
from .types import LayerWeights

__all__ = ["Tiles", "pack_tiles", "wide_arguments"]


class Tiles(NamedTuple):
    """The weights of one launch: matrices ``(L, H/U, tiles, 4U, KT)``, the rest ``(L, 4H)``."""

    w_ih: Tensor
    w_hh: Tensor
    bias: Tensor
    row_sums: Tensor


def pack_rows(w: Tensor, units: int) -> Tensor:
    """Order rows (4H, …), gates ``i, f, g, o``, by program: (H/U, 4U, …), row ``gate * U + u``."""
    hidden = w.shape[0] // 4
    parts = w.reshape(4, hidden // units, units, *w.shape[1:]).transpose(0, 1)
    return parts.reshape(hidden // units, 4 * units, *w.shape[1:])


def pack_matrix(w: Tensor, units: int, columns: int, width: int) -> Tensor:
    """Tile a matrix (4H, K) as (H/U, width / columns, 4U, columns), filled up with zeros."""
    rows = functional.pad(pack_rows(w, units), (0, width - w.shape[1]))
    tiles = rows.reshape(*rows.shape[:2], width // columns, columns)
    return tiles.transpose(1, 2).contiguous()


def pack_tiles(plan: Plan, launch: Launch, weights: Sequence[LayerWeights]) -> Tiles:
    """Pack the layers of ``launch``."""
    units, columns = launch.units, tile_columns(launch, split=plan.split)
    layers = weights[slice(*launch.layers)]

    def stacked(pack: Callable[[LayerWeights], Tensor]) -> Tensor:
        return torch.stack([pack(w) for w in layers])

    width = launch_width(plan, launch)
    return Tiles(
        stacked(lambda w: pack_matrix(w.w_ih, units, columns, width)),
        stacked(lambda w: pack_matrix(w.w_hh, units, columns, launch.hidden)),
        stacked(lambda w: pack_rows(w.b_ih.float() + w.b_hh.float(), units).flatten()),
        stacked(lambda w: pack_rows(w.w_ih.double().sum(1).float(), units).flatten()),
    )


def wide_arguments(
    w: Tiles,
    memory: Workspace,
    x: Tensor,
    C_0: Tensor,
    lengths: Tensor | None,
    error: Tensor,
    stamps: Tensor,
    *,
    split: bool,
) -> tuple[Tensor, ...]:
    """Return the kernel's arguments up to T, in order; what it does not read is x or y."""
    crosses = torch.int32 if split else w.w_hh.dtype
    y = memory.y.view(torch.float32)
    return (
        memory.x.view(crosses),
        x,
        *w,
        memory.h_0.view(crosses),
        C_0,
        x if lengths is None else lengths,
        memory.hs.view(crosses),
        # Of one layer these are empty.
        (memory.rs if memory.rs.numel() else memory.y).view(crosses),
        memory.sums.view(torch.float32) if memory.sums.numel() else y,
        memory.done,
        y,
        memory.h,
        memory.C,
        error,
        stamps,
    )
