"""The dataflow kernel: a stack of layers in one launch, weights in registers.

Legend: L layers, B rows, T timesteps, H hidden size, U units of one layer that a program owns,
K = KB * KW >= H columns, N >= B columns of the product. A program holds the 4U rows of its units'
W_ih and W_hh, tiled (KB, 4U, KW) so that each of KB warps multiplies a slice of K.

The grid is L * H / U programs. A program waits for its input ``r_l[t]`` (the layer below) and for
``h_l[t-1]`` (its own layer), updates its cells and publishes ``h_l[t]``. So the layers pipeline by
themselves, T + L - 1 exchanges in all, and the work on the input, which is there early, hides
behind the exchange of ``h``.

The loop is a ``while`` on purpose: in a ``for`` the compiler moves the weights from registers to
shared memory and reads all of them again in every step.
"""

from __future__ import annotations

import triton
import triton.language as tl

from ._device import cell, clock, is_waiting, publish32, stamp

__all__ = ["stack_kernel"]


@triton.jit
def wait(pointer, mask, limit, SIZE: tl.constexpr):
    """Load words until none is the sentinel; also return whether ``limit`` polls were too few."""
    bits = tl.load(pointer, mask=mask, other=0, volatile=True)
    polls = 0
    while (polls < limit) & is_waiting(bits, SIZE):
        bits = tl.load(pointer, mask=mask, other=0, volatile=True)
        polls += 1
    return bits, (limit > 0) & (polls == limit)


@triton.jit
def multiply(w, v, a, B: tl.constexpr, N: tl.constexpr, SPLIT: tl.constexpr):
    """Add W·v: w (KB, 4U, KW), v (KB, N, KW) float32; a is (4U, N) for float32 weights, which
    the tensor cores cannot take without rounding, and (KB, 4U, N) for others."""
    if w.dtype == tl.float32:
        n = tl.arange(0, N)
        for row in tl.static_range(B):
            column = tl.sum(tl.where(n[None, :, None] == row, v, 0.0), 1)
            product = tl.sum(tl.sum(w * column[:, None, :], 2), 0)
            a = tl.where(n[None, :] == row, a + product[:, None], a)
    else:
        v = tl.trans(v, 0, 2, 1)
        high = v.to(w.dtype)
        a = tl.dot(w, high, a)
        if SPLIT:
            a = tl.dot(w, (v - high.to(tl.float32)).to(w.dtype), a)
    return a


@triton.jit
def add_parts(parts, KB: tl.constexpr, R: tl.constexpr, N: tl.constexpr):
    """Sum (KB, R, N) over its parts, of which each warp has one, to (R, N).

    Left to itself, the compiler gives the sums to every warp, and all of them compute all cells.
    The gathers change no value and make it choose a layout in which each warp has a share.
    """
    if N >= 16:
        parts = tl.reshape(parts, (KB, 4, R // 4 * N))
        same = tl.broadcast_to(tl.arange(0, R // 4 * N)[None, None, :], parts.shape)
        parts = tl.reshape(tl.gather(parts, same, 2), (KB, R, N))
    else:
        same = tl.broadcast_to(tl.arange(0, R)[None, :, None], parts.shape)
        parts = tl.gather(parts, same, 1)
    return tl.sum(parts, 0)


@triton.jit(do_not_specialize=["T", "limit"])
def stack_kernel(
    x,  # (T, B, H) float32 bits; projected: (T, B, 4H) bits of W_ih·x + b, packed
    w_ih,  # (L, H/U, KB, 4U, KW); projected: not read
    w_hh,  # (L, H/U, KB, 4U, KW)
    bias,  # (L, 4H) float32, packed: (H/U, 4, U); projected: not read
    h_0,  # (L, B, H) float32 bits
    C_0,  # (L, B, H) float32
    lengths,  # (B,) int32: rows stand still from their length on; ragged only
    hs,  # (L, T, B, H) float32 bits, filled with the sentinel
    rs,  # (L, T, B, H) float32 bits, filled with the sentinel; residual only
    h_T,  # (L, B, H) float32, out
    C_T,  # (L, B, H) float32, out
    error,  # (2,) int32: timestep + 1 and program of a wait that took too long
    stamps,  # (programs, T + 2, 3) int64; timed only
    T,
    limit,  # polls before a wait gives up
    EPSILON: tl.constexpr,
    B: tl.constexpr,
    H: tl.constexpr,
    U: tl.constexpr,
    KB: tl.constexpr,
    KW: tl.constexpr,
    N: tl.constexpr,
    SPLIT: tl.constexpr,
    RESIDUAL: tl.constexpr,
    PROJECTED: tl.constexpr,
    RAGGED: tl.constexpr,
    TIMED: tl.constexpr,
):
    PARTS: tl.constexpr = H // U
    R: tl.constexpr = 4 * U
    SIZE: tl.constexpr = KB * N * KW
    S: tl.constexpr = B * H
    program = tl.program_id(0)
    layer = program // PARTS
    part = program % PARTS
    kb = tl.arange(0, KB)
    r = tl.arange(0, R)
    kw = tl.arange(0, KW)
    n = tl.arange(0, N)
    if TIMED:
        stamp(stamps, program, 0, T)

    tile = kb[:, None, None] * (R * KW) + r[None, :, None] * KW + kw[None, None, :]
    w_recurrent = tl.load(w_hh + program * (KB * R * KW) + tile)
    if not PROJECTED:
        w_input = tl.load(w_ih + program * (KB * R * KW) + tile)
        b = tl.load(bias + program * R + r)

    k = kb[:, None, None] * KW + kw[None, None, :]
    vector = k + n[None, :, None] * H
    vector_mask = (n < B)[None, :, None] & (k < H)
    own = (part * U + tl.arange(0, U))[:, None] + n[None, :] * H
    own_mask = (n < B)[None, :]
    C = tl.load(C_0 + layer * S + own, mask=own_mask, other=0.0)
    h = tl.load(h_0 + layer * S + own, mask=own_mask, other=0).to(tl.float32, bitcast=True)
    if RAGGED:
        length = tl.load(lengths + n, mask=n < B, other=0)
    below = tl.where(layer == 0, x, (rs if RESIDUAL else hs) + (layer - 1) * T * S)
    hs += layer * T * S
    rs += layer * T * S

    t = 0
    while t < T:
        failed = T < 0
        if PROJECTED:
            rows = part * R + r[:, None] + n[None, :] * (4 * H)
            # Volatile, so that weights are the only plain loads that there are.
            a = tl.load(x + t * (4 * S) + rows, mask=own_mask, other=0, volatile=True)
            a = a.to(tl.float32, bitcast=True)
            if w_hh.dtype.element_ty == tl.float32:
                partial = tl.zeros([R, N], tl.float32)
            else:
                partial = tl.zeros([KB, R, N], tl.float32)
        else:
            bits, failed = wait(
                below + t * S + vector, vector_mask, tl.where(layer == 0, 0, limit), SIZE
            )
            v = bits.to(tl.float32, bitcast=True)
            if RESIDUAL:
                mean = tl.sum(tl.sum(v, 2), 0) / H
                v = tl.where(vector_mask, v - mean[None, :, None], 0.0)
                variance = tl.sum(tl.sum(v * v, 2), 0) / H
                v *= tl.rsqrt(variance + EPSILON)[None, :, None]
            if w_hh.dtype.element_ty == tl.float32:
                partial = tl.zeros([R, N], tl.float32)
            else:
                partial = tl.zeros([KB, R, N], tl.float32)
            partial = multiply(w_input, v, partial, B, N, SPLIT)
        if TIMED:
            clock_input = clock()

        before = tl.where(t == 0, h_0 + layer * S, hs + (t - 1) * S)
        bits, late = wait(before + vector, vector_mask, tl.where(t == 0, 0, limit), SIZE)
        failed = failed | late
        if TIMED:
            clock_state = clock()
        v = bits.to(tl.float32, bitcast=True)
        partial = multiply(w_recurrent, v, partial, B, N, SPLIT)
        if w_hh.dtype.element_ty != tl.float32:
            # Slices of 128 columns take all registers that there are; add_parts would spill.
            crowded: tl.constexpr = PROJECTED and KW > 64
            partial = tl.sum(partial, 0) if crowded else add_parts(partial, KB, R, N)
        if PROJECTED:
            a += partial
        else:
            a = partial + b[:, None]
        if RESIDUAL:
            r_own = tl.load(below + t * S + own, mask=own_mask, other=0, volatile=True)
        h_next, C_next = cell(a, C, U, N)
        if RAGGED:
            live = (t < length)[None, :]
            h_next = tl.where(live, h_next, h)
            C_next = tl.where(live, C_next, C)
        h = h_next
        C = C_next
        # A program that gave up publishes nothing: what is missing stays a NaN.
        stored = own_mask & ~failed
        tl.store(hs + t * S + own, publish32(h), mask=stored, cache_modifier=".cg")
        if RESIDUAL:
            r_next = r_own.to(tl.float32, bitcast=True) + h
            tl.store(rs + t * S + own, publish32(r_next), mask=stored, cache_modifier=".cg")
        if TIMED:
            times = stamps + (program * (T + 2) + 1 + t) * 3
            tl.store(times, clock_input)
            tl.store(times + 1, clock_state)
            tl.store(times + 2, clock())
        if failed:
            tl.store(error, t + 1)
            tl.store(error + 1, program)
            C += float("nan")
            h += float("nan")
            t = T
        t += 1
    tl.store(h_T + layer * S + own, h, mask=own_mask)
    tl.store(C_T + layer * S + own, C, mask=own_mask)
    if TIMED:
        stamp(stamps, program, T + 1, T)
