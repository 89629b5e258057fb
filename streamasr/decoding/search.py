"""Beam search over the search graph: ``(log_probs, state) -> state``, the state a plain value."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError
from ..hotwords import RARE
from .arrays import lm_arrays, tree_arrays
from .bias import NO_AUTOMATON, Bias
from .graph import SearchGraph
from .layout import FRESH, NO_TRACE, History, Hypothesis, Trace

__all__ = ["BestPath", "Search", "SearchState", "WordSpan", "compile_for"]

_CANDIDATES = 1 << 15
_LOWEST = np.float32(-1e4)  # in place of minus infinity and NaN, which do not add up
Rows = NDArray[np.int32]


@dataclass(frozen=True)
class WordSpan:
    """A word on a hypothesis' path: its timesteps, and its units' mean posterior in them."""

    word: int
    first_step: int
    last_step: int
    posterior: float


@dataclass(frozen=True)
class BestPath:
    """A hypothesis for a segment: its words and its score.

    ``score`` is natural, ``lm_score`` the n-gram model's share of it as a power of ten, unweighted.
    ``trace`` finds the words' times, which few paths are asked for.
    """

    score: float
    lm_score: float
    words: tuple[int, ...]
    trace: Callable[[], tuple[WordSpan, ...]] = field(repr=False, compare=False)

    @cached_property
    def spans(self) -> tuple[WordSpan, ...]:
        """The words with their times."""
        return self.trace()


@dataclass(frozen=True)
class SearchState:
    """The state of a search: arrays of 32-bit rows, see ``layout``. Nothing changes them.

    ``hypotheses (n, 8)``, best first; ``histories (H, 5)``; ``traces (K, 5)``; ``steps``, the
    timesteps so far; ``offset``, the log-probability that scores are relative to.
    """

    hypotheses: Rows
    histories: Rows
    traces: Rows
    steps: int = 0
    offset: float = 0.0


class Search:
    """The beam search of a graph. Immutable: threads share one, and run side by side.

    Args:
        graph: what is searched.
        beam: the most hypotheses that remain of a timestep.
        threshold: how far below the best one they may score, in nats.
        tokens: how many tokens are tried in a timestep, the likeliest, besides the blank.
        lm_weight: of the n-gram model's powers of ten.
        word_score: added for each word.
        units: ``(P, P)`` int32: the column of the log-posteriors for each left token and token, for
            models whose units depend on the token before. One row for all contexts when None.
        silence: the token that separates spelled words, 0 for none.
    """

    def __init__(
        self,
        graph: SearchGraph,
        *,
        beam: int,
        threshold: float,
        tokens: int,
        lm_weight: float,
        word_score: float,
        units: NDArray[np.int32] | None = None,
        silence: int = 0,
    ) -> None:
        size = len(graph.tokens)
        self.graph = graph
        self._contextual = units is not None
        if units is None:
            units = np.arange(size, dtype=np.int32)[None].repeat(size, 0)
        self._units = np.ascontiguousarray(units, np.int32)
        self._unit_tokens = _tokens_of_units(self._units, size)
        self._beam, self._lm_weight, self._silence = beam, lm_weight, silence
        self._settings = (
            np.float32(threshold),
            min(tokens, size - 1),
            np.float32(lm_weight),
            np.float32(word_score),
            np.float32(RARE),
        )
        self._lm = lm_arrays(graph.lm)
        self._tree = tree_arrays(graph.tree, np.zeros(1, np.uint8))
        self._local = threading.local()

    def initial_state(self) -> SearchState:
        """Return the state before the first timestep."""
        hypotheses = np.zeros((1, len(Hypothesis)), np.int32)
        hypotheses[0, Hypothesis.CODE], hypotheses[0, Hypothesis.TRACE] = FRESH, NO_TRACE
        histories = np.zeros((1, len(History)), np.int32)
        histories[0, History.PARENT], histories[0, History.WORD] = -1, -1
        histories[0, History.LM_STATE] = self.graph.start_state
        return SearchState(hypotheses, histories, np.zeros((0, len(Trace)), np.int32))

    def advance(
        self, log_probs: NDArray[np.float32], state: SearchState, bias: Bias | None = None
    ) -> SearchState:
        """Search ``log_probs (T, U)``; any split of them into calls gives the same bits.

        ``state`` may be that of another search of the same graph and units, a wider one, too.
        """
        from . import kernel

        log_probs = np.fmax(np.ascontiguousarray(log_probs, np.float32), _LOWEST)
        n, steps = len(state.hypotheses), state.steps
        hypotheses = np.empty((2, max(self._beam, n), len(Hypothesis)), np.int32)
        hypotheses[0, :n] = state.hypotheses
        histories, traces = state.histories, state.traces
        sizes = np.array([len(histories), len(traces)], np.int64)
        offset = np.array([state.offset])
        scratch, limit = self._scratch(bias, hypotheses.shape[1])
        trees, automaton = self._with(bias)
        done = 0
        while done < len(log_probs):
            steps_left = len(log_probs) - done
            histories = _with_room(histories, int(sizes[0]), self._beam, steps_left)
            traces = _with_room(traces, int(sizes[1]), self._beam, steps_left)
            count, n, side = kernel.advance(
                log_probs[done:],
                steps,
                _both(hypotheses),
                n,
                _both(histories),
                _both(traces),
                sizes,
                offset,
                trees,
                (self._beam, *self._settings, limit, self._units),
                self._lm,
                automaton,
                (scratch[0], scratch[1], _history_table(len(histories)), *scratch[2:]),
            )
            if side:
                hypotheses[0, :n] = hypotheses[1, :n]
            kernel.compact(hypotheses[0], n, histories, traces, sizes)
            done, steps = done + count, steps + count
        return SearchState(
            hypotheses[0, :n].copy(),
            histories[: sizes[0]].copy(),
            traces[: sizes[1]].copy(),
            steps,
            float(offset[0]),
        )

    def _with(self, bias: Bias | None) -> tuple[Any, Any]:
        """Return the kernel's ``trees`` and ``bias``."""
        last = (self._contextual, self._silence, self._unit_tokens)
        if bias is None:
            return (self._tree, self._tree, 0, *last), (NO_AUTOMATON, False)
        tree = (*self._tree[:-1], bias.skipped)
        return (tree, bias.tree, len(tree[0]), *last), (bias.automaton, True)

    def _scratch(self, bias: Bias | None, hypotheses: int) -> tuple[tuple[Any, ...], int]:
        """Return this thread's work arrays, and how many candidates make the kernel prune them.

        There may be more ``hypotheses`` than the beam: a wider search's, continued.
        """
        most = self.graph.most_candidates + (bias.most_candidates if bias else 0)
        limit = max(4096, 3 * self._beam)
        found: tuple[Any, ...] | None = getattr(self._local, "scratch", None)
        if found is None or len(found[0][0]) < limit + most or len(found[3]) < hypotheses:
            found = self._local.scratch = _new_scratch(limit + most, hypotheses, len(self._units))
        return found, limit

    def best_paths(self, state: SearchState, most: int, bias: Bias | None = None) -> list[BestPath]:
        """Return the ``most`` best hypotheses, the best first, if the segment ends here.

        Words that have not ended count for nothing, unless no hypothesis has ended its last.
        """
        from . import kernel

        rows = state.hypotheses
        all_scores = rows.view(np.float32)[:, Hypothesis.SCORE]
        ended = np.flatnonzero(rows[:, Hypothesis.CODE] < 0)
        tried = ended if len(ended) else np.arange(len(rows))
        tried = tried[np.lexsort((-all_scores[tried], rows[tried, Hypothesis.HISTORY]))]
        found, firsts = np.unique(rows[tried, Hypothesis.HISTORY], return_index=True)
        best = tried[firsts]  # of each history
        sizes = np.diff(firsts, append=len(tried))
        scores = all_scores[tried].astype(np.float64)
        tops = scores[firsts]
        scores = tops + np.log(np.add.reduceat(np.exp(scores - tops.repeat(sizes)), firsts))
        ends = kernel.lm_scores(state.histories[found, History.LM_STATE], self.graph.end, self._lm)
        scores += self._lm_weight * ends
        if bias:
            states = state.histories[found, History.BIAS].tolist()
            scores -= self._lm_weight * np.array([bias.pending(own) for own in states])
        parents, words, lm_scores = (
            column.tolist()
            for column in (
                state.histories[:, History.PARENT],
                state.histories[:, History.WORD],
                state.histories.view(np.float32)[:, History.LM_SCORE],
            )
        )
        paths = []
        for k in np.argsort(-scores, kind="stable")[:most].tolist():
            history, own = int(found[k]), []
            while history > 0:
                own.append(history)
                history = parents[history]
            paths.append(
                BestPath(
                    float(scores[k]) + state.offset,
                    float(ends[k]) + sum(lm_scores[history] for history in own),
                    tuple(words[history] for history in reversed(own)),
                    partial(self._spans, state, int(best[k]), ended=len(ended) > 0),
                )
            )
        return paths

    def firm(self, state: SearchState) -> tuple[WordSpan, ...]:
        """Return the words that all hypotheses begin with, at the same times.

        Neither the words nor their times can change any more.
        """
        from . import kernel

        hypotheses = state.hypotheses
        words = kernel.descendants(
            hypotheses[:, Hypothesis.HISTORY], state.histories[:, History.PARENT]
        )
        path = [*_ancestors(state, int(hypotheses[0, Hypothesis.HISTORY]))]
        shared = int((words[path] == len(hypotheses)).sum())
        times = kernel.descendants(hypotheses[:, Hypothesis.TRACE], state.traces[:, Trace.PARENT])
        path = [*_traces(state, int(hypotheses[0, Hypothesis.TRACE]))]
        timed = int((times[path] == len(hypotheses)).sum())
        return self._spans(state, 0, ended=_has_ended(state, 0))[: min(shared, timed)]

    def _spans(self, state: SearchState, row: int, *, ended: bool) -> tuple[WordSpan, ...]:
        """Return the words of one hypothesis; the last is its own, if it has ``ended``."""
        hypothesis = state.hypotheses[row]
        words = [
            int(state.histories[history, History.WORD])
            for history in _ancestors(state, int(hypothesis[Hypothesis.HISTORY]))
        ]
        rows: list[tuple[int, int, int, float]] = []
        if ended:
            columns = [Hypothesis.START, Hypothesis.LAST, Hypothesis.COUNT]
            start, last, count = hypothesis[columns].tolist()
            total = float(hypothesis.view(np.float32)[Hypothesis.POSTERIORS])
            rows.append((start, last, count, total))
        for trace in _traces(state, int(hypothesis[Hypothesis.TRACE])):
            entry = state.traces[trace]
            start, last, count = entry[[Trace.START, Trace.LAST, Trace.COUNT]].tolist()
            rows.append((start, last, count, float(entry.view(np.float32)[Trace.POSTERIORS])))
        return tuple(
            WordSpan(word, start, last, total / count)
            for word, (start, last, count, total) in zip(
                reversed(words), reversed(rows), strict=False
            )
        )


def _ancestors(state: SearchState, history: int) -> Iterator[int]:
    """Yield a history and those it continues, but for the empty one, the newest first."""
    while history > 0:
        yield history
        history = int(state.histories[history, History.PARENT])


def _has_ended(state: SearchState, row: int) -> bool:
    """Whether the last word of a hypothesis' history is still its own: no other has begun."""
    return bool(state.hypotheses[row, Hypothesis.CODE] < 0)


def _both(rows: Rows) -> tuple[Rows, NDArray[np.float32]]:
    return rows, rows.view(np.float32)


def _tokens_of_units(units: NDArray[np.int32], tokens: int) -> NDArray[np.int32]:
    """Return the token of each unit; raises ModelError for a unit of two tokens."""
    found = np.zeros(int(units.max()) + 1, np.int32)
    found[units[:, 1:]] = np.arange(1, tokens, dtype=np.int32)
    if units.shape != (tokens, tokens) or (found[units[:, 1:]] != np.arange(1, tokens)).any():
        raise ModelError("the table of units must give each unit one token")
    return found


def _with_room(rows: Rows, used: int, beam: int, steps: int) -> Rows:
    """Return a copy that has room for what some timesteps add."""
    grown = np.empty((used + beam * min(steps, 16), rows.shape[1]), np.int32)
    grown[:used] = rows[:used]
    return grown


def _power_of_two(least: int) -> tuple[int, np.uint64]:
    """Return the size of a hash table and the shift of its keys."""
    bits = max(4, math.ceil(math.log2(least)))
    return 1 << bits, np.uint64(64 - bits)


def _history_table(capacity: int) -> tuple[NDArray[np.int64], Rows, np.uint64]:
    size, shift = _power_of_two(2 * capacity)
    return np.empty(size, np.int64), np.empty(size, np.int32), shift


def _new_scratch(candidates: int, hypotheses: int, tokens: int) -> tuple[Any, ...]:
    """Return work arrays of the kernel: candidates and their table, the model's cache, …"""
    from .kernel import BUCKETS, CACHE_SIZE

    size, shift = _power_of_two(2 * candidates)
    rows = np.empty((candidates, 8), np.int32)
    work = (
        *_both(rows),
        np.empty(candidates, np.int64),
        np.empty(candidates, np.int32),
        np.full(size, -1, np.int32),
        shift,
    )
    cached = np.full((CACHE_SIZE, 4), -1, np.int32)
    cache = (*_both(cached), cached.view(np.int64))
    pushed = np.empty(hypotheses, np.int32)
    return (
        work,
        cache,
        np.empty(BUCKETS, np.int32),
        pushed,
        np.empty(tokens, np.int32),
        np.empty(tokens, np.float32),
    )


def compile_for(graph: SearchGraph) -> None:
    """Compile all that a search of ``graph`` runs, or load it from Numba's cache."""
    search = Search(
        graph, beam=2, threshold=1.0, tokens=1, lm_weight=1.0, word_score=0.0, silence=0
    )
    state = search.advance(np.zeros((1, len(graph.tokens)), np.float32), search.initial_state())
    search.best_paths(state, 1)
    search.firm(state)


def _traces(state: SearchState, trace: int) -> Iterator[int]:
    """Yield a word's trace and those of the words before it, the newest first."""
    while trace != NO_TRACE:
        yield trace
        trace = int(state.traces[trace, Trace.PARENT])
