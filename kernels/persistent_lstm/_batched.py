"""The batched kernel: one layer in a launch, 32 rows or more, weights in shared memory.

Legend: B rows, T timesteps, H hidden size, U units that a program owns, K = NK * KT >= H columns
in NK tiles, N >= B columns of the product. From about 32 rows on, the product is worth the tensor
cores' larger shapes, which read the weights straight from shared memory; ``h`` crosses as 16 bits
(as 32 with SPLIT). The products with W_ih are one matrix product a chunk, outside.

The loop is a ``for`` on purpose: it is what keeps the weights in shared memory here.
"""

from __future__ import annotations

import triton
import triton.language as tl

from ._device import cell, is_waiting, publish16, publish32

__all__ = ["batched_kernel"]


@triton.jit(do_not_specialize=["T", "limit"])
def batched_kernel(
    x,  # (T, B, 4H) float32: W_ih·x + b, packed: (H/U, 4, U)
    w_hh,  # (H/U, NK, 4U, KT)
    h_0,  # (B, H) float32
    C_0,  # (B, H) float32
    lengths,  # (B,) int32: rows stand still from their length on; ragged only
    hs,  # (T + 1, B, H) bits, filled with the sentinel; slot 0 holds h_0
    y,  # (T, B, H) float32, out
    h_T,  # (B, H) float32, out
    C_T,  # (B, H) float32, out
    error,  # (2,) int32: timestep + 1 and program of a wait that took too long
    T,
    limit,  # polls before a wait gives up
    B: tl.constexpr,
    H: tl.constexpr,
    U: tl.constexpr,
    NK: tl.constexpr,
    KT: tl.constexpr,
    N: tl.constexpr,
    SPLIT: tl.constexpr,
    RAGGED: tl.constexpr,
):
    R: tl.constexpr = 4 * U
    S: tl.constexpr = B * H
    program = tl.program_id(0)
    r = tl.arange(0, R)
    k = tl.arange(0, KT)
    n = tl.arange(0, N)
    weights = ()
    for tile in tl.static_range(NK):
        pointer = w_hh + (program * NK + tile) * (R * KT) + r[:, None] * KT + k[None, :]
        weights = weights + (tl.load(pointer),)  # noqa: RUF005 - Triton has no unpacking

    own = (program * U + tl.arange(0, U))[:, None] + n[None, :] * H
    mask = (n < B)[None, :]
    h = tl.load(h_0 + own, mask=mask, other=0.0)
    C = tl.load(C_0 + own, mask=mask, other=0.0)
    if RAGGED:
        length = tl.load(lengths + n, mask=n < B, other=0)
    if SPLIT:
        tl.store(hs + own, publish32(h), mask=mask, cache_modifier=".cg")
    else:
        bits = publish16(h.to(w_hh.dtype.element_ty))
        tl.store(hs + own, bits, mask=mask, cache_modifier=".cg")

    failed = 0
    for t in range(T):
        rows = program * R + r[:, None] + n[None, :] * (4 * H)
        a = tl.load(x + t * (4 * S) + rows, mask=mask, other=0.0, volatile=True)
        for tile in tl.static_range(NK):
            columns = tile * KT + k
            words = hs + t * S + n[:, None] * H + columns[None, :]
            wanted = (n < B)[:, None] & (columns < H)[None, :]
            bits = tl.load(words, mask=wanted, other=0, volatile=True)
            polls = 0
            while (polls < limit) & is_waiting(bits, N * KT):
                bits = tl.load(words, mask=wanted, other=0, volatile=True)
                polls += 1
            # Once a wait has failed, later ones see limit 0 and end at once.
            failed = tl.where((failed == 0) & (polls == limit), t + 1, failed)
            if SPLIT:
                v = bits.to(tl.float32, bitcast=True)
                high = v.to(w_hh.dtype.element_ty)
                low = (v - high.to(tl.float32)).to(w_hh.dtype.element_ty)
                a = tl.dot(weights[tile], tl.trans(high), a)
                a = tl.dot(weights[tile], tl.trans(low), a)
            else:
                v = bits.to(w_hh.dtype.element_ty, bitcast=True)
                a = tl.dot(weights[tile], tl.trans(v), a)
        limit = tl.where(failed != 0, 0, limit)
        h_next, C_next = cell(a, C, U, N)
        if RAGGED:
            live = (t < length)[None, :]
            h_next = tl.where(live, h_next, h)
            C_next = tl.where(live, C_next, C)
        h = h_next
        C = C_next
        # A program that gave up publishes nothing: what is missing stays a NaN.
        stored = mask & (failed == 0)
        if SPLIT:
            tl.store(hs + (t + 1) * S + own, publish32(h), mask=stored, cache_modifier=".cg")
        else:
            bits = publish16(h.to(w_hh.dtype.element_ty))
            tl.store(hs + (t + 1) * S + own, bits, mask=stored, cache_modifier=".cg")
        tl.store(y + t * S + own, tl.where(failed == 0, h, float("nan")), mask=mask)
    if failed != 0:
        tl.store(error, failed)
        tl.store(error + 1, program)
        C += float("nan")
        h += float("nan")
    tl.store(h_T + own, h, mask=mask)
    tl.store(C_T + own, C, mask=mask)
