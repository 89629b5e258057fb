"""The wide kernel: a stack of layers in one launch for many rows, weights in shared memory.

Legend: L layers, B rows, T timesteps, H hidden size, I input size, U units of one layer that a
program owns, N >= B columns of the product. Grid and dataflow are those of ``_fragment``. What
differs pays from about 32 rows on: the tensor cores of sm_90 read the weights, (4U, K) in tiles of
KT columns, straight from shared memory, for all rows in one product; and as all of a row's words
are wanted at once, a counter a layer and timestep says that they are there, instead of each word.

``h`` crosses as 16-bit floats, with SPLIT as words of two: ``h`` in 16 bits and, above it, what
that leaves, each multiplied in turn. The loop is a ``for`` on purpose: it is what keeps the weights
in shared memory.
"""

from __future__ import annotations

import triton
import triton.language as tl
from triton import knobs

from ._device import clock, stamp
from ._fragment_parts import ptx

if knobs.runtime.interpret:
    from . import _interpreted as counters
else:
    from . import _counters as counters

__all__ = ["counters", "wide_kernel"]

LOG2_E = tl.constexpr(1.4426950408889634)
FIRST = tl.constexpr(-1)  # counters begin here: all bits set, as the rest of the memory


@triton.jit
def sigmoid(x):
    return ptx.reciprocal(1.0 + ptx.exp2(x * -LOG2_E))


@triton.jit
def tanh(x):
    return 2.0 * ptx.reciprocal(1.0 + ptx.exp2(x * (-2 * LOG2_E))) - 1.0


@triton.jit
def load_tiles(base, program, R: tl.constexpr, KT: tl.constexpr, NK: tl.constexpr):
    """Load NK tiles (R, KT) of a program's weights."""
    row = tl.arange(0, R)[:, None] * KT
    k = tl.arange(0, KT)[None, :]
    tiles = ()
    for i in tl.static_range(NK):
        tiles = tiles + (tl.load(base + (program * NK + i) * (R * KT) + row + k),)
    return tiles


@triton.jit
def halves(bits, like, SPLIT: tl.constexpr):
    """The 16-bit floats in words, high halves and what they leave; of floats, those alone."""
    if SPLIT:
        high = (bits & 0xFFFF).to(tl.int16).to(like.dtype, bitcast=True)
        low = ((bits >> 16) & 0xFFFF).to(tl.int16).to(like.dtype, bitcast=True)
        return high, low
    else:
        return bits, bits


@triton.jit
def multiply(
    tiles,
    base,
    a,
    N: tl.constexpr,
    B: tl.constexpr,
    WIDTH: tl.constexpr,
    KT: tl.constexpr,
    NK: tl.constexpr,
    SPLIT: tl.constexpr,
    MOMENTS: tl.constexpr,
):
    """Add W·h to a (R, N), of the B rows of WIDTH at ``base``; also sum each row and its squares.

    The next tile is on its way while one is multiplied.
    """
    at = tl.minimum(tl.arange(0, N), B - 1)[:, None] * WIDTH + tl.arange(0, KT)[None, :]
    # Neighbours, which one load brings to a thread, are summed first, and lanes once at the end.
    NEAR: tl.constexpr = 4 if SPLIT else 8
    sums = tl.zeros([N, KT // NEAR], tl.float32)
    squares = tl.zeros([N, KT // NEAR], tl.float32)
    # Volatile, so that weights are the only plain loads that there are.
    bits = tl.load(base + at, volatile=True)
    for i in tl.static_range(NK):
        high, low = halves(bits, tiles[i], SPLIT)
        if i + 1 < NK:
            bits = tl.load(base + at + (i + 1) * KT, volatile=True)
        if MOMENTS:
            value = high.to(tl.float32)
            if SPLIT:
                value += low.to(tl.float32)
            value = tl.reshape(value, [N, KT // NEAR, NEAR])
            sums += tl.sum(value, 2)
            squares += tl.sum(value * value, 2)
        a = tl.dot(tiles[i], tl.trans(high), a)
        if SPLIT:
            a = tl.dot(tiles[i], tl.trans(low), a)
    return a, sums, squares


@triton.jit
def publish(pointers, value, like, mask, SPLIT: tl.constexpr):
    """Store float32 values as they cross."""
    high = value.to(like.dtype)
    if SPLIT:
        low = (value - high.to(tl.float32)).to(like.dtype)
        word = high.to(tl.int16, bitcast=True).to(tl.int32) & 0xFFFF
        word = word | (low.to(tl.int16, bitcast=True).to(tl.int32) << 16)
        tl.store(pointers, word, mask=mask, cache_modifier=".cg")
    else:
        tl.store(pointers, high, mask=mask, cache_modifier=".cg")


@triton.jit(do_not_specialize=["T", "limit"])
def wide_kernel(
    x,  # (T, B, I) as it crosses: columns are filled up with zeros
    x_values,  # (T, B, H) float32; residual only
    w_ih,  # (L, H/U, NI, 4U, KT)
    w_hh,  # (L, H/U, NK, 4U, KT)
    bias,  # (L, H/U, 4U) float32
    row_sums,  # (L, H/U, 4U) float32, of W_ih; residual only
    h_0,  # (L, B, H) as it crosses
    C_0,  # (L, B, H) float32
    lengths,  # (B,) int32: rows stand still from their length on; ragged only
    hs,  # (L, T, B, H) as it crosses
    rs,  # (L - 1, T, B, H) as it crosses; residual only
    sums,  # (L - 1, T, B, H) float32; residual only
    done,  # (L, T) int32, filled with FIRST: programs that have published
    y,  # (T, B, H) float32, out
    h_T,  # (L, B, H) float32, out; ragged: rows of length 0 are not written
    C_T,  # (L, B, H) float32, out
    error,  # (2,) int32: timestep + 1 and program of a wait that took too long
    stamps,  # (programs, T + 2, 3) int64; timed only
    T,
    limit,  # polls before a wait gives up
    EPSILON: tl.constexpr,
    L: tl.constexpr,
    B: tl.constexpr,
    H: tl.constexpr,
    I: tl.constexpr,
    U: tl.constexpr,
    N: tl.constexpr,
    KT: tl.constexpr,
    SPLIT: tl.constexpr,
    RESIDUAL: tl.constexpr,
    RAGGED: tl.constexpr,
    TIMED: tl.constexpr,
    PTX: tl.constexpr,  # a digest of the inline PTX, which Triton's cache does not look into
):
    PARTS: tl.constexpr = H // U
    R: tl.constexpr = 4 * U
    S: tl.constexpr = B * H
    NI: tl.constexpr = I // KT
    NK: tl.constexpr = H // KT
    program = tl.program_id(0)
    layer = program // PARTS
    part = program % PARTS
    n = tl.arange(0, N)
    if TIMED:
        stamp(stamps, program, 0, T)
    input_tiles = load_tiles(w_ih, program, R, KT, NI)
    recurrent_tiles = load_tiles(w_hh, program, R, KT, NK)
    b = tl.load(bias + program * R + tl.arange(0, R))
    if RESIDUAL:
        row_sum = tl.load(row_sums + program * R + tl.arange(0, R))

    own = (part * U + tl.arange(0, U))[:, None] + n[None, :] * H
    mask = (n < B)[None, :]
    h_last = tl.zeros([U, N], tl.float32)
    if RAGGED:
        length = tl.load(lengths + n, mask=n < B, other=0, volatile=True)
    C = tl.load(C_0 + layer * S + own, mask=mask, other=0.0)
    below = tl.where(layer == 0, x, (rs if RESIDUAL else hs) + (layer - 1) * T * S)
    x_step = tl.where(layer == 0, B * I, S)
    done_below = done + tl.maximum(layer - 1, 0) * T
    if RESIDUAL:
        values_below = tl.where(layer == 0, x_values, sums + (layer - 1) * T * S)
        values = tl.where(layer == L - 1, y, sums + layer * T * S)
        rs += layer * T * S
    hs += layer * T * S
    h_0 += layer * S
    done += layer * T
    wanted = FIRST + PARTS

    failed = 0
    for t in range(T):
        left = counters.wait_for(done_below + t, tl.where(layer == 0, FIRST, wanted), limit)
        failed = tl.where((left < 0) & (failed == 0), t + 1, failed)
        limit = tl.where(failed != 0, 0, limit)
        a = tl.zeros([R, N], tl.float32)
        a, sums_of_x, squares_of_x = multiply(
            input_tiles, below + t * x_step, a, N, B, I, KT, NI, SPLIT, RESIDUAL
        )
        if RESIDUAL:
            # The norm is taken after the product: both are linear in the row's mean and scale.
            mean = tl.sum(sums_of_x, 1) / H
            scale = tl.rsqrt(tl.sum(squares_of_x, 1) / H - mean * mean + EPSILON)
            a = (a - row_sum[:, None] * mean[None, :]) * scale[None, :]
            r_below = tl.load(values_below + t * S + own, mask=mask, other=0.0, volatile=True)
        a += b[:, None]
        if TIMED:
            clock_input = clock()
        left = counters.wait_for(
            done + tl.maximum(t - 1, 0), tl.where(t == 0, FIRST, wanted), limit
        )
        failed = tl.where((left < 0) & (failed == 0), t + 1, failed)
        limit = tl.where(failed != 0, 0, limit)
        if TIMED:
            clock_state = clock()
        before = tl.where(t == 0, h_0, hs + (t - 1) * S)
        a, _, _ = multiply(recurrent_tiles, before, a, N, B, H, KT, NK, SPLIT, False)
        # A unit's four gates lie in one thread, so this shuffle costs no data movement.
        gates = tl.permute(tl.reshape(a, [2, 2, U, N]), [2, 3, 0, 1])
        i_and_g, f_and_o = tl.split(gates)
        i, g = tl.split(i_and_g)
        f, o = tl.split(f_and_o)
        C_new = sigmoid(f) * C + sigmoid(i) * tanh(g)
        h = sigmoid(o) * tanh(C_new)
        # A program that gave up says so to nobody, and all that it gives is NaN.
        h = tl.where(failed == 0, h, float("nan"))
        publish(hs + t * S + own, h, recurrent_tiles[0], mask, SPLIT)
        if RESIDUAL:
            r = r_below + h
            tl.store(values + t * S + own, r, mask=mask, cache_modifier=".cg")
            publish(rs + t * S + own, r, recurrent_tiles[0], mask & (layer < L - 1), SPLIT)
        else:
            tl.store(y + t * S + own, h, mask=mask & (layer == L - 1))
        counters.arrive(done + t, tl.where(failed == 0, 1, 0))
        if RAGGED:
            live = (t < length)[None, :]
            C = tl.where(live, C_new, C)
            h_last = tl.where(live, h, h_last)
        else:
            C = C_new
            h_last = h
        if TIMED:
            times = stamps + (program * (T + 2) + 1 + t) * 3
            tl.store(times, clock_input)
            tl.store(times + 1, clock_state)
            tl.store(times + 2, clock())
    if failed != 0:
        tl.store(error, failed)
        tl.store(error + 1, program)
        C += float("nan")
    if RAGGED:
        tl.store(h_T + layer * S + own, h_last, mask=mask & (length > 0)[None, :])
    else:
        tl.store(h_T + layer * S + own, h_last, mask=mask)
    tl.store(C_T + layer * S + own, C, mask=mask)
    if TIMED:
        stamp(stamps, program, T + 1, T)
