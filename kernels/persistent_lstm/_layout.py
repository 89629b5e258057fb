"""Which thread of the fragment kernel holds what: the order of weights, of ``h`` and of the sums.

A program has 8 warps of 32 lanes. Each warp multiplies a window of the K columns of a matrix by
the tensor cores' m16n8k16 (PTX ISA, "Matrix Fragments for mma.m16n8k16"): a fragment of W has 16
rows, a tile of ``h`` 8 columns. Lane ``4 n + q`` holds column ``n`` of a tile of ``h``, and of
each 16 of K the four that its place ``q`` names. Which four is free, as long as W and ``h`` agree:
the order is that in which 16-byte loads bring the words of the exchange.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["COLUMNS", "K_TILE", "LANES", "THREADS", "WARPS", "gate_rows", "k_order", "k_tiles"]

LANES = 32
WARPS = 8
THREADS = LANES * WARPS
K_TILE = 16  # of K, in one product of the tensor cores
COLUMNS = 8  # of h, in one product


def k_tiles(width: int) -> int:
    """Return how many k tiles a warp multiplies: even, so that both words of exchange fit."""
    pair = 2 * K_TILE
    return 2 * -(-width // (WARPS * pair))


def k_order(width: int, split: bool) -> tuple[Tensor, Tensor]:
    """Return the column of K that each thread holds, and whether it is this thread's to multiply.

    Both are ``(THREADS, k tiles, 4)``. Windows of the last warps are moved back to end at
    ``width``, which makes them overlap: what an earlier warp has already is not theirs, and their
    weights are zero there.
    """
    tiles = k_tiles(width)
    thread = torch.arange(THREADS)[:, None, None]
    warp, place = thread // LANES, thread % 4
    j = torch.arange(tiles)[:, None]
    i = torch.arange(4)
    wanted = warp * tiles * K_TILE
    begin = wanted.clamp(max=width - tiles * K_TILE)
    if split:  # a word a column: 4 words of tile j
        inside = K_TILE * j + 4 * place + i
    else:  # a word two columns: 4 words of tiles j and j + 1
        inside = 2 * K_TILE * (j // 2) + 8 * place + 4 * (j % 2) + i
    columns = begin + inside
    return columns, columns >= wanted


def gate_rows(units: int) -> tuple[Tensor, Tensor]:
    """Return gate and unit of the rows of W that a lane holds: ``(units / 4, 32, 2)`` each.

    The last index is the upper and lower half of a fragment, 8 rows each. 16 units: a fragment is
    one gate of all units. 8 units: it is two gates.
    """
    m = torch.arange(units // 4)[:, None, None]
    row = (torch.arange(LANES) // 4)[None, :, None]
    half = torch.arange(2)
    gate, unit = (m, row + 8 * half) if units == 16 else (2 * m + half, row)
    shape = (units // 4, LANES, 2)
    return gate.expand(shape), unit.expand(shape)
