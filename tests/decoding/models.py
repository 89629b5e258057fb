"""Small random lexicons and n-gram models, and the same as plain functions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from streamasr.decoding.graph import SearchGraph, graph_of
from streamasr.decoding.reference import Spelling
from streamasr.tokens import Tokens

PHONES = ["a", "b", "c", "d", "e", "f"]
TOKENS = Tokens(("<blank>", *PHONES))


@dataclass(frozen=True, repr=False)  # hypothesis prints arguments
class Model:
    """A graph, and what it was made of."""

    graph: SearchGraph
    grams: dict[tuple[str, ...], tuple[float, float]]
    spellings: list[Spelling]

    def lm_score(self, state, word: int) -> tuple[float, tuple[str, ...]]:
        """Score by the definition of back-off models; a state is its words."""
        return self.score(state, self.graph.words[word] if word >= 0 else "</s>")

    def score(self, state: tuple[str, ...], word: str) -> tuple[float, tuple[str, ...]]:
        if (word,) not in self.grams:
            word = "<unk>"
        order = max(map(len, self.grams))
        backoff = 0.0
        for size in range(len(state), -1, -1):
            context = state[len(state) - size :]
            if (*context, word) in self.grams:
                score = backoff + self.grams[*context, word][0]
                break
            backoff += self.grams.get(context, (0.0, 0.0))[1]
        after = (*state, word)[-(order - 1) :] if order > 1 else ()
        # Only contexts that the model knows tell words apart.
        while after and not self._is_context(after):
            after = after[1:]
        return score, after

    def _is_context(self, words: tuple[str, ...]) -> bool:
        known = self.grams.get(words)
        longer = any(gram[:-1] == words for gram in self.grams)
        return longer or (known is not None and known[1] != 0)


def random_model(seed: int, folder: Path, *, words: int = 7, order: int = 3) -> Model:
    """Return a model of ``words`` words, some of them alike, one unknown to the n-grams."""
    rng = np.random.default_rng(seed)
    names = [f"w{k}" for k in range(words)]
    lexicon: dict[str, list[tuple[str, ...]]] = {}
    for name in names:
        count = rng.integers(1, 3)
        sizes = rng.integers(1, 4, count)
        lexicon[name] = [tuple(rng.choice(PHONES[:4], size)) for size in sizes]
    known = names[:-1]
    grams: dict[tuple[str, ...], tuple[float, float]] = {}
    for name in ("<unk>", "<s>", "</s>", *known):
        grams[name,] = (-float(rng.uniform(0.3, 2)), -float(rng.uniform(0, 1)))
    for _ in range(order - 1):
        for gram in [g for g in grams if len(g) == max(map(len, grams)) and g[-1] != "</s>"]:
            for name in known:
                # The suffix must be a gram, too, as in every back-off model.
                has_suffix = len(gram) == 1 or (*gram[1:], name) in grams
                if rng.random() < 0.3 and has_suffix:
                    grams[*gram, name] = (-float(rng.uniform(0.1, 1.5)), 0.0)
        for gram in [g for g in grams if len(g) == max(map(len, grams))]:
            grams[gram] = (grams[gram][0], -float(rng.uniform(0, 0.7)))
    highest = max(map(len, grams))
    grams = {g: (p, 0.0 if len(g) == highest else b) for g, (p, b) in grams.items()}
    # As float32, of which the file has enough digits.
    grams = {g: (float(np.float32(p)), float(np.float32(b))) for g, (p, b) in grams.items()}
    path = folder / f"{seed}.arpa"
    path.write_text(arpa_of(grams))
    graph = graph_of(path, lexicon, TOKENS)
    scores = graph.start_scores[graph.lm_words]
    spellings = [
        Spelling(place, tuple(TOKENS.encode(tokens)), float(scores[place]))
        for place, name in enumerate(names)
        for tokens in dict.fromkeys(lexicon[name])
    ]
    return Model(graph, grams, spellings)


def arpa_of(grams: dict[tuple[str, ...], tuple[float, float]]) -> str:
    """Return the text of an ARPA file."""
    order = max(map(len, grams))
    by_order = [[g for g in grams if len(g) == n] for n in range(1, order + 1)]
    lines = ["\\data\\", *(f"ngram {n}={len(g)}" for n, g in enumerate(by_order, 1)), ""]
    for n, listed in enumerate(by_order, 1):
        lines.append(f"\\{n}-grams:")
        for gram in listed:
            log10_prob, backoff = grams[gram]
            end = f"\t{backoff:.9g}" if n < order else ""
            lines.append(f"{log10_prob:.9g}\t{' '.join(gram)}{end}")
        lines.append("")
    return "\n".join([*lines, "\\end\\", ""])


def random_log_probs(seed: int, steps: int, units: int, sharpness: float = 2.0) -> np.ndarray:
    """Return ``(steps, units)`` float32 log-posteriors."""
    rng = np.random.default_rng(seed)
    logits = sharpness * rng.standard_normal((steps, units))
    logits -= np.log(np.exp(logits).sum(1, keepdims=True))
    return logits.astype(np.float32)


def context_units(seed: int) -> tuple[np.ndarray, int]:
    """Return a table of units, tied at random, and the number of units with the blank."""
    rng = np.random.default_rng(seed)
    size = len(TOKENS)
    table, units = np.zeros((size, size), np.int32), 1
    for token in range(1, size):
        classes = rng.integers(0, 3, size)
        table[:, token] = units + classes
        units += 3
    return table, units


def ctc_score(log_probs: np.ndarray, tokens: list[int], free: set[int]) -> float:
    """Return the log of the sum over CTC alignments of ``tokens``, by the definition.

    Before the tokens at the places in ``free``, where words begin, no blank is needed between equal
    ones.
    """
    extended = [0]
    for token in tokens:
        extended += [token, 0]
    alpha = [-math.inf] * len(extended)
    alpha[0] = float(log_probs[0, 0])
    if tokens:
        alpha[1] = float(log_probs[0, tokens[0]])
    for frame in log_probs[1:]:
        new = []
        for place, token in enumerate(extended):
            terms = [alpha[place]]
            if place > 0:
                terms.append(alpha[place - 1])
            if place > 2 and token and (token != extended[place - 2] or place // 2 in free):
                terms.append(alpha[place - 2])
            high = max(terms)
            total = (
                high
                if high == -math.inf
                else high + math.log(sum(math.exp(term - high) for term in terms))
            )
            new.append(total + float(frame[token]))
        alpha = new
    last = alpha[-2:] if tokens else alpha[-1:]
    high = max(last)
    return (
        high + math.log(sum(math.exp(term - high) for term in last)) if high > -math.inf else high
    )
