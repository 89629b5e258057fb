"""Triton kernels of the beam search: expand hypotheses, score candidates, merge equal ones.

Legend: B streams, K hypotheses of each, V columns of the log-posteriors, R transitions of a
hypothesis (blank, the same token again, silence, then one for each of R - 3 likely tokens),
M candidates of a stream. Every lane is one (stream, hypothesis, transition) or one candidate; no
lane waits for another, and nothing is added up in an order that could change.
"""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["count_kernel", "expand_kernel", "merge_kernel", "score_kernel"]

NOTHING = tl.constexpr(-1e30)  # score of what does not exist; infinity would give NaN
DEAD = tl.constexpr(-1e29)
NO_KEY = tl.constexpr(0x7FFFFFFFFFFFFFFF)
WORD_MASK = tl.constexpr(0xFFFFFF)
# Columns of the tree's nodes (rows of 8 int32, or of 4 int64) and of its words, see graph.tree.
FIRST_CHILD, FIRST_WORD, LOOK_AHEAD = tl.constexpr(0), tl.constexpr(1), tl.constexpr(2)
MASK64, WORDS, TOKENS = tl.constexpr(2), tl.constexpr(6), tl.constexpr(7)
WORD, LM_WORD, BEST = tl.constexpr(0), tl.constexpr(1), tl.constexpr(2)


@triton.jit
def popcount(x):
    """Count the bits of int64 that are set."""
    x = x - ((x >> 1) & 0x5555555555555555)
    x = (x & 0x3333333333333333) + ((x >> 2) & 0x3333333333333333)
    x = (x + (x >> 4)) & 0x0F0F0F0F0F0F0F0F
    return ((x * 0x0101010101010101) >> 56).to(tl.int32)


@triton.jit
def mix(x):
    """Hash int64, one to one (a finaliser as MurmurHash3's)."""
    x = (x ^ ((x >> 33) & 0x7FFFFFFF)) * 0x2545F4914F6CDD1D
    x = (x ^ ((x >> 29) & 0x7FFFFFFFF)) * 0x5851F42D4C957F2D
    return x ^ ((x >> 32) & 0xFFFFFFFF)


@triton.jit
def find_arc(state, word, active, state_arcs, arcs, SEARCH: tl.constexpr):
    """Return the arc of ``word`` in a state, -1 if there is none."""
    low = tl.load(state_arcs + state, mask=active, other=0)
    end = tl.load(state_arcs + state + 1, mask=active, other=0)
    high = end
    for _ in range(SEARCH):
        searching = active & (low < high)
        middle = low + ((high - low) >> 1)
        found = tl.load(arcs + middle, mask=searching, other=0) & WORD_MASK
        low = tl.where(searching & (found < word), middle + 1, low)
        high = tl.where(searching & (found >= word), middle, high)
    inside = active & (low < end)
    found = tl.load(arcs + low, mask=inside, other=0) & WORD_MASK
    return tl.where(inside & (found == word), low, -1)


@triton.jit
def lm_score(
    state,
    word,
    active,
    state_arcs,
    state_backoff,
    arcs,
    arc_states,
    arc_ranks,
    unigram,
    unigram_next,
    arc_values,
    backoff_values,
    first_state,
    DEPTH: tl.constexpr,
    SEARCH: tl.constexpr,
):
    """Return the log10 probability of ``word`` in an n-gram ``state``, and the state after it."""
    zero = word * 0
    score = zero.to(tl.float32)
    after = zero
    scored = zero  # 1 once the probability is known, and only the state after is sought
    walking = tl.where(active, 1, 0) + zero
    for _ in range(DEPTH):
        here = (walking == 1) & (state > 0)
        arc = find_arc(state, word, here, state_arcs, arcs, SEARCH)
        has = here & (arc >= 0)
        packed = tl.load(state_backoff + state, mask=here, other=0)
        code = (tl.load(arcs + arc, mask=has, other=0) >> 24) & 255
        score += tl.load(arc_values + code, mask=has & (scored == 0), other=0.0)
        scored = tl.where(has, 1, scored)
        score += tl.load(
            backoff_values + ((packed >> 24) & 255), mask=here & (scored == 0), other=0.0
        )
        bits = tl.load(arc_states + (arc >> 6), mask=has, other=0)
        place = (arc & 63).to(tl.int64)
        leads = has & (((bits >> place) & 1) == 1)
        before = bits & ~(tl.full(place.shape, -1, tl.int64) << place)
        rank = tl.load(arc_ranks + (arc >> 6), mask=leads, other=0) + popcount(before)
        after = tl.where(leads, first_state + rank, after)
        walking = tl.where(leads, 0, walking)
        state = tl.where(here, packed & WORD_MASK, state)
    left = walking == 1
    score += tl.load(unigram + word, mask=left & (scored == 0), other=0.0)
    after = tl.where(left, tl.load(unigram_next + word, mask=left, other=0), after)
    return score, after


@triton.jit
def expand_kernel(
    rows,  # (B, K, 8) int32: the code in column 0
    scores,  # (B, K) float32
    frame,  # (B, V) float32
    likely,  # (B, R - 3) int32: the likeliest tokens
    nodes,  # (N, 8) int32
    node_floats,  # (N, 8) float32, the same memory
    node_masks,  # (N, 4) int64, the same memory
    out_score,  # (B, K, R) float32, out: of the hypothesis that stays in the tree
    out_code,  # (B, K, R) int32, out
    out_extended,  # (B, K, R) float32, out: without look-ahead, for words that end in the child
    out_child,  # (B, K, R) int32, out: the child, -1 where there is none
    weight,
    total,
    K: tl.constexpr,
    V: tl.constexpr,
    R: tl.constexpr,
    SILENCE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    lane = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    exists = lane < total
    row, transition = lane // R, lane % R
    stream = row // K
    code = tl.load(rows + row.to(tl.int64) * 8, mask=exists, other=-1)
    score = tl.load(scores + row, mask=exists, other=NOTHING)
    alive = exists & (score > DEAD)
    inside = code >= 0
    node = tl.where(inside, code >> 1, 0)
    token_here = tl.load(nodes + node * 8 + TOKENS, mask=alive, other=0) & 255
    ahead = weight * tl.load(node_floats + node * 8 + LOOK_AHEAD, mask=alive & inside, other=0.0)
    children = tl.load(node_masks + node * 4 + MASK64, mask=alive, other=0)
    said = tl.where((code & 1) == 0, tl.where(inside, token_here, (-code) >> 1), -1)

    heads = alive & (transition >= 3)
    token = tl.load(likely + stream * (R - 3) + transition - 3, mask=heads, other=1)
    unit = tl.where(transition == 1, said, tl.where(transition == 2, SILENCE, token))
    unit = tl.where(transition == 0, 0, unit)
    log_prob = tl.load(frame + stream * V + unit, mask=alive & (unit >= 0), other=0.0)

    place = token.to(tl.int64)
    # From the root the token that sounds may begin the next word without a blank.
    grows = heads & (((children >> place) & 1) == 1) & ((unit != said) | (inside == 0))
    before = children & ~(tl.full(place.shape, -1, tl.int64) << place)
    child = tl.load(nodes + node * 8 + FIRST_CHILD, mask=grows, other=0) + popcount(before)
    child_ahead = tl.load(node_floats + child * 8 + LOOK_AHEAD, mask=grows, other=0.0)
    goes_on = grows & (tl.load(node_masks + child * 4 + MASK64, mask=grows, other=0) != 0)

    blank = alive & (transition == 0)
    again = alive & (transition == 1) & (said >= 0)
    silent = alive & (transition == 2) & (inside == 0) & (said != SILENCE) & (SILENCE > 0)
    same = score + log_prob
    fresh = (score - ahead) + log_prob
    value = tl.where(goes_on, fresh + weight * child_ahead, NOTHING)
    value = tl.where(blank | again | silent, same, value)
    next_code = tl.where(transition == 1, code, -2 * SILENCE)
    next_code = tl.where(transition == 0, tl.where(inside, code | 1, -1), next_code)
    next_code = tl.where(transition >= 3, 2 * child, next_code)
    tl.store(out_score + lane, value, mask=exists)
    tl.store(out_code + lane, next_code, mask=exists)
    tl.store(out_extended + lane, fresh, mask=exists)
    tl.store(out_child + lane, tl.where(grows, child, -1), mask=exists)


@triton.jit
def bucket_of(above, wanted, scale, BUCKETS: tl.constexpr):
    """Return the bucket of a score ``above`` the cut, the best in bucket 0."""
    place = tl.minimum(tl.where(wanted, above * scale, 0.0), BUCKETS - 1.0)
    return BUCKETS - 1 - place.to(tl.int32)


@triton.jit
def count_kernel(
    transition_score,  # (B, K, R) float32, as all that ``expand_kernel`` gives
    extended,
    child,
    cut,  # (B,) float32: what scores less is dropped
    nodes,
    word_floats,  # (W, 3) float32: the words at nodes, the same memory as int32
    out,  # (B, K, R) int32, out: candidates of a transition
    histogram,  # (B, BUCKETS) int32, counted up: by how much they can score more than the cut
    weight,
    word_score,
    scale,  # buckets a nat
    total,
    LANES: tl.constexpr,
    MOST: tl.constexpr,  # words that end in one node
    BUCKETS: tl.constexpr,  # 0: no histogram is taken, and the candidates are counted
    BLOCK: tl.constexpr,
):
    lane = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    exists = lane < total
    stream = lane // LANES
    least = tl.load(cut + stream, mask=exists, other=0.0)
    score = tl.load(transition_score + lane, mask=exists, other=NOTHING)
    node = tl.load(child + lane, mask=exists, other=-1)
    grows = node >= 0
    passes = exists & (score >= least)
    count = tl.where(passes, 1, 0)
    if BUCKETS:
        bucket = bucket_of(score - least, passes, scale, BUCKETS)
        tl.atomic_add(histogram + stream * BUCKETS + bucket, 1, mask=passes)
    extended_score = tl.load(extended + lane, mask=grows, other=NOTHING)
    first = tl.load(nodes + node * 8 + FIRST_WORD, mask=grows, other=0)
    size = tl.load(nodes + node * 8 + WORDS, mask=grows, other=0)
    for w in range(MOST):
        wanted = grows & (w < size)
        best = tl.load(word_floats + (first + w) * 3 + BEST, mask=wanted, other=0.0)
        bound = extended_score + weight * best + word_score
        passes = wanted & (bound >= least)
        count += tl.where(passes, 1, 0)
        if BUCKETS:
            bucket = bucket_of(bound - least, passes, scale, BUCKETS)
            tl.atomic_add(histogram + stream * BUCKETS + bucket, 1, mask=passes)
    if not BUCKETS:
        tl.store(out + lane, count, mask=exists)


@triton.jit
def score_kernel(
    lanes,  # (B, M) int64: the transition that a candidate is of, LANES and more: none
    ends,  # (B, LANES) int64: candidates of all transitions up to and with this one
    counts,  # (B, LANES) int32: candidates of each
    transition_score,  # (B, LANES) float32, as all that ``expand_kernel`` gives
    transition_code,
    extended,
    child,
    cut,  # (B,) float32
    rows,  # (B, K, 8) int32
    hashes,  # (B, K) int64: of the words before
    nodes,
    words,
    state_arcs,  # the n-gram automaton's arrays
    state_backoff,
    arcs,
    arc_states,
    arc_ranks,
    unigram,
    unigram_next,
    arc_values,
    backoff_values,
    first_state,
    out_key,  # (B, M) int64, out: the same for the same words at the same place
    out_score,  # (B, M) float32, out
    out_int,  # (4, B, M) int32, out: hypothesis, code, word or -1, n-gram state
    out_hash,  # (B, M) int64, out
    weight,
    word_score,
    total,
    K: tl.constexpr,
    R: tl.constexpr,
    M: tl.constexpr,
    DEPTH: tl.constexpr,
    SEARCH: tl.constexpr,
    BLOCK: tl.constexpr,
):
    LANES: tl.constexpr = K * R
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    exists = place < total
    stream, slot = place // M, place % M
    lane = tl.load(lanes + place, mask=exists, other=LANES).to(tl.int32)
    taken = exists & (lane < LANES)
    at = stream * LANES + tl.where(taken, lane, 0)
    hypothesis = tl.where(taken, lane // R, 0)
    row = stream * K + hypothesis
    least = tl.load(cut + stream, mask=taken, other=0.0)
    count = tl.load(counts + at, mask=taken, other=0)
    number = slot - (tl.load(ends + at, mask=taken, other=0).to(tl.int32) - count)
    score = tl.load(transition_score + at, mask=taken, other=NOTHING)
    # A transition's candidates are first itself, if it is good enough, then the words that end.
    word_number = number - tl.where(score >= least, 1, 0)
    is_word = taken & (word_number >= 0)
    node = tl.load(child + at, mask=is_word, other=0)
    entry = tl.load(nodes + node * 8 + FIRST_WORD, mask=is_word, other=0) + word_number
    word = tl.load(words + entry * 3 + WORD, mask=is_word, other=-1)
    lm_word = tl.load(words + entry * 3 + LM_WORD, mask=is_word, other=0)
    lm_state = tl.load(rows + row.to(tl.int64) * 8 + 1, mask=taken, other=0)
    value, after = lm_score(
        lm_state,
        lm_word,
        is_word,
        state_arcs,
        state_backoff,
        arcs,
        arc_states,
        arc_ranks,
        unigram,
        unigram_next,
        arc_values,
        backoff_values,
        first_state,
        DEPTH,
        SEARCH,
    )
    extended_score = tl.load(extended + at, mask=is_word, other=NOTHING)
    score = tl.where(is_word, extended_score + weight * value + word_score, score)
    kept = taken & (score >= least)
    token = tl.load(nodes + node * 8 + TOKENS, mask=is_word, other=0) & 255
    code = tl.load(transition_code + at, mask=taken, other=-1)
    code = tl.where(is_word, -2 * token, code)
    before = tl.load(hashes + row, mask=taken, other=0)
    history = tl.where(is_word, mix(before + (word + 1).to(tl.int64) * 0x1F3D5B79A1C3E5F7), before)
    key = mix(history ^ (code.to(tl.int64) * 0x14057B7EF767814F))
    tl.store(out_key + place, tl.where(kept, key, NO_KEY), mask=exists)
    tl.store(out_score + place, tl.where(kept, score, NOTHING), mask=exists)
    tl.store(out_hash + place, history, mask=exists)
    tl.store(out_int + place, hypothesis, mask=exists)
    tl.store(out_int + total + place, code, mask=exists)
    tl.store(out_int + 2 * total + place, word, mask=exists)
    tl.store(out_int + 3 * total + place, tl.where(is_word, after, lm_state), mask=exists)


@triton.jit
def merge_kernel(
    keys,  # (B, M) int64, ascending
    order,  # (B, M) int64: the candidate of each place
    scores,  # (B, M) float32
    out_score,  # (B, M) float32, out: the sum where a key begins, NOTHING elsewhere
    out_best,  # (B, M) int32, out: the best candidate of the key
    total,
    M: tl.constexpr,
    BLOCK: tl.constexpr,
):
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    exists = place < total
    stream, at = place // M, place % M
    key = tl.load(keys + place, mask=exists, other=NO_KEY)
    before = tl.load(keys + place - 1, mask=exists & (at > 0), other=NO_KEY)
    begins = exists & (key != NO_KEY) & ((at == 0) | (before != key))
    best = tl.load(order + place, mask=begins, other=0).to(tl.int32)
    high = tl.load(scores + stream * M + best, mask=begins, other=NOTHING)
    total_share = tl.where(begins, 1.0, 0.0)  # the sum, divided by exp(high)
    offset = 1
    going = begins
    while tl.max(tl.where(going, 1, 0), 0) > 0:
        inside = going & (at + offset < M)
        going = inside & (tl.load(keys + place + offset, mask=inside, other=NO_KEY) == key)
        other = tl.load(order + place + offset, mask=going, other=0).to(tl.int32)
        score = tl.load(scores + stream * M + other, mask=going, other=NOTHING)
        better = going & (score > high)
        low = tl.where(better, high, score)
        high = tl.where(better, score, high)
        best = tl.where(better, other, best)
        share = tl.exp(low - high)
        total_share = tl.where(better, total_share * share + 1.0, total_share + share)
        offset += 1
    merged = tl.where(begins, high + tl.log(tl.where(begins, total_share, 1.0)), NOTHING)
    tl.store(out_score + place, merged, mask=exists)
    tl.store(out_best + place, best, mask=exists)
