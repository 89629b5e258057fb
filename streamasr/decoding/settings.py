"""Settings of the beam search: ``beam.json`` of a model folder."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pydantic import Field

from ..validated import Settings

__all__ = ["SETTINGS", "BeamConfig", "Weights"]

SETTINGS = "beam.json"


class BeamConfig(Settings):
    """Settings of the search, tuned for a model and stored with it."""

    beam_size: int = Field(100, gt=0)
    beam_size_token: int = Field(20, gt=0, description="tokens tried in each timestep")
    beam_threshold: float = Field(25.0, gt=0, description="score below the best, in nats")
    lm_weight: float = Field(1.0, ge=0)
    word_score: float = 0.0
    rescored_hypotheses: int = Field(
        50, gt=0, description="of a segment, that the recurrent language model rescores"
    )
    rescoring_margin: float | None = Field(
        None, gt=0, description="score behind the best, in nats, up to which they are rescored"
    )
    rescoring_weight: float = Field(0.0, ge=0, description="of its log-probabilities, in nats")
    rescoring_lm_weight: float | None = Field(None, ge=0, description="then in lm_weight's place")
    rescoring_word_score: float | None = Field(None, description="then in word_score's place")
    pause_seconds: float = Field(0.6, gt=0, description="of blanks that end a segment")
    second_share: float = Field(0.5, gt=0, le=1, description="of the second pass in posteriors")
    partial_beam_size: int = Field(600, gt=0, description="of the search that only partials see")
    partial_beam_threshold: float = Field(11.0, gt=0, description="and how far it looks, in nats")
    longest_seconds: float = Field(20.0, gt=0, description="of a segment")
    blank_posterior: float = Field(0.5, gt=0, lt=1, description="above it nothing was said")
    confidence_slope: float = Field(1.0, gt=0, description="of log-odds, see confidence()")
    confidence_offset: float = Field(0.0, description="of log-odds, see confidence()")
    least_confidence: float = Field(
        0.0, ge=0, lt=1, description="mean of a segment's words; below it they are taken for noise"
    )
    partial_hypotheses: int = Field(10, gt=0, description="that are compared for partials")
    partial_share: float = Field(
        0.4, ge=0, le=1, description="of the hypotheses' probability, from which on words are shown"
    )
    partial_scale: float = Field(
        0.5, gt=0, description="of the scores, in nats, that make this probability"
    )
    partial_seconds: float = Field(0.1, ge=0, description="after its end a word is shown")
    least_partial_confidence: float = Field(
        0.0, ge=0, lt=1, description="the same while it lasts: its first words may be unsure alone"
    )

    @property
    def rescoring(self) -> Weights:
        """The weights beside the recurrent language model, where it has a say."""
        if not self.rescoring_weight:
            return Weights(self.lm_weight, self.word_score)
        lm, word = self.rescoring_lm_weight, self.rescoring_word_score
        return Weights(
            self.lm_weight if lm is None else lm,
            self.word_score if word is None else word,
            self.rescoring_weight,
        )

    def confidence(self, posterior: float) -> float:
        """Return how likely a word is right whose tokens have this mean posterior (Platt 1999)."""
        odds = math.log(max(posterior, 1e-6)) - math.log(max(1 - posterior, 1e-6))
        return 1 / (1 + math.exp(-(self.confidence_slope * odds + self.confidence_offset)))


@dataclass(frozen=True, slots=True)
class Weights:
    """What each model's score counts for in the choice among a segment's hypotheses."""

    lm: float
    word: float
    rescorer: float = 0.0
