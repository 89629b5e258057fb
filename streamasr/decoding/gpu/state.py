"""Hypotheses of many streams on the device, and one stream's as a ``SearchState`` on the host.

Words are kept in an arena of each stream: an entry is a word that another has followed, with its
times, and the entry before it. Equal words may have several entries; hypotheses are distinguished
by a hash of their words. Entries that no hypothesis leads to are dropped now and then.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..graph import SearchGraph
from ..layout import FRESH, NO_TRACE, History, Hypothesis, Trace
from ..search import SearchState

__all__ = [
    "DEAD",
    "NOTHING",
    "Entry",
    "GpuState",
    "Row",
    "SearchOverflow",
    "compact",
    "host_state",
]

NOTHING = -1e30
DEAD = -1e29  # what scores less is no hypothesis


class SearchOverflow(RuntimeError):
    """A stream's hypotheses had more words than there was room for: its text is not known."""


class Row(IntEnum):
    """Columns of a hypothesis. ``WORD``: that which ended last, -1 while another is being said."""

    CODE, LM_STATE, TRACE, WORD, START, LAST, POSTERIORS, COUNT = range(8)


class Entry(IntEnum):
    """Columns of the arena, as those of ``Row``."""

    PARENT, WORD, START, LAST, POSTERIORS, COUNT = range(6)


@dataclass
class GpuState:
    """B streams with K hypotheses and room for A words each. ``GpuSearch.advance`` changes it.

    ``rows (B, K, 8)`` int32, ``scores (B, K)`` float32, relative to ``offsets (B,)`` float64, and
    ``hashes (B, K)`` int64; best first. ``arena (B, A + 1, 6)`` int32, of which the first ``sizes
    (B,)`` int64 are used; the last takes what has no room. ``steps (B,)`` int32: timesteps so far.

    ``dropped (B,)`` int64 counts candidates within the threshold for which there was no room
    before they were merged though the beam had some, and ``lost (B,)`` words: such a stream's
    words cannot be read any more. ``since`` counts the timesteps since the arena was compacted.
    """

    rows: Tensor
    scores: Tensor
    hashes: Tensor
    arena: Tensor
    sizes: Tensor
    steps: Tensor
    offsets: Tensor
    dropped: Tensor
    lost: Tensor
    since: int = 0

    @classmethod
    def initial(
        cls, streams: int, beam: int, room: int, lm_state: int, device: torch.device
    ) -> GpuState:
        """Return the state before the first timestep; ``lm_state`` is the beginning's."""
        rows = torch.zeros(streams, beam, len(Row), dtype=torch.int32, device=device)
        rows[..., Row.CODE], rows[..., Row.LM_STATE] = FRESH, lm_state
        rows[..., Row.TRACE], rows[..., Row.WORD] = NO_TRACE, -1
        scores = torch.full((streams, beam), NOTHING, device=device)
        scores[:, 0] = 0.0
        counts = torch.zeros(streams, dtype=torch.int64, device=device)
        arena = torch.zeros(streams, room + 1, len(Entry), dtype=torch.int32, device=device)
        arena[..., Entry.PARENT] = NO_TRACE
        return cls(
            rows=rows,
            scores=scores,
            hashes=torch.zeros(streams, beam, dtype=torch.int64, device=device),
            arena=arena,
            sizes=counts,
            steps=counts.to(torch.int32),
            offsets=counts.to(torch.float64),
            dropped=counts.clone(),
            lost=counts.clone(),
        )

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors by their names."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in found.items() if isinstance(value, Tensor)}

    def clone(self) -> GpuState:
        """Return a copy that goes its own way."""
        return GpuState(**{n: t.clone() for n, t in self.tensors().items()}, since=self.since)

    def reset(self, chosen: Tensor, initial: GpuState) -> None:
        """Begin anew in the streams ``chosen (B,)`` bool; ``initial`` has one stream."""
        for name, tensor in self.tensors().items():
            mask = chosen.view(-1, *[1] * (tensor.ndim - 1))
            tensor.copy_(torch.where(mask, getattr(initial, name), tensor))

    @property
    def bytes(self) -> int:
        """Memory on the device."""
        return sum(tensor.nbytes for tensor in self.tensors().values())


def compact(state: GpuState) -> None:
    """Drop the words that no hypothesis leads to; the others keep their order. Copies nothing.

    The words that are reached are found by doubling: after round r all are that lie up to 2^r
    entries before a hypothesis' own.
    """
    room = state.arena.shape[1] - 1
    state.arena[:, room, Entry.PARENT].fill_(NO_TRACE)
    parents = _slots(state.arena[..., Entry.PARENT], room)
    own = _slots(state.rows[..., Row.TRACE].masked_fill(state.scores <= DEAD, NO_TRACE), room)
    reached = torch.zeros_like(parents).scatter(1, own, 1)
    jump = parents
    for _ in range(math.ceil(math.log2(room + 1))):
        reached = reached.scatter_reduce(1, jump, reached, "amax")
        jump = jump.gather(1, jump)
    reached[:, room].fill_(0)
    # A place for each entry: its new one, the last for those that go.
    place = (reached.cumsum(1) - 1).masked_fill(reached == 0, room)
    back = place.masked_fill(place == room, NO_TRACE).to(torch.int32)
    moved = state.arena.clone()
    moved[..., Entry.PARENT] = back.gather(1, parents)
    state.arena.scatter_(1, place.unsqueeze(2).expand_as(moved), moved)
    state.arena[:, room, Entry.PARENT].fill_(NO_TRACE)
    state.rows[..., Row.TRACE] = back.gather(1, own)
    state.sizes.copy_(reached.sum(1))


def _slots(traces: Tensor, room: int) -> Tensor:
    """Return traces as indices of the arena: the last place stands for none."""
    return traces.masked_fill(traces < 0, room).to(torch.int64)


def host_state(
    state: GpuState, stream: int, graph: SearchGraph, lm: tuple[Any, ...]
) -> SearchState:
    """Copy one stream to the host, as the state that the CPU's search would be in.

    ``lm`` are the automaton's arrays as ``arrays.lm_arrays`` gives them. Histories and traces are
    numbered in the order of the hypotheses, so that equal streams have equal states.

    Raises SearchOverflow if words were lost; warns if candidates were dropped.
    """
    from ..kernel import lm_score

    lost, dropped = int(state.lost[stream]), int(state.dropped[stream])
    if lost:
        raise SearchOverflow(
            f"stream {stream}: no room for {lost} words of its hypotheses; raise words_per_beam"
        )
    if dropped:
        warnings.warn(
            f"stream {stream}: {dropped} candidates had no room; raise candidates_per_beam",
            RuntimeWarning,
            stacklevel=3,
        )
    scores = state.scores[stream].cpu().numpy()
    alive = scores > DEAD
    rows = state.rows[stream].cpu().numpy()[alive]
    arena = state.arena[stream].cpu().numpy()
    known: dict[tuple[int, int], int] = {}
    history_rows = [np.array([-1, -1, graph.start_state, 0, 0], np.int32)]
    trace_rows: list[list[int]] = []
    # Of each entry of the arena: its history, without words for NO_TRACE, and its trace.
    places: dict[int, tuple[int, int]] = {NO_TRACE: (0, NO_TRACE)}

    def history_of(parent: int, word: int) -> int:
        if (parent, word) not in known:
            known[parent, word] = len(history_rows)
            before = history_rows[parent][History.LM_STATE]
            score, after = lm_score(before, graph.lm_words[word], lm)
            row = np.array([parent, word, after, 0, 0], np.int32)
            row.view(np.float32)[History.LM_SCORE] = score
            history_rows.append(row)
        return known[parent, word]

    found = np.zeros((len(rows), len(Hypothesis)), np.int32)
    for row, out in zip(rows, found, strict=True):
        chain, at = [], int(row[Row.TRACE])
        while at not in places:
            chain.append(at)
            at = int(arena[at, Entry.PARENT])
        for at in reversed(chain):
            entry = arena[at]
            history, trace = places[int(entry[Entry.PARENT])]
            places[at] = history_of(history, int(entry[Entry.WORD])), len(trace_rows)
            times = entry[[Entry.START, Entry.LAST, Entry.POSTERIORS, Entry.COUNT]]
            trace_rows.append([trace, *times.tolist()])
        history, trace = places[int(row[Row.TRACE])]
        if row[Row.WORD] >= 0:
            history = history_of(history, int(row[Row.WORD]))
        out[[Hypothesis.CODE, Hypothesis.HISTORY, Hypothesis.TRACE]] = row[Row.CODE], history, trace
        for column in ("START", "LAST", "POSTERIORS", "COUNT"):
            out[Hypothesis[column]] = row[Row[column]]
    found.view(np.float32)[:, Hypothesis.SCORE] = scores[alive]
    return SearchState(
        found,
        np.array(history_rows, np.int32),
        np.array(trace_rows, np.int32).reshape(-1, len(Trace)),
        int(state.steps[stream]),
        float(state.offsets[stream]),
    )
