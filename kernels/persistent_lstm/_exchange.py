"""The exchange alone: programs publish words and wait for each other's, and compute nothing.

In each exchange a program stores the U words of each of B rows that it owns and waits for all H
of its group, by the same loads and stores as the kernels of the LSTM, so that what a timestep
costs beyond this is known. As many groups of H / U programs run side by side as a launch has
layers.
"""

from __future__ import annotations

import triton
import triton.language as tl

from ._device import stamp
from ._stack import wait

__all__ = ["exchange_kernel"]


@triton.jit(do_not_specialize=["T", "limit"])
def exchange_kernel(
    words,  # (groups, T, B, H) int32, filled with the sentinel; exchange t writes t
    seen,  # (programs,) int32, out: the sum of all words that a program has read
    error,  # (2,) int32: exchange + 1 and program of a wait that took too long
    stamps,  # (programs, 2, 3) int64, out: when the first and when the last exchange was over
    T,
    limit,  # polls before a wait gives up
    B: tl.constexpr,
    H: tl.constexpr,
    U: tl.constexpr,
    N: tl.constexpr,
    TILES: tl.constexpr,
    KT: tl.constexpr,
):
    PARTS: tl.constexpr = H // U
    S: tl.constexpr = B * H
    program = tl.program_id(0)
    words += (program // PARTS) * T * S
    n = tl.arange(0, N)
    k = tl.arange(0, KT)
    own = ((program % PARTS) * U + tl.arange(0, U))[:, None] + n[None, :] * H
    own_mask = (n < B)[None, :]
    total = tl.zeros([N, KT], tl.int32)
    t = 0
    while t < T:
        value = tl.zeros([U, N], tl.int32) + t
        tl.store(words + t * S + own, value, mask=own_mask, cache_modifier=".cg")
        failed = T < 0
        for tile in range(TILES):
            columns = tile * KT + k
            pointer = words + t * S + n[:, None] * H + columns[None, :]
            wanted = (n < B)[:, None] & (columns < H)[None, :]
            bits, late = wait(pointer, wanted, limit, N * KT)
            failed = failed | late
            total += bits
        if t == 0:
            # From here on: the programs have all begun.
            stamp(stamps, program, 0, 0)
        if failed:
            tl.store(error, t + 1)
            tl.store(error + 1, program)
            t = T
        t += 1
    stamp(stamps, program, 1, 0)
    tl.store(seen + program, tl.sum(tl.sum(total, 1), 0))
