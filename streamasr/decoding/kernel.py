"""The beam search's inner loop, compiled by Numba; ``reference.py`` is the same, plain and slow.

A lexicon beam search (Collobert et al. 2016, arXiv:1609.03193) over CTC log-posteriors. Hypotheses
with the same words at the same place of the tree are one, whose score is the sum of theirs, as CTC
sums over alignments; the better one's word times remain. A word may begin with the very sound that
the last one ended on, without a blank between ("rushed toward").

Scores are relative to the best of their timestep, so that they stay small. Every loop is in a fixed
order: the same posteriors give the same bits, however they are cut into chunks.

All of it is one file: Numba's cache notices changes in the file of the outermost function only.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, types
from numba.extending import intrinsic

from .graph.tree import Node, TreeWord
from .layout import LEFT_SHIFT, NO_TRACE, NODE_MASK, History, Hypothesis, Trace

__all__ = ["BUCKETS", "CACHE_SIZE", "advance", "compact", "lm_score", "lm_scores"]

_NOTHING = np.float32(-1e30)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
BUCKETS = 1024
CACHE_SIZE, CACHE_SHIFT = 1 << 15, np.uint64(64 - 15)
_NEGLIGIBLE = np.float32(-14.0)  # exp() of it is below float32's rounding of 1

# Enum members and class attributes as plain constants, which Numba compiles in.
FIRST_CHILD, FIRST_WORD, LOOK_AHEAD, BEST_CHILD = range(4)
MASK64, WORDS, TOKENS = Node.MASK // 2, Node.WORDS, Node.TOKENS
WORD, LM_WORD, BEST = TreeWord.WORD, TreeWord.LM_WORD, TreeWord.BEST
CODE, HISTORY, SCORE, TRACE, START, LAST, POSTERIORS, COUNT = (int(c) for c in Hypothesis)
H_PARENT, H_WORD, H_LM_STATE, H_LM_SCORE, H_BIAS = (int(c) for c in History)
T_PARENT, T_START, T_LAST, T_POSTERIORS, T_COUNT = (int(c) for c in Trace)
# Columns of candidates, the hypotheses of the next timestep before pruning.
C_CODE, C_HISTORY, C_WORD, C_SCORE, C_PARENT, C_LM_STATE, C_LM_SCORE, C_BIAS = range(8)


# Without reference counts: they took four fifths of the time, and nothing here makes an array.
_compiled = njit(nogil=True, cache=True, _nrt=False)


@intrinsic
def _popcount(_context, _value):
    """Count the bits that are set."""

    def generate(_context, builder, _signature, arguments):
        return builder.ctpop(arguments[0])

    return types.int64(types.int64), generate


@_compiled
def _slot(key, shift):
    """Return where a hash table of ``2 ** (64 - shift)`` places begins to look for ``key``."""
    return np.int64((np.uint64(key) * _GOLDEN) >> shift)


@_compiled
def _find_arc(state, word, state_arcs, arcs):
    """Return the arc of ``word`` in a state, -1 if there is none."""
    low, end = np.int64(state_arcs[state]), np.int64(state_arcs[state + 1])
    high = end
    while low < high:
        middle = (low + high) >> 1
        if np.int64(arcs[middle] & np.uint32(0xFFFFFF)) < word:
            low = middle + 1
        else:
            high = middle
    if low < end and np.int64(arcs[low] & np.uint32(0xFFFFFF)) == word:
        return low
    return np.int64(-1)


@_compiled
def lm_score(state, word, lm):
    """Return the log10 probability of ``word`` in an n-gram ``state``, and the state after it."""
    state_arcs, state_backoff, arcs, arc_states, arc_ranks = lm[:5]
    unigram, unigram_next, arc_values, backoff_values, first_state = lm[5:]
    score = np.float32(0)
    scored = False
    while state > 0:
        arc = _find_arc(state, word, state_arcs, arcs)
        packed = state_backoff[state]
        if arc >= 0:
            if not scored:
                score += arc_values[arcs[arc] >> np.uint32(24)]
                scored = True
            bits, place = arc_states[arc >> 6], np.uint64(arc & 63)
            if (bits >> place) & np.uint64(1):
                before = bits & ((np.uint64(1) << place) - np.uint64(1))
                rank = np.int64(arc_ranks[arc >> 6]) + _popcount(np.int64(before))
                return score, np.int32(first_state + rank)
        elif not scored:
            score += backoff_values[packed >> np.uint32(24)]
        state = np.int32(packed & np.uint32(0xFFFFFF))
    if not scored:
        score += unigram[word]
    return score, unigram_next[word]


@njit(nogil=True, cache=True)
def lm_scores(states, word, lm):
    """Return the log10 probability of ``word`` in each of some n-gram ``states``, float64."""
    scores = np.empty(len(states))
    for i in range(len(states)):
        scores[i] = lm_score(states[i], word, lm)[0]
    return scores


@_compiled
def _cached_lm_score(state, word, lm, cache):
    """Do as ``lm_score``, with a cache: few words are looked up again and again.

    A row has the key, the score and the state, which come in one line of the CPU's cache.
    """
    rows, floats, keys = cache
    key = (np.int64(state) << 20) | np.int64(word)
    place = _slot(key, CACHE_SHIFT)
    if keys[place, 0] != key:
        floats[place, 2], rows[place, 3] = lm_score(state, word, lm)
        keys[place, 0] = key
    return floats[place, 2], rows[place, 3]


@_compiled
def bias_step(state, word, bias):
    """Return a word's bonus, a power of ten, and the hotword automaton's state after it.

    A phrase earns its weight word by word, and gives it back where it is broken off.
    """
    arcs, weights, nexts, pending, fails = bias
    bonus = np.float32(0)
    while True:
        key = (np.int64(state) << 32) | np.int64(word)
        low, high = 0, len(arcs)
        while low < high:
            middle = (low + high) >> 1
            if arcs[middle] < key:
                low = middle + 1
            else:
                high = middle
        if low < len(arcs) and arcs[low] == key:
            return bonus + weights[low], nexts[low]
        if state == 0:
            return bonus, np.int32(0)
        bonus += pending[fails[state]] - pending[state]
        state = fails[state]


@_compiled
def _find_history(key, keys, values, shift):
    """Return the history of ``key``, -1 if there is none, and its place in the table."""
    mask = len(keys) - 1
    place = _slot(key, shift)
    while values[place] >= 0:
        if keys[place] == key:
            return values[place], place
        place = (place + 1) & mask
    return np.int32(-1), place


@_compiled
def _offer(m, key, code, history, word, score, parent, lm_state, lm_score, bias, work):
    """Add a candidate, or merge it with its equal; return how many there are, and its score."""
    rows, floats, keys, slots, table, shift = work
    mask = len(table) - 1
    place = _slot(key, shift)
    while True:
        j = table[place]
        if j < 0:
            j = m
            table[place] = m
            keys[m], slots[m] = key, place
            floats[m, C_SCORE] = score
            m += 1
            break
        if keys[j] == key:
            before = floats[j, C_SCORE]
            low, high = min(score, before), max(score, before)
            floats[j, C_SCORE] = high
            if low - high > _NEGLIGIBLE:
                floats[j, C_SCORE] += np.float32(math.log1p(math.exp(low - high)))
            if score <= before:
                return m, floats[j, C_SCORE]
            break
        place = (place + 1) & mask
    rows[j, C_CODE], rows[j, C_HISTORY], rows[j, C_WORD] = code, history, word
    rows[j, C_PARENT], rows[j, C_LM_STATE] = parent, lm_state
    floats[j, C_LM_SCORE], rows[j, C_BIAS] = lm_score, bias
    return m, floats[j, C_SCORE]


@_compiled
def _prune(m, beam, best, reach, work, counts):
    """Keep the ``beam`` best of ``m`` candidates within ``reach`` of ``best``, in their order.

    Scores are counted in buckets, not sorted: among those of the last bucket, the first remain.
    Returns how many are left, and the score below which nothing can be among the ``beam`` best.
    """
    rows, floats, keys, slots, table, _ = work
    counts[:] = 0
    scale = np.float32(BUCKETS) / (reach * np.float32(1.0001))
    for j in range(m):
        table[slots[j]] = -1
        behind = best - floats[j, C_SCORE]
        if behind <= reach:
            counts[int(behind * scale)] += 1
    kept, last = 0, 0
    while last < BUCKETS and kept + counts[last] <= beam:
        kept += counts[last]
        last += 1
    spare = beam - kept
    k = 0
    for j in range(m):
        behind = best - floats[j, C_SCORE]
        if behind > reach:
            continue
        bucket = int(behind * scale)
        if bucket > last:
            continue
        if bucket == last:
            if spare <= 0:
                continue
            spare -= 1
        if k < j:
            for column in range(8):
                rows[k, column] = rows[j, column]
            keys[k] = keys[j]
        k += 1
    return k, best - (np.float32(last + 1) / scale if last < BUCKETS else reach)


@_compiled
def _rehash(m, work):
    """Enter the candidates that were kept into the table again."""
    _, _, keys, slots, table, shift = work
    mask = len(table) - 1
    for j in range(m):
        place = _slot(keys[j], shift)
        while table[place] >= 0:
            place = (place + 1) & mask
        table[place], slots[j] = j, place


@_compiled
def _best_tokens(log_probs, units, contextual, most, tokens, scores):
    """Fill in the ``most`` likeliest tokens of a timestep but the blank; return how many.

    A token's score is that of its best unit: what it can be at most.
    """
    size = len(units)
    found = 0
    for token in range(1, size):
        score = log_probs[units[0, token]]
        for left in range(1, size if contextual else 1):
            score = max(score, log_probs[units[left, token]])
        if found == most and score <= scores[found - 1]:
            continue
        place = found if found < most else most - 1
        while place > 0 and scores[place - 1] < score:
            scores[place], tokens[place] = scores[place - 1], tokens[place - 1]
            place -= 1
        scores[place], tokens[place] = score, token
        found = min(found + 1, most)
    return found


@_compiled
def _expand_children(
    i,
    node,
    first_node,
    tree,
    said_unit,
    left,
    contextual,
    room,
    history,
    lm_state,
    bias_state,
    from_root,
    best,
    cut,
    m,
    log_probs,
    tokens,
    token_scores,
    found,
    context,
):
    """Offer what a hypothesis becomes by the children of ``node``.

    Returns the number of candidates, the best score, and that below which none is taken.
    """
    nodes, floats, masks, words, word_floats, skipped = tree
    weight, word_score, threshold, units, lm, cache, bias, use_bias, floor, history_table, work = (
        context
    )
    h_keys, h_values, h_shift = history_table
    at = node - first_node
    mask = masks[at, MASK64]
    most = room + weight * floats[at, BEST_CHILD]
    parent_history = np.int64(history)
    for rank in range(found):
        if most + token_scores[rank] < cut:
            break
        token = tokens[rank]
        if not (mask >> token) & 1:
            continue
        unit = units[left, token]
        if unit == said_unit and not from_root:
            continue
        extended = room + log_probs[unit]
        child = nodes[at, FIRST_CHILD] + _popcount(mask & ((np.int64(1) << token) - 1))
        score = extended + weight * floats[child, LOOK_AHEAD]
        if score >= cut and masks[child, MASK64] != 0:
            code = np.int32(2 * (child + first_node))
            if contextual and from_root:
                code |= np.int32(left << LEFT_SHIFT)
            key = (np.int64(code) << 32) | parent_history
            m, merged = _offer(m, key, code, history, -1, score, i, 0, np.float32(0), 0, work)
            if merged > best:
                best = merged
                cut = max(cut, best - threshold)
        begin = nodes[child, FIRST_WORD]
        for k in range(begin, begin + nodes[child, WORDS]):
            if extended + weight * word_floats[k, BEST] + word_score < cut:
                break
            word = words[k, WORD]
            if use_bias and first_node == 0 and (skipped[word >> 3] >> (word & 7)) & 1:
                continue
            lm_word = words[k, LM_WORD]
            value, next_state = _cached_lm_score(lm_state, lm_word, lm, cache)
            bonus, next_bias = np.float32(0), np.int32(0)
            if use_bias:
                if first_node > 0:
                    value = max(value, floor)
                bonus, next_bias = bias_step(bias_state, word, bias)
            score = extended + weight * (value + bonus) + word_score
            if score < cut:
                continue
            code = np.int32(-2 * unit)
            history_key = (parent_history << 21) | np.int64(word)
            known, _ = _find_history(history_key, h_keys, h_values, h_shift)
            if known >= 0:
                # The low half of a key holds a history: codes are distinguished by the high half.
                key = (np.int64(code) << 32) | np.int64(known)
                m, merged = _offer(m, key, code, known, -1, score, i, 0, np.float32(0), 0, work)
            else:
                key = (np.int64(1) << 62) | (np.int64(unit) << 50) | history_key
                m, merged = _offer(
                    m, key, code, history, word, score, i, next_state, value, next_bias, work
                )
            if merged > best:
                best = merged
                cut = max(cut, best - threshold)
    return m, best, cut


@_compiled
def _unit_of(code, trees, units):
    """Return the unit that sounds in a place, -1 behind a blank."""
    tree, hot_tree, hot_root, _, _, _ = trees
    if code & 1:
        return -1
    if code < 0:
        return (-code) >> 1
    node = (code & NODE_MASK) >> 1
    packed = (
        tree[0][node, TOKENS]
        if hot_root == 0 or node < hot_root
        else hot_tree[0][node - hot_root, TOKENS]
    )
    before = packed >> 8
    if before == 0:
        before = code >> LEFT_SHIFT
    return units[before, packed & 255]


@_compiled
def _expand(
    i,
    hypotheses,
    histories,
    trees,
    log_probs,
    best,
    cut,
    m,
    top,
    tokens,
    token_scores,
    found,
    context,
):
    """Offer all that hypothesis ``i`` becomes; return as ``_expand_children`` does."""
    rows, floats = hypotheses
    tree, hot_tree, hot_root, contextual, silence, unit_tokens = trees
    weight, threshold, units, work = context[0], context[2], context[3], context[10]
    score = floats[i, SCORE]
    if score + top < cut:
        return m, best, cut
    code, history = rows[i, CODE], rows[i, HISTORY]
    nodes, node_floats, masks = tree[0], tree[1], tree[2]
    said_unit = _unit_of(code, trees, units)
    node, first_node, left, ahead = 0, 0, 0, np.float32(0)
    has_children = True
    if code >= 0:
        node = (code & NODE_MASK) >> 1
        if hot_root > 0 and node >= hot_root:
            first_node = hot_root
            nodes, node_floats, masks = hot_tree[0], hot_tree[1], hot_tree[2]
        left = nodes[node - first_node, TOKENS] & 255
        ahead = weight * node_floats[node - first_node, LOOK_AHEAD]
        has_children = masks[node - first_node, MASK64] != 0
        after_blank = np.int32(2 * node + 1)
    else:
        if contextual:
            left = unit_tokens[said_unit] if said_unit >= 0 else (-code) >> 1
        after_blank = np.int32(-2 * left - 1)
    low = np.int64(history)
    nothing = np.float32(0)
    if has_children:
        key = (np.int64(after_blank) << 32) | low
        m, merged = _offer(
            m, key, after_blank, history, -1, score + log_probs[0], i, 0, nothing, 0, work
        )
        best = max(best, merged)
    if said_unit >= 0:
        key = (np.int64(code) << 32) | low
        m, merged = _offer(
            m, key, code, history, -1, score + log_probs[said_unit], i, 0, nothing, 0, work
        )
        best = max(best, merged)
    if code < 0 and silence > 0 and said_unit != silence:
        silent = np.int32(-2 * silence)
        key = (np.int64(silent) << 32) | low
        m, merged = _offer(
            m, key, silent, history, -1, score + log_probs[silence], i, 0, nothing, 0, work
        )
        best = max(best, merged)
    cut = max(cut, best - threshold)
    if not has_children:
        return m, best, cut
    lm_state, bias_state = histories[history, H_LM_STATE], histories[history, H_BIAS]
    room = score - ahead
    from_root = code < 0
    if first_node == 0:
        m, best, cut = _expand_children(
            i,
            node,
            0,
            tree,
            said_unit,
            left,
            contextual,
            room,
            history,
            lm_state,
            bias_state,
            from_root,
            best,
            cut,
            m,
            log_probs,
            tokens,
            token_scores,
            found,
            context,
        )
    if first_node > 0 or (from_root and hot_root > 0):
        hot_node = node if first_node > 0 else hot_root
        m, best, cut = _expand_children(
            i,
            hot_node,
            hot_root,
            hot_tree,
            said_unit,
            left,
            contextual,
            room,
            history,
            lm_state,
            bias_state,
            from_root,
            best,
            cut,
            m,
            log_probs,
            tokens,
            token_scores,
            found,
            context,
        )
    return m, best, cut


@_compiled
def _store(m, step, log_probs, best, old, new, histories, traces, sizes, pushed, trees, context):
    """Make hypotheses of the candidates that were kept, the best first."""
    rows, floats = old
    out, out_floats = new
    history_rows, history_floats = histories
    trace_rows, trace_floats = traces
    units, history_table, work = context[3], context[9], context[10]
    candidates, scores = work[0], work[1]
    h_keys, h_values, h_shift = history_table
    silence = trees[4]
    pushed[:] = -2
    first = 0
    for j in range(m):
        i = candidates[j, C_PARENT]
        code, history, word = candidates[j, C_CODE], candidates[j, C_HISTORY], candidates[j, C_WORD]
        ended = history != rows[i, HISTORY]
        if word >= 0:
            ended = True
            key = (np.int64(history) << 21) | np.int64(word)
            known, place = _find_history(key, h_keys, h_values, h_shift)
            if known < 0:
                known = np.int32(sizes[0])
                sizes[0] += 1
                h_keys[place], h_values[place] = key, known
                history_rows[known, H_PARENT], history_rows[known, H_WORD] = history, word
                history_rows[known, H_LM_STATE] = candidates[j, C_LM_STATE]
                history_floats[known, H_LM_SCORE] = scores[j, C_LM_SCORE]
                history_rows[known, H_BIAS] = candidates[j, C_BIAS]
            history = known
        unit = _unit_of(code, trees, units)
        out[j, CODE], out[j, HISTORY] = code, history
        out_floats[j, SCORE] = scores[j, C_SCORE] - best
        if rows[i, CODE] < 0 and (code >= 0 or ended):
            # A new word begins: the last one is finished, with its times.
            if pushed[i] == -2:
                pushed[i] = NO_TRACE
                if rows[i, HISTORY] > 0:
                    k = sizes[1]
                    sizes[1] += 1
                    trace_rows[k, T_PARENT] = rows[i, TRACE]
                    trace_rows[k, T_START], trace_rows[k, T_LAST] = rows[i, START], rows[i, LAST]
                    trace_floats[k, T_POSTERIORS] = floats[i, POSTERIORS]
                    trace_rows[k, T_COUNT] = rows[i, COUNT]
                    pushed[i] = k
            out[j, TRACE] = pushed[i]
            out[j, START], out[j, LAST], out[j, COUNT] = step, step, 1
            out_floats[j, POSTERIORS] = math.exp(log_probs[unit])
        else:
            out[j, TRACE], out[j, START] = rows[i, TRACE], rows[i, START]
            out[j, LAST], out[j, COUNT] = rows[i, LAST], rows[i, COUNT]
            out_floats[j, POSTERIORS] = floats[i, POSTERIORS]
            if unit > 0 and unit != silence:
                out[j, LAST] = step
                out[j, COUNT] += 1
                out_floats[j, POSTERIORS] += np.float32(math.exp(log_probs[unit]))
        if out_floats[j, SCORE] > out_floats[first, SCORE]:
            first = j
    # The best first, so that the threshold is tight from the start of the next timestep.
    for column in range(8):
        out[0, column], out[first, column] = out[first, column], out[0, column]


@_compiled
def advance(
    log_probs,
    step,
    hypotheses,
    n,
    histories,
    traces,
    sizes,
    offset,
    trees,
    settings,
    lm,
    bias,
    scratch,
):
    """Advance the search by as many timesteps of ``log_probs (T, U)`` as there is room for.

    Args:
        log_probs: float32, C-contiguous; column 0 is the blank.
        step: timesteps before, counted from the segment's start.
        hypotheses: ``(2, beam, 8)`` int32 and the same memory as float32; the first ``n`` rows of
            its first half are read.
        histories: ``(H, 5)`` int32 and the same memory as float32; the first ``sizes[0]`` are used.
        traces: likewise, ``sizes[1]``.
        sizes: ``(2,)`` int64, updated.
        offset: ``(1,)`` float64: log-probability that scores are relative to, updated.
        trees: the lexicon tree, the hotwords' tree and its first node (0: none), whether units
            depend on the token before, the token of silence (0: none), and each unit's token.
        settings: ``(beam, threshold, tokens, lm_weight, word_score, floor, units)``.
        lm: arrays of the n-gram automaton.
        bias: arrays of the hotword automaton, and whether there is one.
        scratch: work arrays, as ``Search`` makes them.

    Returns:
        The timesteps done, the number of hypotheses, and the half of ``hypotheses`` they are in.
    """
    beam, threshold, most_tokens, weight, word_score, floor, limit, units = settings
    work, cache, history_table, counts, pushed, tokens, token_scores = scratch
    bias_arrays, use_bias = bias
    context = (
        weight,
        word_score,
        threshold,
        units,
        lm,
        cache,
        bias_arrays,
        use_bias,
        floor,
        history_table,
        work,
    )
    rows, floats = hypotheses
    history_rows, trace_rows = histories[0], traces[0]
    contextual = trees[3]
    _enter_histories(history_rows, sizes[0], history_table)
    side, t = 0, 0
    while t < len(log_probs):
        if sizes[0] + beam > len(history_rows) or sizes[1] + beam > len(trace_rows):
            break
        frame = log_probs[t]
        found = _best_tokens(frame, units, contextual, most_tokens, tokens, token_scores)
        top = frame[0]
        if found > 0:
            top = max(top, token_scores[0])
        best, cut, m = _NOTHING, _NOTHING, 0
        for i in range(n):
            if m > limit:
                m, cut = _prune(m, beam, best, best - cut, work, counts)
                _rehash(m, work)
            m, best, cut = _expand(
                i,
                (rows[side], floats[side]),
                history_rows,
                trees,
                frame,
                best,
                cut,
                m,
                top,
                tokens,
                token_scores,
                found,
                context,
            )
        m, _ = _prune(m, beam, best, best - cut, work, counts)
        _store(
            m,
            step + t,
            frame,
            best,
            (rows[side], floats[side]),
            (rows[1 - side], floats[1 - side]),
            histories,
            traces,
            sizes,
            pushed,
            trees,
            context,
        )
        offset[0] += best
        n, side = m, 1 - side
        t += 1
    return t, n, side


@_compiled
def _enter_histories(rows, count, table):
    """Fill the table that finds a history by its parent and its word."""
    keys, values, shift = table
    values[:] = -1
    for k in range(1, count):
        key = (np.int64(rows[k, H_PARENT]) << 21) | np.int64(rows[k, H_WORD])
        _, place = _find_history(key, keys, values, shift)
        keys[place], values[place] = key, k


@njit(nogil=True, cache=True)
def compact(rows, n, histories, traces, sizes):
    """Drop the histories and traces that no hypothesis has, and number the others anew.

    Histories are numbered as hypotheses come to them, which how often this is done cannot change.
    Updates ``rows (n, 8)``, ``histories``, ``traces`` (int32) and ``sizes`` in place.
    """
    number = np.full(sizes[0], -1, np.int32)
    order = np.empty(sizes[0], np.int32)
    number[0], order[0], count = 0, 0, 1
    for i in range(n):
        k, begin = rows[i, HISTORY], count
        while number[k] < 0:
            number[k] = 0
            order[count] = k
            count += 1
            k = histories[k, H_PARENT]
        # The oldest first, so that parents have lower numbers.
        order[begin:count] = order[begin:count][::-1].copy()
        for place in range(begin, count):
            number[order[place]] = place
    moved = histories[order[:count]]
    for k in range(1, count):
        moved[k, H_PARENT] = number[moved[k, H_PARENT]]
    histories[:count] = moved
    sizes[0] = count
    used = np.zeros(sizes[1] + 1, np.int32)  # one further, so that NO_TRACE has a place
    for i in range(n):
        used[rows[i, TRACE]] = 1
    for k in range(sizes[1] - 1, -1, -1):
        if used[k]:
            used[traces[k, T_PARENT]] = 1
    used[sizes[1]] = NO_TRACE
    count = 0
    for k in range(sizes[1]):
        if used[k]:
            for column in range(traces.shape[1]):
                traces[count, column] = traces[k, column]
            traces[count, T_PARENT] = used[traces[k, T_PARENT]]
            used[k] = count
            count += 1
    sizes[1] = count
    for i in range(n):
        rows[i, HISTORY] = number[rows[i, HISTORY]]
        rows[i, TRACE] = used[rows[i, TRACE]]


@njit(nogil=True, cache=True)
def descendants(leaves, parents):
    """Return for each node of a tree how many of the ``leaves`` are it or descend from it.

    Parents have lower numbers than their children, or are NO_TRACE.
    """
    size = len(parents)
    count = np.zeros(size, np.int64)
    for leaf in leaves:
        if leaf >= 0:
            count[leaf] += 1
    for k in range(size - 1, 0, -1):
        if parents[k] >= 0:
            count[parents[k]] += count[k]
    return count
