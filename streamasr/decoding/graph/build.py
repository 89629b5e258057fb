"""Build a search graph from an ARPA file and a lexicon: ``python -m streamasr.decoding.graph``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ...errors import ModelError
from ...tokens import Tokens
from ..lexicon import read_entries
from .arpa import read_arpa
from .automaton import build_automaton
from .storage import SearchGraph, text_arrays
from .tree import MOST_TOKENS, build_tree

__all__ = ["build_graph", "graph_of"]

START, END, UNKNOWN = "<s>", "</s>", "<unk>"


def build_graph(arpa: str | Path, lexicon: str | Path, tokens: Tokens) -> SearchGraph:
    """Return the graph of an ARPA file and a lexicon (``lexicon.txt`` or its ``.gz``).

    Raises ModelError, one line, for files that are missing, damaged, or do not fit ``tokens``.
    """
    return graph_of(arpa, read_entries(Path(lexicon)), tokens, Path(lexicon))


def graph_of(
    arpa: str | Path,
    lexicon: Mapping[str, Sequence[Sequence[str]]],
    tokens: Tokens,
    path: Path = Path("the lexicon"),
) -> SearchGraph:
    """Return the graph of an ARPA file and the spellings of each word.

    A word without tokens is spelled in its characters; where the tokens have a space, it ends with
    one.
    """
    if len(tokens) > MOST_TOKENS:
        raise ModelError(f"{len(tokens)} tokens: a search graph holds at most {MOST_TOKENS}")
    vocabulary, orders = read_arpa(arpa)
    place = {word: index for index, word in enumerate(vocabulary)}
    if missing := [name for name in (START, END, UNKNOWN) if name not in place]:
        raise ModelError(f"{arpa}: {missing[0]} is not among its words")
    lm = build_automaton(orders)
    words = [*lexicon]
    lm_words = np.array([place.get(word, place[UNKNOWN]) for word in words], np.int32)
    spellings = [
        (index, _encode(word, spelling, tokens, path))
        for index, (word, known) in enumerate(lexicon.items())
        for spelling in dict.fromkeys(map(tuple, known))
    ]
    look_ahead = lm.scores_after(place[START])[lm_words]
    best = lm.best_of_words()[lm_words]
    tree = build_tree(spellings, lm_words, look_ahead, best, place[UNKNOWN])
    specials = (place[START], place[END], place[UNKNOWN])
    return SearchGraph(tree, lm, *text_arrays(words), tokens.symbols, *specials)


def _encode(word: str, spelling: Sequence[str], tokens: Tokens, path: Path) -> tuple[int, ...]:
    try:
        encoded = tokens.encode(spelling or word)
    except KeyError as error:
        raise ModelError(f"{path}: {word!r} has {error}, which is no token") from error
    return (*encoded, tokens.space) if tokens.space is not None else tuple(encoded)
