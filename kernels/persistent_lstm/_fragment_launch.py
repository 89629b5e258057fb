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
from .types import LayerWeights

__all__ = ["Fragments", "arguments", "pack_launch"]


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
