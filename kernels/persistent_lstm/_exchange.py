"""The exchange alone: programs publish words and wait for each other's, and compute nothing.

Legend: B rows of an exchange, W words of a row, OWN of them a program's. In each exchange a
program stores its words and each thread waits for just those that it would multiply, by the same
loads, polls and stores as the kernel of the LSTM, so that what a timestep costs beyond this is
known. As many groups of programs run side by side as a launch has layers.
"""

from __future__ import annotations

import triton
import triton.language as tl

from ._device import stamp
from ._fragment_parts import at, first_word, ptx, word_offsets

__all__ = ["exchange_kernel"]


@triton.jit(do_not_specialize=["T", "limit"])
def exchange_kernel(
    words,  # (groups, T, B, W) int32, filled with the sentinel; exchange t writes t
    seen,  # (programs, 256) int32, out: the sum of all words that a thread has read
    error,  # (2,) int32: exchange + 1 and program of a wait that took too long
    stamps,  # (programs, 2, 3) int64, out: when the first and when the last exchange was over
    T,
    limit,  # polls before a wait gives up
    B: tl.constexpr,
    H: tl.constexpr,
    U: tl.constexpr,
    KT: tl.constexpr,  # k tiles of a warp, see _layout
    TILES: tl.constexpr,  # of h, in a group of rows
    SPLIT: tl.constexpr,
    PTX: tl.constexpr,  # a digest of the inline PTX, which Triton's cache does not look into
):
    PARTS: tl.constexpr = H // U
    W: tl.constexpr = H if SPLIT else H // 2
    OWN: tl.constexpr = U if SPLIT else U // 2
    S: tl.constexpr = B * W
    COUNT: tl.constexpr = KT * (4 if SPLIT else 2)  # of a thread and tile
    ROWS: tl.constexpr = (4 if SPLIT else 8) * TILES
    GROUPS: tl.constexpr = (B + ROWS - 1) // ROWS
    STORES: tl.constexpr = (B * OWN + 255) // 256
    program = tl.program_id(0)
    words += (program // PARTS) * T * S
    thread = tl.arange(0, 256)
    lane = thread % 32
    first = first_word(thread // 32, lane, H, KT, SPLIT)
    total = tl.zeros([256], tl.int32)
    left = tl.zeros([256], tl.int32) + limit
    t = 0
    while t < T:
        for s in tl.static_range(STORES):
            index = s * 256 + thread
            own = index // OWN * W + (program % PARTS) * OWN + index % OWN
            value = tl.zeros([256], tl.int32) + t
            tl.store(words + t * S + own, value, mask=index < B * OWN, cache_modifier=".cg")
        for group in tl.static_range(GROUPS):
            offsets = word_offsets(group, first, lane, B, W, TILES, SPLIT)
            found = ptx.poll(at(words + t * S, offsets), left, COUNT)
            polls = found[TILES * COUNT]
            left = tl.where((polls < 0) & (left >= 0), -1 - t, left)
            for i in tl.static_range(TILES * COUNT):
                total += found[i]
        if t == 0:
            # From here on: the programs have all begun.
            stamp(stamps, program, 0, 0)
        t += 1
    stamp(stamps, program, 1, 0)
    first_failure = tl.max(tl.where(left < 0, left, -(2**31)))
    if first_failure > -(2**31):
        tl.store(error, -first_failure)
        tl.store(error + 1, program)
    tl.store(seen + program * 256 + thread, total)
