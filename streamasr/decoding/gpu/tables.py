"""A search graph's arrays on the device, and what bounds the kernels' loops over them."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..graph import SearchGraph
from ..graph.automaton import Automaton
from ..graph.tree import Node

__all__ = ["Tables"]


@dataclass(frozen=True)
class Tables:
    """The tree and the n-gram automaton as int32, int64 and float32 tensors.

    Unsigned arrays are kept as signed ones of the same bits: the kernels mask what they shift.
    """

    nodes: Tensor
    node_floats: Tensor
    node_masks: Tensor
    words: Tensor
    word_floats: Tensor
    lm: tuple[Tensor, ...]
    """In the order of ``Automaton``'s fields."""
    first_arc_state: int
    most_words: int
    """Words that end in one node."""
    back_offs: int
    """From any state to that of the empty context."""
    arc_steps: int
    """Of a binary search among a state's arcs."""

    @classmethod
    def of(cls, graph: SearchGraph, device: torch.device) -> Tables:
        """Move a graph's arrays to a device."""
        nodes = _tensor(graph.tree.nodes, device)
        words = _tensor(graph.tree.words, device)
        lm = graph.lm
        most_arcs = int(np.diff(lm.state_arcs).max(initial=0))
        return cls(
            nodes=nodes,
            node_floats=nodes.view(torch.float32),
            node_masks=nodes.view(torch.int64),
            words=words,
            word_floats=words.view(torch.float32),
            lm=tuple(_tensor(getattr(lm, field.name), device) for field in fields(Automaton)),
            first_arc_state=lm.first_arc_state,
            most_words=int(graph.tree.nodes[:, Node.WORDS].max()),
            back_offs=_longest_back_off(lm),
            arc_steps=most_arcs.bit_length(),
        )

    @property
    def bytes(self) -> int:
        """Memory on the device."""
        return sum(tensor.nbytes for tensor in (self.nodes, self.words, *self.lm))


def _tensor(array: NDArray[np.generic], device: torch.device) -> Tensor:
    """Return a copy on a device, never empty, so that every pointer is good for one element."""
    signed = {"uint32": np.int32, "uint64": np.int64}.get(array.dtype.name)
    copy = np.array(array if signed is None else array.view(signed), order="C")
    return torch.from_numpy(copy if copy.size else np.zeros(1, copy.dtype)).to(device)


def _longest_back_off(lm: Automaton) -> int:
    """Return how many states there are from the longest context down to the empty one."""
    backoff = (lm.state_backoff & np.uint32(0xFFFFFF)).astype(np.int64)
    here, count = backoff, 0
    while len(backoff) > 1 and count <= len(backoff):
        count += 1
        if not here.any():
            break
        here = backoff[here]
    return count
