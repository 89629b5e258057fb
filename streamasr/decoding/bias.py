"""Hotwords of one stream: a small tree beside the lexicon's, and a bonus for whole phrases.

Contextual biasing by shallow fusion (Williams et al. 2018; Aho and Corasick 1975 for the matching):
each word of a phrase earns the phrase's weight, and gives it back where the phrase is broken off.
The tree makes the search look ahead to the bonus, and has words that the lexicon lacks. Somebody's
own text is given to the search in the same way, with bonuses that nothing takes back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..hotwords import RARE, Hotword
from ..tokens import Tokens
from .arrays import frozen, tree_arrays
from .graph import SearchGraph
from .graph.tree import TreeWord, build_tree, most_candidates
from .letters import pronounce
from .mixture import Mixture

__all__ = ["NO_AUTOMATON", "Bias", "build_bias"]

Spelling = tuple[int, ...]


@dataclass(frozen=True)
class Bias:
    """Hotwords as the search takes them. A value: streams may share one, and it can be pickled.

    ``words`` are those of all phrases; ``added`` are the ones that the lexicon lacks, and those of
    somebody's own text, numbered after its own. ``tree`` and ``skipped`` (a bit for each word of
    the lexicon that stands in the tree) are ``tree_arrays``; ``automaton`` has arcs (state and
    word), weights and next states, and each state's pending bonus and the state to go on from
    where no arc fits.
    """

    words: frozenset[str]
    added: tuple[str, ...]
    tree: tuple[NDArray[Any], ...]
    skipped: NDArray[np.uint8]
    automaton: tuple[NDArray[Any], ...]
    most_candidates: int

    def pending(self, state: int) -> float:
        """Return the bonus, a power of ten, that ends with nothing if no word follows."""
        return float(self.automaton[3][state])


NO_AUTOMATON: tuple[NDArray[Any], ...] = (
    *(frozen(np.zeros(0, dtype)) for dtype in (np.int64, np.float32, np.int32)),
    *(frozen(np.zeros(1, dtype)) for dtype in (np.float32, np.int32)),
)


def build_bias(
    hotwords: Sequence[Hotword],
    graph: SearchGraph,
    tokens: Tokens,
    rules: Mapping[str, tuple[str, ...]],
    mixture: Mixture | None = None,
) -> tuple[Bias | None, list[tuple[Hotword, str]]]:
    """Return the bias of ``hotwords``, None if it is empty, and those unusable, with the reason.

    Words outside of the lexicon are pronounced by ``rules``, as ``letters.read_rules`` gives them.
    Those of a ``mixture``'s text that cannot be pronounced are passed over.
    """
    spellings: dict[str, list[Spelling]] = {}
    usable: list[tuple[tuple[str, ...], float]] = []
    unusable = []
    own = mixture.words if mixture else ()
    lexicon = graph.spellings((*own, *(word for hotword in hotwords for word in hotword.words)))
    for hotword in hotwords:
        words = hotword.words
        if reason := _spell(words, hotword.phones, spellings, lexicon, tokens, rules):
            unusable.append((hotword, reason))
        else:
            usable.append((words, hotword.weight))
    hot = frozenset(spellings)
    for word in own:
        _spell((word,), (), spellings, lexicon, tokens, rules)
    if not spellings:
        return None, unusable
    names = [*spellings]
    added = [name for name in names if name not in graph.index]
    numbers = {name: len(graph.text_ends) + k for k, name in enumerate(added)}
    places = np.array([graph.index.get(name, numbers.get(name, 0)) for name in names], np.int32)
    number = dict(zip(names, places.tolist(), strict=True))
    single, pairs = mixture.numbered(number) if mixture else ({}, {})
    weight = {name: -np.inf if name in hot else 0.0 for name in names}
    for words, value in usable:
        for name in words:
            weight[name] = max(weight[name], value)
    most = dict(single)
    for row in pairs.values():
        for place, value in row.items():
            most[place] = max(most.get(place, 0.0), value)
    bonus = np.array([weight[name] + single.get(number[name], 0.0) for name in names], np.float32)
    highest = np.array([weight[name] + most.get(number[name], 0.0) for name in names], np.float32)
    listed = places < len(graph.text_ends)
    lm_words = np.full(len(names), graph.unknown, np.int32)
    lm_words[listed] = graph.lm_words[places[listed]]
    ahead = np.maximum(graph.start_scores[lm_words], np.float32(RARE)) + bonus
    best = np.maximum(graph.best_scores[lm_words], np.float32(RARE)) + highest
    flat = [(k, tokens) for k, name in enumerate(names) for tokens in spellings[name]]
    tree = build_tree(flat, lm_words, ahead, best, homophones=len(flat))
    tree.words[:, TreeWord.WORD] = places[tree.words[:, TreeWord.WORD]]
    skipped = np.zeros(len(graph.text_ends) // 8 + 1, np.uint8)
    moved = places[listed]
    np.bitwise_or.at(skipped, moved >> 3, np.left_shift(1, moved & 7).astype(np.uint8))
    phrases = [([number[name] for name in words], value) for words, value in usable]
    return (
        Bias(
            hot,
            tuple(added),
            tree_arrays(tree, np.zeros(1, np.uint8)),
            frozen(skipped),
            _automaton(phrases, single, pairs),
            most_candidates(tree),
        ),
        unusable,
    )


def _spell(
    words: tuple[str, ...],
    phones: tuple[str, ...],
    spellings: dict[str, list[Spelling]],
    lexicon: Mapping[str, Sequence[Spelling]],
    tokens: Tokens,
    rules: Mapping[str, tuple[str, ...]],
) -> str | None:
    """Enter how a phrase's words are spelled; return why it cannot be used, if so."""
    if not words:
        return "it has no letters a to z"
    found = {name: list(spellings.get(name) or lexicon[name]) for name in words}
    for name, known in found.items():
        if phones and len(words) == 1:
            known.append(tuple(tokens.encode(phones)))
        elif not known and tokens.space is not None:
            known.append((*tokens.encode(name), tokens.space))
        elif not known:
            ruled = pronounce(name.replace("'", ""), rules)
            if not ruled:
                return f"no pronunciation of {name!r} is known; add one behind a second tab"
            known.append(tuple(tokens.encode(ruled)))
    spellings.update((name, list(dict.fromkeys(known))) for name, known in found.items())
    return None


def _automaton(
    phrases: Iterable[tuple[list[int], float]],
    single: Mapping[int, float],
    pairs: Mapping[int, Mapping[int, float]],
) -> tuple[NDArray[Any], ...]:
    """Return the arrays of the automaton that finds phrases, each a list of words and a weight.

    Beside a phrase's weight a word earns what ``pairs`` say it does after the word before it, else
    what ``single`` says.
    """
    arcs: list[dict[int, int]] = [{}]
    weights, ends, parent = [0.0], [True], [(0, 0)]

    def entered(state: int, word: int, *, end: bool) -> int:
        following = arcs[state].get(word)
        if following is None:
            following = arcs[state][word] = len(arcs)
            arcs.append({})
            weights.append(0.0 if end else -np.inf)
            ends.append(end)
            parent.append((state, word))
        return following

    for words, weight in phrases:
        state = 0
        for word in words:
            state = entered(state, word, end=False)
            weights[state] = max(weights[state], weight)
        ends[state] = True
    for word in pairs:  # a state that knows the word before
        entered(0, word, end=True)
    pending, fails = _broken_off(arcs, weights, ends, parent)

    def text_bonus(state: int, word: int) -> float:
        own = single.get(word, 0.0)
        return pairs.get(parent[state][1], {}).get(word, own) if state else own

    flat = [
        (state << 32 | word, weights[following] + text_bonus(state, word), following)
        for state, row in enumerate(arcs)
        for word, following in row.items()
    ]
    root = arcs[0]
    flat += [(word, bonus, 0) for word, bonus in single.items() if word not in root]
    for before, known in pairs.items():
        state = root[before]
        for word, bonus in known.items():
            if word not in arcs[state]:
                # As if it went back to the root, where the phrase that was begun is broken off.
                following = root.get(word, 0)
                gain = bonus - pending[state] + (weights[following] if following else 0.0)
                flat.append((state << 32 | word, gain, following))
    keys, gains, targets = zip(*sorted(flat), strict=True)
    arrays: tuple[NDArray[Any], ...] = (
        np.array(keys, np.int64),
        np.array(gains, np.float32),
        np.array(targets, np.int32),
        np.array(pending, np.float32),
        np.array(fails, np.int32),
    )
    return tuple(map(frozen, arrays))


def _broken_off(
    arcs: Sequence[Mapping[int, int]],
    weights: Sequence[float],
    ends: Sequence[bool],
    parent: Sequence[tuple[int, int]],
) -> tuple[list[float], list[int]]:
    """Return each state's bonus that is not yet earned, and the state to go on from."""
    pending, fails, depth = [0.0] * len(arcs), [0] * len(arcs), [0] * len(arcs)
    # Parents were made before their children.
    for state in range(1, len(arcs)):
        before, _ = parent[state]
        depth[state] = depth[before] + 1
        pending[state] = 0.0 if ends[state] else pending[before] + weights[state]
    for state in sorted(range(1, len(arcs)), key=depth.__getitem__):
        before, word = parent[state]
        while before:
            before = fails[before]
            if word in arcs[before]:
                fails[state] = arcs[before][word]
                break
    return pending, fails
