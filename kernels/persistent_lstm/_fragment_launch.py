"""Launches of the fragment kernel: weights packed, memory prepared, arguments in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ._fragment_packing import pack_fragments, pack_gates
from ._workspace import Workspace
from .plan import Launch, Plan
from .planning import launch_geometry
from .types import LayerWeights, LSTMState

__all__ = ["Fragments", "arguments", "once_arguments", "once_words", "pack_launch"]


class Fragments(NamedTuple):
    """The weights of one launch, as the kernel takes them."""

    w_ih: Tensor
    w_hh: Tensor
    bias: Tensor
    row_sums: Tensor


def pack_launch(plan: Plan, launch: Launch, weights: Sequence[LayerWeights]) -> Fragments:
    """Pack the layers of ``launch``."""
    cut = launch_geometry(plan, launch)
    layers = weights[slice(*launch.layers)]
    units, split = launch.units, plan.split

    def stacked(pack: Callable[[LayerWeights], Tensor]) -> Tensor:
        return torch.stack([pack(w) for w in layers])

    return Fragments(
        stacked(lambda w: pack_fragments(w.w_ih, units, cut.width, split=split)),
        stacked(lambda w: pack_fragments(w.w_hh, units, launch.hidden, split=split)),
        stacked(lambda w: pack_gates(w.b_ih.float() + w.b_hh.float(), units)),
        stacked(lambda w: pack_gates(w.w_ih.double().sum(1), units)),
    )


def arguments(
    w: Fragments,
    memory: Workspace,
    x: Tensor,
    C_0: Tensor,
    lengths: Tensor | None,
    error: Tensor,
    stamps: Tensor,
) -> tuple[Tensor, ...]:
    """Return the kernel's arguments up to T, in order; what it does not read is x or y."""
    return (
        memory.x,
        x.view(torch.int32),
        *w,
        memory.h_0,
        C_0,
        x if lengths is None else lengths,
        memory.hs,
        # Of one layer these are empty.
        memory.rs if memory.rs.numel() else memory.y,
        memory.sums if memory.sums.numel() else memory.y,
        memory.y,
        memory.h,
        memory.C,
        error,
        stamps,
    )


def once_words(plan: Plan, launch: Launch, steps: int, rows: int) -> int:
    """Return the words that a launch that makes them itself exchanges."""
    columns = launch_geometry(plan, launch).width
    width, hidden = (n if plan.split else n // 2 for n in (columns, launch.hidden))
    normed = (launch.depth - 1) * (hidden + launch.hidden) if plan.residual else 0
    return rows * (steps * (width + launch.depth * hidden + normed) + launch.depth * hidden)


def once_arguments(
    w: Fragments,
    words: Tensor,
    x: Tensor,
    state: LSTMState,
    table: Tensor | None,
    results: tuple[Tensor, LSTMState],
    lengths: Tensor | None,
    error: Tensor,
    stamps: Tensor,
) -> tuple[Tensor, ...]:
    """Return the kernel's arguments up to T, for one that makes its words itself in ``words``."""
    y, last = results
    values = x.view(torch.int32)
    return (
        values,
        values,
        *w,
        state.h.view(torch.int32) if table is None else table,
        state.C,
        x if lengths is None else lengths,
        words,
        words,
        words,
        y.view(torch.int32),
        last.h,
        last.C,
        error,
        stamps,
    )
