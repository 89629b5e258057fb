"""One launch a chunk: what the fragment kernel does itself, of what ``_prepare`` does before it.

Words of x and of the state are published as ``h`` is: who needs them waits until they are there.
The memory of the exchange has two buffers. A launch works in one, which is filled with the
sentinel, and fills the other, in which the launch before it has worked: launches of one stream
follow each other. Which one is whose turn is counted in the memory itself, so that a CUDA graph may
be replayed. The last program counts on at its end: by then it has heard from all others, and they
have looked.

Legend as in ``_fragment``; W words of a row, OWN of them a program's.
"""

from __future__ import annotations

import triton
import triton.language as tl

from ._device import SENTINEL
from ._prepare import half_bits

__all__ = ["gather_cells", "gathered", "leave", "publish_state", "publish_x", "refill", "take_turn"]

HEADER = tl.constexpr(8)  # words: launches so far; words used of either buffer


@triton.jit
def take_turn(memory, capacity):
    """Return this launch's buffer, the other one, and how many of that one's words are used."""
    turn = tl.load(memory, volatile=True) & 1
    used = tl.load(memory + 2 - turn, volatile=True)
    mine = memory + HEADER + turn * capacity
    other = memory + HEADER + (1 - turn) * capacity
    return mine, other, used


@triton.jit
def leave(memory, used):
    """Hand the memory on to the next launch."""
    launches = tl.load(memory, volatile=True)
    tl.store(memory + 1 + (launches & 1), used)
    tl.store(memory, launches + 1)


@triton.jit
def refill(buffer, used, program, PROGRAMS: tl.constexpr):
    """Fill this program's share of the other buffer's used words with the sentinel."""
    place = tl.arange(0, 256)[:, None] * 4 + tl.arange(0, 4)[None, :]
    empty = tl.full([256, 4], SENTINEL, tl.int32)
    first = program * 1024
    while first < used:
        tl.store(buffer + first + place, empty, mask=first + place < used)
        first += PROGRAMS * 1024


@triton.jit
def make_word(pointer, mask, next_mask, HALF: tl.constexpr, SPLIT: tl.constexpr):
    """A value as a word in two halves, or with its neighbour; return it, and the values."""
    value = tl.load(pointer, mask=mask, other=0, volatile=True).to(tl.float32, bitcast=True)
    low, worth = half_bits(value, HALF)
    if SPLIT:
        neighbour = value
        high, _ = half_bits(value - worth, HALF)
    else:
        neighbour = tl.load(pointer + 1, mask=next_mask, other=0, volatile=True)
        neighbour = neighbour.to(tl.float32, bitcast=True)
        high, _ = half_bits(neighbour, HALF)
    return low | (high << 16), value, neighbour


@triton.jit
def publish_x(
    x,  # (rows, COLUMNS) float32 bits
    words,  # (rows, W)
    rows,
    program,
    PROGRAMS: tl.constexpr,
    COLUMNS: tl.constexpr,
    W: tl.constexpr,
    HALF: tl.constexpr,
    SPLIT: tl.constexpr,
):
    """Publish this program's share of the words of x; columns beyond COLUMNS are zero."""
    first = program * 256
    while first < rows * W:
        index = first + tl.arange(0, 256)
        there = index < rows * W
        column = index % W * (1 if SPLIT else 2)
        pointer = x + index // W * COLUMNS + column
        word, _, _ = make_word(
            pointer, there & (column < COLUMNS), there & (column + 1 < COLUMNS), HALF, SPLIT
        )
        tl.store(words + index, word, mask=there, cache_modifier=".cg")
        first += PROGRAMS * 256


@triton.jit
def gathered(table, which, row, layer, B: tl.constexpr):
    """Where a row's h (``which`` 0) or C (1) of a layer begins, by a table (3, B) int64.

    It holds the addresses of both, in bytes, and how far one layer is from the next.
    """
    address = tl.load(table + which * B + row, volatile=True)
    stride = tl.load(table + 2 * B + row, volatile=True)
    return (address + layer * stride).to(tl.pointer_type(tl.int32))


@triton.jit
def gather_cells(
    table,
    C_T,  # (B, H) float32, of this layer
    rows,
    own,
    gate,
    layer,
    B: tl.constexpr,
    H: tl.constexpr,
    GROUP: tl.constexpr,
    GROUPS: tl.constexpr,
    SUMS: tl.constexpr,
):
    """Copy C of rows that take turns to where it is between their turns."""
    for i in tl.static_range(GROUPS):
        for s in tl.static_range(SUMS):
            row = i * GROUP + rows[s]
            C_row = gathered(table, 1, tl.minimum(row, B - 1), layer, B) + own
            value = tl.load(C_row, volatile=True).to(tl.float32, bitcast=True)
            tl.store(C_T + row * H + own, value, mask=(row < B) & (gate == 0))
    tl.debug_barrier()  # other threads read it


@triton.jit
def publish_state(
    h_0,  # (L, B, H) float32 bits, or a table of rows
    words,  # (B, W), of this layer
    h_T,  # (B, H) float32, of this layer: written for rows of no timestep
    lengths,
    layer,
    part,
    B: tl.constexpr,
    H: tl.constexpr,
    U: tl.constexpr,
    HALF: tl.constexpr,
    SPLIT: tl.constexpr,
    RAGGED: tl.constexpr,
    GATHER: tl.constexpr,
):
    """Publish the program's own units of the state."""
    OWN: tl.constexpr = U if SPLIT else U // 2
    W: tl.constexpr = H if SPLIT else H // 2
    for i in tl.static_range((B * OWN + 255) // 256):
        index = i * 256 + tl.arange(0, 256)
        there = index < B * OWN
        row = tl.minimum(index // OWN, B - 1)
        place = index % OWN
        column = part * U + place * (1 if SPLIT else 2)
        if GATHER:
            pointer = gathered(h_0, 0, row, layer, B) + column
        else:
            pointer = h_0 + (layer * B + row) * H + column
        word, value, neighbour = make_word(pointer, there, there, HALF, SPLIT)
        tl.store(words + row * W + part * OWN + place, word, mask=there, cache_modifier=".cg")
        if RAGGED:
            still = there & (tl.load(lengths + row, volatile=True) <= 0)
            tl.store(h_T + row * H + column, value, mask=still)
            if not SPLIT:
                tl.store(h_T + row * H + column + 1, neighbour, mask=still)
