"""The fragment kernel: a stack of layers in one launch, for 1 to 128 rows.

Legend: L layers, B rows, T timesteps, H hidden size, I input size, U units of one layer that a
program owns. Every tensor has 256 elements, one a thread, so that no layout is left to the
compiler; what passes between threads is inline PTX (``_ptx.py``), and which thread holds what is
in ``_layout.py``. The grid is L * H / U programs. A program waits for its input (the layer below)
and for ``h`` of its own layer, updates its cells and publishes ``h``: so the layers pipeline by
themselves, T + L - 1 exchanges in all. The loop is a ``while`` on purpose: in a ``for``, Triton
moves weights to shared memory.

- Weights are packed on the host in the order of the tensor cores' fragments and go straight to
  registers. Each warp multiplies its own slice of K; a sum over warps follows, the one barrier.
- A word of the exchange is ``h`` in 16 bits and, above it, what that leaves (``split``), or two
  units' ``h``. Both halves are columns of one product: there is no second one for the low half.
- Each thread waits for just the words that it multiplies, without a vote.
- Each thread computes one gate of one unit.
- Rows beyond one product run in groups that take turns in the same loop, so that the exchange of
  one group hides behind the work on the others.
- The words that are next are loaded early, and looked at when their turn comes.
"""

from __future__ import annotations

import triton
import triton.language as tl

from ._device import clock, publish32, stamp
from ._fragment_parts import (
    at,
    first_word,
    fragments_of_h,
    last_timestep,
    load_fragments,
    moments,
    multiply,
    partial_sums,
    ptx,
    word_offsets,
    zeros,
)
from ._once import gather_cells, gathered, leave, publish_state, publish_x, refill, take_turn

__all__ = ["fragment_kernel"]

LOG2_E = tl.constexpr(1.4426950408889634)
NO_FAILURE = tl.constexpr(-(2**31))


@triton.jit(do_not_specialize=["T", "limit", "capacity"])
def fragment_kernel(
    x,  # (T, B, I) words: columns are filled up with zeros
    x_values,  # (T, B, H) float32 bits; residual only. Once: (T, B, INPUTS), and x is not read
    w_ih,  # (L, H/U, U/4 * KI, 256, 4) int32: fragments of 16-bit floats
    w_hh,  # (L, H/U, U/4 * KT, 256, 4)
    bias,  # (L, H/U, U, 4) float32
    row_sums,  # (L, H/U, U, 4) float32, of W_ih; residual only
    h_0,  # (L, B, H) words; once: float32 bits; gather: a table of rows, see _once
    C_0,  # (L, B, H) float32
    lengths,  # (B,) int32: rows stand still from their length on; ragged only
    hs,  # (L, T, B, H) words, filled with the sentinel; once: memory of all words, see _once
    rs,  # (L - 1, T, B, H) words, filled with the sentinel; residual only
    sums,  # (L - 1, T, B, H) float32 bits, filled with the sentinel; residual only
    y,  # (T, B, H) float32 bits, out
    h_T,  # (L, B, H) float32, out; ragged: rows of length 0 are not written
    C_T,  # (L, B, H) float32, out; and where C is between the turns of a group
    error,  # (2,) int32: timestep + 1 and program of a wait that took too long
    stamps,  # (programs, T + 2, 3) int64; timed only
    T,
    limit,  # polls before a wait gives up
    capacity,  # words of a buffer of the memory; once only
    EPSILON: tl.constexpr,
    L: tl.constexpr,
    B: tl.constexpr,
    H: tl.constexpr,
    I: tl.constexpr,
    U: tl.constexpr,
    KI: tl.constexpr,  # k tiles of a warp, see _layout
    KT: tl.constexpr,
    TILES: tl.constexpr,  # of h, in a group of rows
    HALF: tl.constexpr,  # bf16 or f16
    SPLIT: tl.constexpr,
    RESIDUAL: tl.constexpr,
    RAGGED: tl.constexpr,
    TIMED: tl.constexpr,
    ONCE: tl.constexpr,  # one launch: x and h_0 become words here, and the memory is kept ready
    GATHER: tl.constexpr,  # rows of states that lie anywhere; once only
    INPUTS: tl.constexpr,  # columns of x
    PTX: tl.constexpr,  # a digest of the inline PTX, which Triton's cache does not look into
):
    PARTS: tl.constexpr = H // U
    ROWS: tl.constexpr = 4 if SPLIT else 8  # of a tile of 8 columns
    COLUMNS: tl.constexpr = 1 if SPLIT or B == 1 else 2  # that a lane's sums keep apart
    FOURS: tl.constexpr = TILES * COLUMNS * (U // 8)
    SUMS: tl.constexpr = (FOURS + 1) // 2
    GROUP: tl.constexpr = ROWS * TILES
    GROUPS: tl.constexpr = (B + GROUP - 1) // GROUP
    S: tl.constexpr = B * H
    W: tl.constexpr = H if SPLIT else H // 2
    XW: tl.constexpr = I if SPLIT else I // 2
    SW: tl.constexpr = B * W
    X_WORDS: tl.constexpr = KI * (4 if SPLIT else 2)  # of a thread and tile
    H_WORDS: tl.constexpr = KT * (4 if SPLIT else 2)
    ACCUMULATORS: tl.constexpr = TILES * U
    program = tl.program_id(0)
    layer = program // PARTS
    part = program % PARTS
    thread = tl.arange(0, 256)
    lane = thread % 32
    warp = thread // 32
    if TIMED:
        stamp(stamps, program, 0, T)
    if ONCE:
        memory = hs
        x, other, used = take_turn(memory, capacity)
        state = h_0
        h_0 = x + T * B * XW
        hs = h_0 + L * SW
        rs = hs + L * T * SW
        sums = rs + ((L - 1) * T * SW if RESIDUAL else 0)
        publish_x(x_values, x, T * B, program, L * PARTS, INPUTS, XW, HALF, SPLIT)
        publish_state(
            state,
            h_0 + layer * SW,
            h_T + layer * S,
            lengths,
            layer,
            part,
            B,
            H,
            U,
            HALF,
            SPLIT,
            RAGGED,
            GATHER,
        )
    w_input = load_fragments(w_ih + program * (U * KI * 256), thread, U // 4 * KI)
    w_recurrent = load_fragments(w_hh + program * (U * KT * 256), thread, U // 4 * KT)
    b = tl.load(bias + program * (4 * U) + thread % (4 * U))
    if RESIDUAL:
        row_sum = tl.load(row_sums + program * (4 * U) + thread % (4 * U))

    # A thread's cells: gate, unit, and one row of each sum.
    gate = thread % 4
    unit = (thread // 4) % U
    place = thread // (4 * U)
    rows = ()
    for s in tl.static_range(SUMS):
        if U == 16:
            rows = rows + (ROWS * (s // COLUMNS) + COLUMNS * place + s % COLUMNS,)
        elif COLUMNS == 2:
            rows = rows + (ROWS * s + 2 * (place % 4) + place // 4,)
        else:
            rows = rows + (8 * s + place,)
    rows_there = ()
    for s in tl.static_range(SUMS):
        rows_there = rows_there + (tl.minimum(rows[s], GROUP - 1),)
    # tanh(a) = 2 σ(2 a) - 1, so that all gates take the same instructions.
    slope = tl.where(gate == 2, -2 * LOG2_E, -LOG2_E)
    scale = tl.where(gate == 2, 2.0, 1.0)
    offset = tl.where(gate == 2, -1.0, 0.0)

    x_first = first_word(warp, lane, I, KI, SPLIT)
    h_first = first_word(warp, lane, H, KT, SPLIT)
    own = part * U + unit
    below = tl.where(layer == 0, x, (rs if RESIDUAL else hs) + (layer - 1) * T * SW)
    x_step = tl.where(layer == 0, B * XW, SW)
    hs += layer * T * SW
    h_0 += layer * SW
    C_0 += layer * S
    C_T += layer * S
    h_T += layer * S
    if RESIDUAL:
        values_below = tl.where(layer == 0, x_values, sums + (layer - 1) * T * S)
        values = tl.where(layer == L - 1, y, sums + layer * T * S)
        rs += layer * T * SW
    left = tl.zeros([256], tl.int32) + limit
    kept = ()
    kept_last = ()
    if GROUPS == 1:
        for s in tl.static_range(SUMS):
            row = tl.minimum(rows[s], B - 1)
            if GATHER:
                C_row = gathered(state, 1, row, layer, B) + own
                kept = kept + (tl.load(C_row, volatile=True).to(tl.float32, bitcast=True),)
            else:
                kept = kept + (tl.load(C_0 + row * H + own),)
            kept_last = kept_last + (last_timestep(lengths + row, T, RAGGED),)

    if GATHER and GROUPS > 1:
        gather_cells(state, C_T, rows, own, gate, layer, B, H, GROUP, GROUPS, SUMS)
        C_0 = C_T
    if ONCE:
        refill(other, used, program, L * PARTS)

    x_words = ptx.issue(at(below, word_offsets(0, x_first, lane, B, XW, TILES, SPLIT)), X_WORDS)
    if GROUPS > 1:
        h_words = ptx.issue(at(h_0, word_offsets(0, h_first, lane, B, W, TILES, SPLIT)), H_WORDS)
    t = 0
    group = 0
    while t < T:
        if GROUPS == 1:
            C = kept
            last = kept_last
            next_group = 0
            next_t = t + 1
        else:
            next_group = tl.where(group + 1 < GROUPS, group + 1, 0)
            next_t = tl.where(next_group == 0, t + 1, t)
            C = ()
            last = ()
            for s in tl.static_range(SUMS):
                row = tl.minimum(group * GROUP + rows[s], B - 1)
                C_before = tl.where(t == 0, C_0, C_T) + row * H + own
                # Volatile, so that weights are the only plain loads that there are.
                C = C + (tl.load(C_before, volatile=True),)
                last = last + (last_timestep(lengths + row, T, RAGGED),)

        x_at = word_offsets(group, x_first, lane, B, XW, TILES, SPLIT)
        found = ptx.settle(x_words, at(below + t * x_step, x_at), left, X_WORDS)
        polls = found[TILES * X_WORDS]
        left = tl.where((polls < 0) & (left >= 0), -1 - t, left)
        if RESIDUAL:
            mine = ()
            for s in tl.static_range(SUMS):
                row = tl.minimum(group * GROUP + rows[s], B - 1)
                mine = mine + (values_below + t * S + row * H + own,)
            r_words = ptx.issue(mine, 1)
        fragments = fragments_of_h(found, lane, TILES * KI, SPLIT)
        c = multiply(w_input, fragments, zeros(ACCUMULATORS), TILES, U // 4, KI, HALF)
        a = ()
        if RESIDUAL:
            # The norm is taken after the product: both are linear in the row's mean and scale.
            first, second = moments(found, warp, lane, TILES, I, KI, SPLIT, HALF)
            partials = partial_sums(c, TILES, COLUMNS, U, SPLIT)
            found = ptx.moments_over_warps(
                partials, first, second, rows_there, thread, SUMS, U, SPLIT
            )
            for s in tl.static_range(SUMS):
                mean = found[SUMS + s] / H
                variance = found[2 * SUMS + s] / H - mean * mean
                a = a + (b + tl.rsqrt(variance + EPSILON) * (found[s] - mean * row_sum),)
            c = zeros(ACCUMULATORS)
        else:
            for _ in tl.static_range(SUMS):
                a = a + (b,)
        if TIMED:
            clock_input = clock()

        h_at = word_offsets(group, h_first, lane, B, W, TILES, SPLIT)
        before = tl.where(t == 0, h_0, hs + (t - 1) * SW)
        if GROUPS == 1:
            found = ptx.poll(at(before, h_at), left, H_WORDS)
        else:
            found = ptx.settle(h_words, at(before, h_at), left, H_WORDS)
        polls = found[TILES * H_WORDS]
        left = tl.where((polls < 0) & (left >= 0), -1 - t, left)
        if TIMED:
            clock_state = clock()
        # What is next, one turn ahead; after the last one, anything that can be read.
        x_at = word_offsets(next_group, x_first, lane, B, XW, TILES, SPLIT)
        x_words = ptx.issue(at(below + tl.minimum(next_t, T - 1) * x_step, x_at), X_WORDS)
        if GROUPS > 1:
            h_at = word_offsets(next_group, h_first, lane, B, W, TILES, SPLIT)
            before = tl.where(next_t == 0, h_0, hs + (next_t - 1) * SW)
            h_words = ptx.issue(at(before, h_at), H_WORDS)
        fragments = fragments_of_h(found, lane, TILES * KT, SPLIT)
        c = multiply(w_recurrent, fragments, c, TILES, U // 4, KT, HALF)
        partials = partial_sums(c, TILES, COLUMNS, U, SPLIT)
        turn = (t * GROUPS + group) & 1
        total = ptx.sum_over_warps(partials, thread, turn, SUMS, U, not RESIDUAL)
        if RESIDUAL:
            r_left = tl.where(layer == 0, -1, left)
            r_words = ptx.settle(r_words, mine, r_left, 1)
            late = (r_words[SUMS] < 0) & (left >= 0) & (layer > 0)
            left = tl.where(late, -1 - t, left)
        C_next = ()
        for s in tl.static_range(SUMS):
            row = group * GROUP + rows[s]
            stored = (row < B) & (gate == 0)
            if SUMS * 2 > FOURS:
                stored = stored & (rows[s] < GROUP)
            activation = ptx.reciprocal(1.0 + ptx.exp2(slope * (total[s] + a[s])))
            i, f, g, o = ptx.quad(scale * activation + offset)
            C_new = f * C[s] + i * g
            h = o * (2.0 * ptx.reciprocal(1.0 + ptx.exp2(C_new * (-2 * LOG2_E))) - 1.0)
            cell = row * H + own
            if SPLIT:
                word = ptx.split_word(h, HALF)
                tl.store(hs + t * SW + cell, word, mask=stored, cache_modifier=".cg")
            else:
                word = ptx.pair_word(h, HALF)
                even = stored & (unit % 2 == 0)
                tl.store(hs + t * SW + cell // 2, word, mask=even, cache_modifier=".cg")
            if RESIDUAL:
                r = publish32(r_words[s].to(tl.float32, bitcast=True) + h)
                tl.store(values + t * S + cell, r, mask=stored, cache_modifier=".cg")
                r = r.to(tl.float32, bitcast=True)
                if SPLIT:
                    word = ptx.split_word(r, HALF)
                    wanted = stored & (layer < L - 1)
                    tl.store(rs + t * SW + cell, word, mask=wanted, cache_modifier=".cg")
                else:
                    word = ptx.pair_word(r, HALF)
                    wanted = even & (layer < L - 1)
                    tl.store(rs + t * SW + cell // 2, word, mask=wanted, cache_modifier=".cg")
            else:
                tl.store(
                    y + t * S + cell, h.to(tl.int32, bitcast=True), mask=stored & (layer == L - 1)
                )
            tl.store(h_T + cell, h, mask=stored & (t == last[s]))
            if RAGGED:
                C_new = tl.where(t <= last[s], C_new, C[s])
            if GROUPS > 1:
                tl.store(C_T + cell, C_new, mask=stored)
            C_next = C_next + (C_new,)
        if GROUPS == 1:
            kept = C_next
        if TIMED:
            # Of rows that take turns: the first group's waits, and the last group's h.
            times = stamps + (program * (T + 2) + 1 + t) * 3
            tl.store(times, clock_input, mask=group == 0)
            tl.store(times + 1, clock_state, mask=group == 0)
            tl.store(times + 2, clock())
        t = next_t
        group = next_group
    if GROUPS == 1:
        for s in tl.static_range(SUMS):
            stored = (rows[s] < B) & (gate == 0)
            tl.store(C_T + rows[s] * H + own, kept[s], mask=stored)
    # What a thread did not get in time is a NaN by now, in the rows that wanted it.
    first_failure = tl.max(tl.where(left < 0, left, NO_FAILURE))
    if first_failure > NO_FAILURE:
        tl.store(error, -first_failure)
        tl.store(error + 1, program)
    if ONCE:
        if program == L * PARTS - 1:
            words: tl.constexpr = SW * L + (L - 1) * (SW + S) * RESIDUAL
            leave(memory, T * (B * XW + words) + L * SW)
    if TIMED:
        stamp(stamps, program, T + 1, T)
