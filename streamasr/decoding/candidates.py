"""Hypotheses for a segment, each with the score of every model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..hotwords import RARE
from ..language import RescorerState
from ..transcript import Word
from .mixture import Mixture
from .search import WordSpan
from .settings import Weights

__all__ = ["Candidate", "confidences", "is_confident", "rescorer_score", "with_own_text"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A hypothesis for a segment, with each model's score of it, unweighted.

    ``acoustic`` is natural and holds what hotwords add, ``lm`` is the n-gram model's power of ten,
    ``rescorer`` the recurrent model's log-probability in nats, ``rescorer_state`` its state after
    the text. ``spans`` are the words' timesteps.
    """

    text: tuple[str, ...]
    spans: tuple[WordSpan, ...]
    acoustic: float
    lm: float
    rescorer: float = 0.0
    rescorer_state: RescorerState | None = None

    def score(self, weights: Weights) -> float:
        """Return the log-linear combination of all scores."""
        models = weights.lm * self.lm + weights.rescorer * self.rescorer
        return self.acoustic + models + weights.word * len(self.text)


def rescorer_score(
    text: Sequence[str],
    scores: Sequence[float],
    hot: frozenset[str],
    mixture: Mixture | None = None,
) -> float:
    """Sum words' log-probabilities; a hotword counts at least as a rare word, as in the search."""
    if mixture is not None:
        scores = mixture.rescorer_scores(text, scores)
    rare = RARE * math.log(10)
    return sum(
        max(score, rare) if word in hot else score for word, score in zip(text, scores, strict=True)
    )


def with_own_text(candidate: Candidate, mixture: Mixture, lm_weight: float) -> Candidate:
    """Return a hypothesis with the mixture's score in place of what the search took for it."""
    bonus = lm_weight * mixture.bonus(candidate.text)
    lm = mixture.lm_score(candidate.text)
    return replace(candidate, acoustic=candidate.acoustic - bonus, lm=lm)


def is_confident(confidences: Sequence[float], least: float) -> bool:
    """Whether words have this mean confidence; those that noise resembles have little."""
    return sum(confidences) >= least * len(confidences)


def confidences(words: Sequence[Word]) -> list[float]:
    """Return the confidence of each word."""
    return [word.confidence for word in words]
