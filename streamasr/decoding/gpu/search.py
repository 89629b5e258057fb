"""The beam search of ``kernel.py`` for many streams at once, all of it on one device.

A timestep is a fixed sequence of launches with fixed shapes: no number is read back or copied from
the host, so a CUDA graph can hold it, and streams of one batch may be at different places.

1. Every hypothesis is expanded to all its transitions; the best one sets the threshold.
2. Those above it, and the words that end in them, get places side by side by a prefix sum. Where
   there are more than places, a histogram of what they can score at most says which are left out.
3. Candidates are scored: words by the n-gram automaton. Each has a hash of its words and its code.
4. They are sorted by it, equal ones are added up, and ``topk`` keeps the best of them.

Sums are in the order of the places, never by atomics: the same posteriors give the same bits,
however they are cut into chunks and whatever the other streams receive.
"""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from ..arrays import lm_arrays
from ..graph import SearchGraph
from ..graph.tree import Node
from ..search import SearchState
from .kernels import count_kernel, expand_kernel, merge_kernel, score_kernel
from .state import DEAD, NOTHING, Entry, GpuState, Row, compact, host_state
from .tables import Tables

__all__ = ["CapturedStep", "GpuSearch"]

_LOWEST = -1e4  # in place of minus infinity and NaN, as on the CPU
_BLOCK = 256
_BUCKETS = 256
_COMPACT_EVERY = 8  # timesteps


class GpuSearch:
    """The beam search of a graph for batches of streams. Immutable.

    Units do not depend on the token before, and there are no hotwords yet. Words are distinguished
    by a hash of 64 bits: that two of N hypotheses of a timestep are taken for each other has a
    chance of N² / 2^65.

    Args:
        graph: what is searched.
        beam: the most hypotheses of a stream that remain of a timestep.
        threshold: how far below the best one they may score, in nats.
        tokens: how many tokens are tried in a timestep, the likeliest, besides the blank.
        lm_weight: of the n-gram model's powers of ten.
        word_score: added for each word.
        silence: the token that separates spelled words, 0 for none.
        device: where the search runs; under Triton's interpreter also the CPU.
        candidates_per_beam: room for candidates before they are merged, in multiples of ``beam``.
            Where there are more, those that can score least are left out: that is what the beam
            would do, after adding equal ones up. Where it had room for them, they are counted.
        words_per_beam: room for words that others have followed, in multiples of ``beam``, at
            least 16. Where there are more, the stream's words cannot be read any more.
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
        silence: int = 0,
        device: str | torch.device = "cuda",
        candidates_per_beam: int = 4,
        words_per_beam: int = 16,
    ) -> None:
        if words_per_beam < 2 * _COMPACT_EVERY or candidates_per_beam < 1:
            raise ValueError(f"words_per_beam must be {2 * _COMPACT_EVERY} or more")
        self.graph = graph
        self.device = torch.device(device)
        self.tables = Tables.of(graph, self.device)
        self._lm = lm_arrays(graph.lm)
        self._beam, self._threshold, self._silence = beam, threshold, silence
        self._tokens = min(tokens, len(graph.tokens) - 1)
        self._transitions = 3 + self._tokens
        self._weights = lm_weight, word_score
        self._candidates = candidates_per_beam * beam
        self._room = words_per_beam * beam

    def initial_state(self, streams: int) -> GpuState:
        """Return the state of ``streams`` before the first timestep."""
        most = streams * max(self._beam * self._transitions, 4 * self._candidates)
        if most >= 2**31:
            raise ValueError(f"{streams} streams are too many for this beam: search fewer at once")
        start = self.graph.start_state
        return GpuState.initial(streams, self._beam, self._room, start, self.device)

    def host_state(self, state: GpuState, stream: int) -> SearchState:
        """Copy one stream to the host: ``Search.best_paths`` and ``Search.partial`` take it.

        Raises SearchOverflow if there was no room for its words.
        """
        return host_state(state, stream, self.graph, self._lm)

    def advance(
        self,
        log_probs: Tensor,
        state: GpuState,
        lengths: Tensor | None = None,
        captured: CapturedStep | None = None,
    ) -> None:
        """Hear ``log_probs (B, T, V)`` float32 on the device and change ``state``.

        Args:
            log_probs: column 0 is the blank. Any split into calls gives the same bits.
            state: of B streams.
            lengths: ``(B,)``, how many timesteps each stream has; all when None.
            captured: this state's timestep as a CUDA graph, launched in place of the kernels.
        """
        streams, length = log_probs.shape[:2]
        if lengths is None:
            lengths = torch.full((streams,), length, device=self.device)
        run = captured or self
        for t in range(length):
            run.step(log_probs[:, t], t < lengths, state)
            state.since += 1
            if state.since >= _COMPACT_EVERY:
                run.compact(state)
                state.since = 0

    def compact(self, state: GpuState) -> None:
        """Drop the words that no hypothesis leads to."""
        compact(state)

    def step(self, frame: Tensor, active: Tensor, state: GpuState) -> None:
        """Hear one timestep ``(B, V)`` in the streams that are ``active (B,)``."""
        frame = frame.to(torch.float32).nan_to_num(nan=_LOWEST).clamp(min=_LOWEST).contiguous()
        candidates = self._find_candidates(frame, state)
        self._keep(frame, active, state, *candidates)

    def _find_candidates(
        self, frame: Tensor, state: GpuState
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return what hypotheses become: ``(B, M)`` scores and hashes, ``(4, B, M)`` the rest.

        The rest: hypothesis, code, word or -1, n-gram state. Scores are NOTHING but for the best
        of each set of equal candidates, which has the sum of all. The last, ``(B,)``: how many
        there was no room for, those that can score least.
        """
        tables, device = self.tables, self.device
        (weight, word_score), transitions = self._weights, self._transitions
        streams, beam = state.scores.shape
        lanes, most = beam * transitions, self._candidates
        likely = (frame[:, 1:].topk(self._tokens, 1).indices + 1).to(torch.int32).contiguous()
        score = torch.empty(streams, lanes, device=device)
        extended = torch.empty_like(score)
        code = torch.empty(streams, lanes, dtype=torch.int32, device=device)
        child, count = torch.empty_like(code), torch.empty_like(code)
        grid, block = _grid(streams * lanes, device)
        expand_kernel[grid](
            state.rows,
            state.scores,
            frame,
            likely,
            tables.nodes,
            tables.node_floats,
            tables.node_masks,
            score,
            code,
            extended,
            child,
            weight,
            streams * lanes,
            K=beam,
            V=frame.shape[1],
            R=transitions,
            SILENCE=self._silence,
            BLOCK=block,
        )
        cut = (score.amax(1) - self._threshold).contiguous()
        bounds = (score, extended, child, cut, tables.nodes, tables.word_floats)
        histogram = torch.zeros(streams, _BUCKETS, dtype=torch.int32, device=device)
        sizes = (weight, word_score, _BUCKETS / self._threshold, streams * lanes)
        shared = {"LANES": lanes, "MOST": tables.most_words, "BLOCK": block}
        count_kernel[grid](*bounds, count, histogram, *sizes, BUCKETS=_BUCKETS, **shared)
        # Where there are too many, the cut is raised by as many buckets as have no room.
        within = histogram.cumsum(1)
        full = _BUCKETS - (within <= most).sum(1).clamp(min=1)
        raised = cut + self._threshold * (full + 0.01) / _BUCKETS
        cut.copy_(torch.where(full > 0, raised, cut))
        count_kernel[grid](*bounds, count, histogram, *sizes, BUCKETS=0, **shared)
        ends = count.cumsum(1)
        too_many = within[:, -1] - ends[:, -1].clamp(max=most)
        places = torch.arange(most, device=device).expand(streams, most).contiguous()
        lane = torch.searchsorted(ends, places, right=True)
        key = torch.empty(streams, most, dtype=torch.int64, device=device)
        hashes, scores = torch.empty_like(key), torch.empty(streams, most, device=device)
        rest = torch.empty(4, streams, most, dtype=torch.int32, device=device)
        grid, block = _grid(streams * most, device)
        score_kernel[grid](
            lane,
            ends,
            count,
            score,
            code,
            extended,
            child,
            cut,
            state.rows,
            state.hashes,
            tables.nodes,
            tables.words,
            *tables.lm,
            tables.first_arc_state,
            key,
            scores,
            rest,
            hashes,
            weight,
            word_score,
            streams * most,
            K=beam,
            R=transitions,
            M=most,
            DEPTH=tables.back_offs,
            SEARCH=tables.arc_steps,
            BLOCK=block,
        )
        ordered, order = key.sort(stable=True)
        merged, best = torch.empty_like(scores), torch.empty_like(rest[0])
        merge_kernel[grid](
            ordered, order, scores, merged, best, streams * most, M=most, BLOCK=block
        )
        winner = best.to(torch.int64)
        return merged, hashes.gather(1, winner), rest.gather(2, winner.expand_as(rest)), too_many

    def _keep(
        self,
        frame: Tensor,
        active: Tensor,
        state: GpuState,
        merged: Tensor,
        hashes: Tensor,
        rest: Tensor,
        too_many: Tensor,
    ) -> None:
        """Make hypotheses of the best candidates, the best first."""
        scores, place = merged.topk(self._beam, 1)
        best = scores[:, :1]
        alive = (scores > DEAD) & (scores >= best - self._threshold)
        # Of a full beam none of those without room could have been, but for what they add to sums.
        short = active & ~alive.all(1)
        state.dropped += too_many.masked_fill(~short, 0)
        parent, code, word, lm_state = rest.gather(2, place.expand(4, -1, -1))
        parent = parent.to(torch.int64)
        old = state.rows.gather(1, parent.unsqueeze(2).expand_as(state.rows))
        new = old.clone()
        new[..., Row.CODE], new[..., Row.LM_STATE] = code, lm_state
        # A word begins: the one before, if there is one, gets its entry.
        begins = (old[..., Row.CODE] < 0) & ((code >= 0) | (word >= 0))
        finished = (begins & alive & (old[..., Row.WORD] >= 0) & active[:, None]).to(torch.int64)
        pushed = torch.zeros_like(finished).scatter_reduce(1, parent, finished, "amax")
        room = state.arena.shape[1] - 1
        entry = state.sizes[:, None] + pushed.cumsum(1) - 1
        entry = entry.masked_fill(pushed == 0, room).clamp(max=room)
        columns = [Row.TRACE, Row.WORD, Row.START, Row.LAST, Row.POSTERIORS, Row.COUNT]
        entries = torch.stack([state.rows[..., column] for column in columns], 2)
        state.arena.scatter_(1, entry.unsqueeze(2).expand(-1, -1, len(Entry)), entries)
        wanted = state.sizes + pushed.sum(1)
        state.lost += (wanted - room).clamp(min=0)
        state.sizes.copy_(wanted.clamp(max=room))
        own = entry.gather(1, parent).to(torch.int32)
        new[..., Row.TRACE] = torch.where(finished == 1, own, old[..., Row.TRACE])
        before = old[..., Row.WORD].masked_fill(begins, -1)
        new[..., Row.WORD] = torch.where(word >= 0, word, before)
        self._time(frame, state, new, code, begins)
        keeps = active[:, None]
        state.rows.copy_(torch.where(keeps[:, :, None], new, state.rows))
        relative = (scores - best).masked_fill(~alive, NOTHING)
        state.scores.copy_(torch.where(keeps, relative, state.scores))
        state.hashes.copy_(torch.where(keeps, hashes.gather(1, place), state.hashes))
        state.offsets += best[:, 0].masked_fill(~active, 0.0)
        state.steps += active

    def _time(
        self, frame: Tensor, state: GpuState, new: Tensor, code: Tensor, begins: Tensor
    ) -> None:
        """Update the timesteps and posteriors of the hypotheses' own words."""
        node = (code >> 1).clamp(min=0).to(torch.int64)
        token = self.tables.nodes[:, Node.TOKENS][node] & 255
        unit = torch.where(code >= 0, token, (-code) >> 1)
        sounds = (code & 1 == 0) & (unit != self._silence) & (unit > 0)
        counted = sounds | begins
        posterior = frame.gather(1, unit.to(torch.int64)).exp()
        before = new[..., Row.POSTERIORS].contiguous().view(torch.float32)
        total = before.masked_fill(begins, 0.0) + posterior.masked_fill(~counted, 0.0)
        step = state.steps[:, None].expand_as(code)
        new[..., Row.START] = torch.where(begins, step, new[..., Row.START])
        new[..., Row.LAST] = torch.where(counted, step, new[..., Row.LAST])
        count = new[..., Row.COUNT].masked_fill(begins, 0) + counted
        new[..., Row.COUNT], new[..., Row.POSTERIORS] = count, total.view(torch.int32)


def _grid(total: int, device: torch.device) -> tuple[tuple[int], int]:
    """Return how many programs run, and the lanes of each.

    The interpreter runs programs in turn: there one has all lanes.
    """
    block = _BLOCK if device.type == "cuda" else triton.next_power_of_2(total)
    return (triton.cdiv(total, block),), block


class CapturedStep:
    """A state's timestep and its compaction as CUDA graphs: one launch each.

    Args:
        search: whose timestep it is.
        state: whose memory the graphs read and write; not to be replaced while they are used.
        units: columns of the log-posteriors.
    """

    def __init__(self, search: GpuSearch, state: GpuState, units: int) -> None:
        streams = len(state.steps)
        self._state = state
        self._frame = torch.zeros(streams, units, device=search.device)
        self._active = torch.zeros(streams, dtype=torch.bool, device=search.device)
        side = torch.cuda.Stream(search.device)  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream(search.device))
        with torch.cuda.stream(side):  # compiles the kernels; no stream is active, nothing changes
            search.step(self._frame, self._active, state)
            search.compact(state)
        torch.cuda.current_stream(search.device).wait_stream(side)
        self._step, self._compact = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._step):
            search.step(self._frame, self._active, state)
        with torch.cuda.graph(self._compact):
            search.compact(state)

    def step(self, frame: Tensor, active: Tensor, state: GpuState) -> None:
        """Hear one timestep ``(B, V)``, as ``GpuSearch.step``."""
        self._require(state)
        self._frame.copy_(frame)
        self._active.copy_(active)
        self._step.replay()

    def compact(self, state: GpuState) -> None:
        """Drop the words that no hypothesis leads to, as ``GpuSearch.compact``."""
        self._require(state)
        self._compact.replay()

    def _require(self, state: GpuState) -> None:
        if state is not self._state:
            raise ValueError("the graph was captured for another state")
