"""Build the lexicon's prefix tree: words that begin alike share their first tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...errors import ModelError

__all__ = [
    "MOST_HOMOPHONES",
    "MOST_TOKENS",
    "Node",
    "Tree",
    "TreeWord",
    "build_tree",
    "most_candidates",
]

MOST_TOKENS = 64  # a node's children are the bits of one integer
MOST_HOMOPHONES = 6
_NOTHING = np.float32(-99)
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


class Node:
    """Columns of ``Tree.nodes``.

    The children of a node stand side by side, by ascending token; ``MASK``, 64 bits, two columns,
    has a bit for the token of each. ``LOOK_AHEAD`` and ``BEST_CHILD`` are float32 powers of ten.
    """

    FIRST_CHILD, FIRST_WORD, LOOK_AHEAD, BEST_CHILD, MASK, _, WORDS, TOKENS = range(8)
    """``WORDS``: how many end here. ``TOKENS``: the node's token and, times 256, its parent's."""


class TreeWord:
    """Columns of ``Tree.words``; ``BEST`` is float32, the most it can score in any context."""

    WORD, LM_WORD, BEST = range(3)


@dataclass(frozen=True)
class Tree:
    """A prefix tree of N nodes, breadth first, node 0 its root, at which W words end.

    ``nodes (N, 8)`` int32, columns ``Node``; ``words (W, 3)`` int32, columns ``TreeWord``, those
    of a node side by side, the one that can score most first.
    """

    nodes: NDArray[np.int32]
    words: NDArray[np.int32]


def build_tree(
    spellings: Sequence[tuple[int, Sequence[int]]],
    lm_words: NDArray[np.int32],
    look_ahead: Floats,
    best: Floats,
    unknown: int = -1,
    homophones: int = MOST_HOMOPHONES,
) -> Tree:
    """Return the tree of ``spellings``: a word and its tokens each, several for some words.

    Args:
        spellings: words are indices into the arrays that follow; tokens are below 64, not 0.
        lm_words: each word's index in the language model; ``unknown`` where it knows it not.
        look_ahead: each word's score after ``<s>``: a node is worth its best (Collobert et al.
            2016, "smearing").
        best: the most that each word can score in any context.
        unknown: the language model's word for those that it does not know.
        homophones: how many words that sound alike are kept, the likeliest; of those that the
            language model does not know only one: rounding would choose among them.

    Raises ModelError for an empty spelling.
    """
    lengths = np.array([len(tokens) for _, tokens in spellings], np.int64)
    if not len(lengths):
        raise ModelError("the lexicon has no words")
    if not lengths.all():
        raise ModelError("a word of the lexicon has no tokens")
    depth = int(lengths.max())
    word = np.array([word for word, _ in spellings], np.int64)
    tokens = np.zeros((len(word), depth), np.int64)
    tokens[np.arange(depth) < lengths[:, None]] = np.concatenate([t for _, t in spellings])
    kept = _without_homophones(tokens, word, look_ahead, lm_words == unknown, homophones)
    return _grow(tokens[kept], word[kept], lengths[kept], lm_words, look_ahead, best)


def _without_homophones(
    tokens: Ints, word: Ints, score: Floats, unknown: NDArray[np.bool], most: int
) -> Ints:
    """Return the places of the spellings to keep, the likeliest word first."""
    order = np.lexsort((word, -score[word]))
    _, group = np.unique(tokens[order], axis=0, return_inverse=True)
    kept: list[int] = []
    alike: dict[int, list[bool]] = {}
    for place, same, new in zip(
        order.tolist(), group.ravel().tolist(), unknown[word[order]].tolist(), strict=True
    ):
        known = alike.setdefault(same, [])
        if len(known) < most and not (new and any(known)):
            known.append(new)
            kept.append(place)
    return np.array(kept, np.int64)


def _grow(
    tokens: Ints,
    word: Ints,
    lengths: Ints,
    lm_words: NDArray[np.int32],
    look_ahead: Floats,
    best: Floats,
) -> Tree:
    """Return the tree of spellings, grown level by level."""
    at = np.zeros(len(word), np.int64)  # the node that each spelling has come to
    levels = [(np.zeros(1, np.int64), np.zeros(1, np.int64), np.zeros(1, np.float32))]
    size = 1
    for level in range(tokens.shape[1]):
        going = np.flatnonzero(lengths > level)
        keys, place = np.unique(at[going] * MOST_TOKENS + tokens[going, level], return_inverse=True)
        most = np.full(len(keys), _NOTHING)
        np.maximum.at(most, place, look_ahead[word[going]])
        at[going] = size + place
        levels.append((keys % MOST_TOKENS, keys // MOST_TOKENS, most))
        size += len(keys)
    token, parent, ahead = (np.concatenate(part) for part in zip(*levels, strict=True))
    order = np.lexsort((-best[word], at))
    at, word = at[order], word[order]
    return Tree(
        _nodes(token, parent, ahead, at, best[word]), _words(word, lm_words[word], best[word])
    )


def _nodes(token: Ints, parent: Ints, ahead: Floats, ends: Ints, best: Floats) -> NDArray[np.int32]:
    """Return the rows of ``Tree.nodes``; ``ends`` are the nodes, ascending, of all words."""
    size = len(token)
    nodes = np.zeros((size, 8), np.int32)
    floats, masks = nodes.view(np.float32), nodes.view(np.int64)
    children = np.bincount(parent[1:], minlength=size)
    words = np.bincount(ends, minlength=size)
    nodes[:, Node.FIRST_CHILD] = 1 + np.cumsum(children) - children
    nodes[:, Node.FIRST_WORD] = np.cumsum(words) - words
    nodes[:, Node.WORDS] = words
    nodes[:, Node.TOKENS] = token | token[parent] << 8
    floats[:, Node.LOOK_AHEAD] = ahead
    reach = ahead.copy()
    np.maximum.at(reach, ends, best)
    floats[:, Node.BEST_CHILD] = _NOTHING
    np.maximum.at(floats[:, Node.BEST_CHILD], parent[1:], reach[1:])
    np.bitwise_or.at(masks[:, Node.MASK // 2], parent[1:], np.left_shift(np.int64(1), token[1:]))
    return nodes


def _words(word: Ints, lm_word: NDArray[np.int32], best: Floats) -> NDArray[np.int32]:
    """Return the rows of ``Tree.words``."""
    words = np.zeros((len(word), 3), np.int32)
    words[:, TreeWord.WORD], words[:, TreeWord.LM_WORD] = word, lm_word
    words.view(np.float32)[:, TreeWord.BEST] = best
    return words


def most_candidates(tree: Tree) -> int:
    """Return the most hypotheses that one can become in a timestep."""
    first = tree.nodes[:, Node.FIRST_CHILD]
    children = np.diff(first, append=len(first))
    ends = np.concatenate([[0], np.cumsum(tree.nodes[:, Node.WORDS])])
    words = ends[first + children] - ends[first]
    return int((children + words).max()) + 3  # blank, the same token again, silence
