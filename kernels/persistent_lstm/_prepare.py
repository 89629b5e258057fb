"""What the fragment kernel finds when it starts: words of x and h, and buffers without any.

One launch: the buffers of the exchange are filled with the sentinel, and x and the state's h
become words of the exchange, as ``_fragment`` explains them.
"""

from __future__ import annotations

import triton
import triton.language as tl

from ._device import SENTINEL

__all__ = ["BLOCK", "prepare_kernel"]

BLOCK = tl.constexpr(1024)  # words of a program


@triton.jit
def half_bits(value, HALF: tl.constexpr):
    """Round to 16 bits; return them as int32, and what they are worth."""
    rounded = value.to(tl.bfloat16 if HALF == "bf16" else tl.float16)
    bits = rounded.to(tl.int16, bitcast=True).to(tl.int32) & 0xFFFF
    return bits, rounded.to(tl.float32)


@triton.jit
def pack(
    values,  # (N, COLUMNS) float32
    words,  # (N, WIDTH) words out, or (N, WIDTH / 2) of two columns each
    index,
    count,
    COLUMNS: tl.constexpr,
    WIDTH: tl.constexpr,
    HALF: tl.constexpr,
    SPLIT: tl.constexpr,
):
    """Write the words that lie at ``index``, of columns beyond COLUMNS those of zero."""
    mask = index < count
    if SPLIT:
        column = index % WIDTH
        pointer = values + index // WIDTH * COLUMNS + column
        value = tl.load(pointer, mask=mask & (column < COLUMNS), other=0.0)
        low, worth = half_bits(value, HALF)
        high, _ = half_bits(value - worth, HALF)
    else:
        column = index % (WIDTH // 2) * 2
        pointer = values + index // (WIDTH // 2) * COLUMNS + column
        even = tl.load(pointer, mask=mask & (column < COLUMNS), other=0.0)
        odd = tl.load(pointer + 1, mask=mask & (column + 1 < COLUMNS), other=0.0)
        low, _ = half_bits(even, HALF)
        high, _ = half_bits(odd, HALF)
    tl.store(words + index, low | (high << 16), mask=mask)


@triton.jit
def clear(words, index, count):
    tl.store(words + index, tl.full([BLOCK], SENTINEL, tl.int32), mask=index < count)


@triton.jit(do_not_specialize=["empty", "x_count", "h_count", "state_count"])
def prepare_kernel(
    x,  # (T, B, I) float32
    h_0,  # (L, B, H) float32
    buffer,  # words: as many as empty, filled with the sentinel; then those of x; then those of h
    state,  # (2, L, B, H), filled with the sentinel, a NaN: results of who never writes any
    empty,
    x_count,
    h_count,
    state_count,
    COLUMNS: tl.constexpr,  # of x, I
    WIDTH: tl.constexpr,  # of a row of words of x, filled up
    H: tl.constexpr,
    HALF: tl.constexpr,
    SPLIT: tl.constexpr,
):
    block = tl.program_id(0)
    of_empty = tl.cdiv(empty, BLOCK)
    of_x = tl.cdiv(x_count, BLOCK)
    of_h = tl.cdiv(h_count, BLOCK)
    index = tl.arange(0, BLOCK)
    if block < of_empty:
        clear(buffer, block * BLOCK + index, empty)
    elif block < of_empty + of_x:
        index += (block - of_empty) * BLOCK
        pack(x, buffer + empty, index, x_count, COLUMNS, WIDTH, HALF, SPLIT)
    elif block < of_empty + of_x + of_h:
        index += (block - of_empty - of_x) * BLOCK
        pack(h_0, buffer + empty + x_count, index, h_count, H, H, HALF, SPLIT)
    else:
        clear(state, (block - of_empty - of_x - of_h) * BLOCK + index, state_count)
