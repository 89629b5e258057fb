"""What each piece of inline PTX computes, for all threads of a program, in NumPy.

Triton's interpreter runs these in the pieces' place (``_interpreted.py``), and on a GPU each piece
is compared with its stand-in. Arrays have 256 elements, one a thread; ``half`` is ``bf16`` or
``f16``. What a piece computes is said at the piece, in ``_ptx.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._layout import LANES, WARPS

__all__ = [
    "exp2",
    "half_columns",
    "mma",
    "pair_word",
    "quad",
    "reciprocal",
    "row_moments",
    "split_word",
    "sum_over_warps",
    "word_values",
]

Array = NDArray[Any]


def to_half(x: Array, half: str) -> Array:
    """Round float32 to 16 bits, ties to even; NaN becomes 0x7fff. Returns the bits, uint32."""
    x = np.ascontiguousarray(x, np.float32)
    bits: Array
    if half == "f16":
        with np.errstate(over="ignore"):
            bits = x.astype(np.float16).view(np.uint16).astype(np.uint32)
    else:
        whole = x.view(np.uint32)
        bits = (whole + np.uint32(0x7FFF) + ((whole >> 16) & 1)) >> 16
    return np.where(np.isnan(x), np.uint32(0x7FFF), bits)


def of_half(bits: Array, half: str) -> Array:
    """Return the float32 values of 16-bit floats, given in the lower half of each word."""
    bits = np.asarray(bits).astype(np.uint32) & 0xFFFF
    wide = bits << 16
    values: Array = wide.view(np.float32)
    if half == "f16":
        values = bits.astype(np.uint16).view(np.float16).astype(np.float32)
    return values


def _words(low: Array, high: Array) -> Array:
    words: Array = (low | (high << 16)).view(np.int32)
    return words


def exp2(x: Array) -> Array:
    """Return 2 to the power of x."""
    found: Array = np.exp2(np.asarray(x, np.float32))
    return found


def reciprocal(x: Array) -> Array:
    """Return 1 / x."""
    found: Array = np.float32(1) / np.asarray(x, np.float32)
    return found


def split_word(h: Array, half: str) -> Array:
    """Return ``h`` rounded to 16 bits, and above it what that leaves, rounded to 16 bits."""
    h = np.asarray(h, np.float32)
    high = to_half(h, half)
    return _words(high, to_half(h - of_half(high, half), half))


def pair_word(h: Array, half: str) -> Array:
    """Return ``h`` of this lane and above it that of lane + 4, the next unit; both in 16 bits."""
    lanes = np.arange(len(h))
    return _words(to_half(h, half), to_half(np.asarray(h)[lanes ^ 4], half))


def word_values(word: Array, half: str) -> tuple[Array, Array]:
    """Return the values of the lower and of the upper half of words."""
    word = np.asarray(word, np.int32).view(np.uint32)
    return of_half(word, half), of_half(word >> 16, half)


def half_columns(first: Array, second: Array) -> Array:
    """Of two words, return both lower halves in lanes of even columns, else both upper halves."""
    first, second = (np.asarray(v, np.int32).view(np.uint32) for v in (first, second))
    even = (np.arange(len(first)) % LANES) // 4 % 2 == 0
    return np.where(
        even, (first & 0xFFFF) | (second << 16), (first >> 16) | (second & 0xFFFF0000)
    ).view(np.int32)


def mma(a: Sequence[Array], b: Sequence[Array], c: Sequence[Array], half: str) -> list[Array]:
    """Return ``c + A·B`` of each warp, m16n8k16: a in 4 registers, b in 2, c and result in 4."""

    def pairs(register: Array) -> Array:  # (warp, lane // 4, lane % 4, 2)
        return np.stack(word_values(register, half), -1).reshape(WARPS, 8, 4, 2)

    A = np.zeros((WARPS, 16, 16))
    B = np.zeros((WARPS, 16, 8))
    C = np.zeros((WARPS, 16, 8))
    for r, register in enumerate(a):
        rows, columns = slice(8 * (r % 2), 8 * (r % 2) + 8), slice(8 * (r // 2), 8 * (r // 2) + 8)
        A[:, rows, columns] = pairs(register).reshape(WARPS, 8, 8)
    for r, register in enumerate(b):
        B[:, 8 * r : 8 * r + 8] = pairs(register).reshape(WARPS, 8, 8).transpose(0, 2, 1)
    for r, register in enumerate(c):
        C[:, 8 * (r // 2) : 8 * (r // 2) + 8, r % 2 :: 2] = np.asarray(register).reshape(
            WARPS, 8, 4
        )
    D = (A @ B + C).astype(np.float32)
    return [D[:, 8 * (r // 2) : 8 * (r // 2) + 8, r % 2 :: 2].reshape(-1) for r in range(4)]


def quad(x: Array) -> list[Array]:
    """Return the values of the four lanes of each quad, to all four."""
    values = np.asarray(x).reshape(-1, 4)
    return [np.repeat(values[:, lane], 4) for lane in range(4)]


def _sums_geometry(units: int) -> tuple[int, int]:
    """Words from a row of sums to the next, and from a warp's part to the next."""
    stride = 4 * units + 8
    return stride, 64 // units * stride if units == 16 else 8 * stride


def sum_over_warps(partials: Sequence[Array], sums: int, units: int) -> list[Array]:
    """Return what ``sums`` sums over the warps are at each thread."""
    thread = np.arange(LANES * WARPS)
    lane, warp = thread % LANES, thread // LANES
    stride, part = _sums_geometry(units)
    second = 32 if units == 16 else 4 * stride
    store = warp * part + lane % 4 * stride + lane // 4 * 4
    load = thread // (4 * units) * stride + thread % (4 * units)
    found: list[Array] = []
    for s in range(sums):
        memory = np.full(WARPS * part, np.nan, np.float32)
        for place, values in enumerate(partials[8 * s : 8 * s + 8]):
            memory[store + place // 4 * second + place % 4] = values
        of_warps = np.stack([memory[load + w * part] for w in range(WARPS)])
        found.append(of_warps.sum(0, dtype=np.float32))
    return found


def row_moments(
    sums: Sequence[Array], squares: Sequence[Array], rows: Sequence[Array], split: bool
) -> tuple[list[Array], list[Array]]:
    """Return sum and sum of squares of the rows ``rows`` of a group, over lanes and warps."""
    columns = 1 if not split else 2
    totals = []
    for moments in (sums, squares):
        # (tile, warp, row of the tile, lanes of the row)
        lanes = np.stack([np.asarray(v, np.float32) for v in moments])
        per_row = lanes.reshape(len(lanes), WARPS, 8 // columns, 4 * columns).sum((1, 3))
        totals.append(per_row.reshape(-1))
    return [totals[0][row] for row in rows], [totals[1][row] for row in rows]
