"""What was said, as phones: each word's likeliest pronunciation, and how well all of it fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ..decoding.graph import SearchGraph, load_graph
from ..decoding.letters import RULES, pronounce, read_rules
from ..manifest import normalise
from ..tokens import Tokens
from ..training.alignment import align, pronunciation_graph

__all__ = ["Speller", "misfit"]

Spelling = tuple[int, ...]


class Speller:
    """The pronunciations of a lexicon, and for other words those by rules."""

    def __init__(self, graph: SearchGraph, phones: Tokens, rules: Mapping[str, tuple[str, ...]]):
        self.graph = graph
        self._phones = phones
        self._rules = rules

    @classmethod
    def of_folder(cls, folder: Path, phones: Tokens) -> Speller:
        """Read a model folder; raises ModelError where it has no search graph."""
        return cls(load_graph(folder), phones, read_rules(folder / RULES))

    def spellings(self, texts: Sequence[str]) -> dict[str, list[Spelling]]:
        """Return each way to say every word of ``texts``; none for what has no letters."""
        words = {word for text in texts for word in normalise(text).split()}
        found = self.graph.spellings(words)
        for word in (word for word, known in found.items() if not known):
            phones = pronounce(word, self._rules)
            found[word] = [tuple(self._phones.encode(phones))] if phones else []
        return found

    def likeliest(
        self,
        texts: Sequence[str],
        log_probs: Sequence[NDArray[np.float32]],
    ) -> list[Spelling]:
        """Return the phones of each text as they were said, by ``log_probs (T, P)`` of each.

        What cannot be aligned is spelled by the first pronunciation of each word.
        """
        known = self.spellings(texts)
        rows = [[known[w] for w in normalise(text).split() if known[w]] for text in texts]
        found: list[Spelling] = []
        for ways, scores in zip(rows, log_probs, strict=True):
            first = tuple(phone for way in ways for phone in way[0])
            if all(len(way) == 1 for way in ways) or not len(scores):
                found.append(first)
                continue
            graph = pronunciation_graph(ways, 0)
            (path,) = align([_lasting(scores)], [graph])
            if path is None:
                found.append(first)
                continue
            states = path[np.flatnonzero(np.diff(path, prepend=-1))]
            said = (graph.tokens[state] for state in states)
            found.append(tuple(phone for phone in said if phone))
        return found


def _lasting(log_probs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return CTC's posteriors as those of phones that last until the next."""
    blank = log_probs[:, :1]
    lasting: NDArray[np.float32] = np.logaddexp(log_probs[:, 1:], blank - np.float32(0.7))
    return np.hstack([blank, lasting])


def misfit(log_probs: NDArray[np.float32], tokens: Spelling) -> float:
    """Return by how many nats a token ``tokens`` are less likely than what ``log_probs`` say.

    Both are scored by CTC ``(T, V)``; what is said is read off the likeliest path.
    """
    best = log_probs.argmax(-1)
    said = best[np.flatnonzero(np.diff(best, prepend=-1))]
    rows = [list(tokens), [int(token) for token in said if token]]
    scores = torch.from_numpy(log_probs)[:, None].expand(-1, 2, -1)
    loss = torch.nn.functional.ctc_loss(
        scores,
        torch.tensor(rows[0] + rows[1], dtype=torch.long),
        torch.tensor([len(log_probs)] * 2),
        torch.tensor([len(row) for row in rows]),
        reduction="none",
    )
    # More tokens than timesteps have no path at all.
    return float((loss[0] - loss[1]) / max(1, *map(len, rows)))
