"""Pieces of the fragment kernel: fragments of weights and of ``h``, products, moments, addresses.

Legend as in ``_fragment``. Every tensor has 256 elements, one a thread.
"""

from __future__ import annotations

import triton
import triton.language as tl
from triton import knobs

if knobs.runtime.interpret:
    from . import _interpreted as ptx
else:
    from . import _ptx as ptx

__all__ = [
    "at",
    "first_word",
    "fragments_of_h",
    "last_timestep",
    "load_fragments",
    "moments",
    "multiply",
    "partial_sums",
    "ptx",
    "word_offsets",
    "zeros",
]


@triton.jit
def load_fragments(base, thread, COUNT: tl.constexpr):
    """Load COUNT fragments of a matrix, four registers each: 4 * COUNT tensors of (256,)."""
    registers = ()
    for i in tl.static_range(COUNT):
        four = tl.load(base + (i * 256 + thread[:, None]) * 4 + tl.arange(0, 4)[None, :])
        even, odd = tl.split(tl.reshape(four, (256, 2, 2)))
        first, third = tl.split(even)
        second, fourth = tl.split(odd)
        registers = registers + (first, second, third, fourth)
    return registers


@triton.jit
def fragments_of_h(words, lane, COUNT: tl.constexpr, SPLIT: tl.constexpr):
    """Turn words of the exchange into COUNT fragments of h, two registers each."""
    registers = ()
    for i in tl.static_range(2 * COUNT):
        if SPLIT:
            registers = registers + (ptx.half_columns(words[2 * i], words[2 * i + 1], lane),)
        else:
            registers = registers + (words[i],)
    return registers


@triton.jit
def multiply(
    w, b, c, TILES: tl.constexpr, ROWS: tl.constexpr, KT: tl.constexpr, HALF: tl.constexpr
):
    """Add W·h: w (ROWS, KT, 4 registers), b (TILES, KT, 2) and c (TILES, ROWS, 4), all flat."""
    for tile in tl.static_range(TILES):
        for j in tl.static_range(KT):
            added = ()
            for i in tl.static_range(TILES * ROWS):
                if i // ROWS == tile:
                    added = added + ptx.mma(
                        w[(i % ROWS * KT + j) * 4],
                        w[(i % ROWS * KT + j) * 4 + 1],
                        w[(i % ROWS * KT + j) * 4 + 2],
                        w[(i % ROWS * KT + j) * 4 + 3],
                        b[(tile * KT + j) * 2],
                        b[(tile * KT + j) * 2 + 1],
                        c[4 * i],
                        c[4 * i + 1],
                        c[4 * i + 2],
                        c[4 * i + 3],
                        HALF,
                    )
                else:
                    added = added + (c[4 * i], c[4 * i + 1], c[4 * i + 2], c[4 * i + 3])
            c = added
    return c


@triton.constexpr_function
def accumulator(tile, gate, half, column, U):
    """Where in ``c`` a gate is: with 16 units a fragment is one gate of all, with 8 it is two."""
    fragment, upper = (gate, half) if U == 16 else (gate // 2, gate % 2)
    return (tile * (U // 4) + fragment) * 4 + 2 * upper + column


@triton.jit
def partial_sums(
    c, TILES: tl.constexpr, COLUMNS: tl.constexpr, U: tl.constexpr, SPLIT: tl.constexpr
):
    """Order accumulators as ``ptx.sum_over_warps`` takes them: a unit's four gates together."""
    partials = ()
    for tile in tl.static_range(TILES):
        for column in tl.static_range(COLUMNS):
            for half in tl.static_range(U // 8):
                for gate in tl.static_range(4):
                    if SPLIT:  # the columns of the high and of the low halves
                        value = (
                            c[accumulator(tile, gate, half, 0, U)]
                            + c[accumulator(tile, gate, half, 1, U)]
                        )
                    else:
                        value = c[accumulator(tile, gate, half, column, U)]
                    partials = partials + (value,)
    return partials


@triton.jit
def moments(
    words,
    warp,
    lane,
    TILES: tl.constexpr,
    WIDTH: tl.constexpr,
    KT: tl.constexpr,
    SPLIT: tl.constexpr,
    HALF: tl.constexpr,
):
    """Sum the values in a thread's words, and their squares, for each tile.

    The two lanes that hold the same words in two halves share them out. Columns of a window that
    is moved back are another warp's as well, and not counted.
    """
    WHOLE: tl.constexpr = WIDTH == 128 * KT
    skip = warp * (16 * KT) - first_column(warp, WIDTH, KT)
    sums = ()
    squares = ()
    COUNT: tl.constexpr = KT * 2
    for tile in tl.static_range(TILES):
        total = tl.zeros([256], tl.float32)
        square = tl.zeros([256], tl.float32)
        for i in tl.static_range(COUNT):
            if SPLIT:
                odd = (lane // 4) % 2 == 1
                word = tl.where(odd, words[(2 * tile + 1) * COUNT + i], words[2 * tile * COUNT + i])
                low, high = ptx.word_values(word, HALF)
                value = low + high
                inside = 16 * (i // 4) + 4 * (lane % 4) + i % 4 + tl.where(odd, 8 * KT, 0)
                if not WHOLE:
                    value = tl.where(inside >= skip, value, 0.0)
                total += value
                square += value * value
            else:
                low, high = ptx.word_values(words[tile * COUNT + i], HALF)
                inside = 32 * (i // 4) + 8 * (lane % 4) + 2 * (i % 4)
                if not WHOLE:
                    low = tl.where(inside >= skip, low, 0.0)
                    high = tl.where(inside >= skip, high, 0.0)
                total += low + high
                square += low * low + high * high
        sums = sums + (total,)
        squares = squares + (square,)
    return sums, squares


@triton.jit
def word_offsets(
    group,
    first,
    lane,
    B: tl.constexpr,
    WIDTH: tl.constexpr,
    TILES: tl.constexpr,
    SPLIT: tl.constexpr,
):
    """Offsets of a thread's words of each tile of a group, from the first word of a timestep."""
    ROWS: tl.constexpr = 4 if SPLIT else 8
    column = lane // 4
    offsets = ()
    for tile in tl.static_range(TILES):
        row = (group * TILES + tile) * ROWS + (column // 2 if SPLIT else column)
        offsets = offsets + (tl.minimum(row, B - 1) * WIDTH + first,)
    return offsets


@triton.jit
def at(base, offsets):
    pointers = ()
    for i in tl.static_range(len(offsets)):
        pointers = pointers + (base + offsets[i],)
    return pointers


@triton.jit
def last_timestep(length, T, RAGGED: tl.constexpr):
    """The last timestep of a row: -1 for one that has none."""
    if RAGGED:
        return tl.minimum(tl.load(length, volatile=True), T) - 1
    else:  # not left out: Triton takes both returns then
        return T - 1


@triton.jit
def zeros(COUNT: tl.constexpr):
    values = ()
    for _ in tl.static_range(COUNT):
        values = values + (tl.zeros([256], tl.float32),)
    return values


@triton.jit
def first_column(warp, WIDTH: tl.constexpr, KT: tl.constexpr):
    """Where a warp's window begins: the last ones are moved back to end with the matrix."""
    return tl.minimum(warp * (16 * KT), WIDTH - 16 * KT)


@triton.jit
def first_word(warp, lane, WIDTH: tl.constexpr, KT: tl.constexpr, SPLIT: tl.constexpr):
    """A thread's first word of a row."""
    return first_column(warp, WIDTH, KT) // (1 if SPLIT else 2) + 4 * (lane % 4)
