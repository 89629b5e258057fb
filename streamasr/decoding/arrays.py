"""A search graph's arrays in the form that the kernel takes: tuples of read-only views."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .graph.automaton import Automaton
from .graph.tree import Tree

__all__ = ["frozen", "lm_arrays", "tree_arrays"]


def frozen(array: NDArray[Any]) -> NDArray[Any]:
    """Return the array read-only: Numba compiles one version for mapped files and for others."""
    array = np.ascontiguousarray(array)
    if array.flags.writeable:
        array = array.copy()
        array.flags.writeable = False
    return array


def tree_arrays(tree: Tree, skipped: NDArray[np.uint8]) -> tuple[NDArray[Any], ...]:
    """Return a tree as the kernel takes it; ``skipped`` has a bit for each word to pass over."""
    nodes, words = frozen(tree.nodes), frozen(tree.words)
    return (
        nodes,
        nodes.view(np.float32),
        nodes.view(np.int64),
        words,
        words.view(np.float32),
        frozen(skipped),
    )


def lm_arrays(lm: Automaton) -> tuple[Any, ...]:
    """Return an n-gram automaton as the kernel takes it."""
    arrays: tuple[NDArray[Any], ...] = (
        lm.state_arcs,
        lm.state_backoff,
        lm.arcs,
        lm.arc_states,
        lm.arc_ranks,
        lm.unigram,
        lm.unigram_next,
        lm.arc_values,
        lm.backoff_values,
    )
    return (*map(frozen, arrays), lm.first_arc_state)
