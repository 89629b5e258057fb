"""Calibrate confidence to the share of words that are right."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..decoding import BeamConfig
from ..transcript import Word
from ..wer import aligned_words

__all__ = ["calibrated"]


def calibrated(
    config: BeamConfig, references: Sequence[str], found: Sequence[Sequence[Word]]
) -> BeamConfig:
    """Return ``config``, which found these words, with confidence as the share of right ones.

    A logistic regression of right and wrong on the log-odds (Platt 1999), by Newton's method. It
    is drawn towards what ``config`` has by the weight of about a word, so that a few words, all of
    them right, have an answer, too.
    """
    confidence, right = [], []
    for reference, words in zip(references, found, strict=True):
        texts = [word.text for word in words]
        equal = {j for kind, _, j in aligned_words(reference, texts) if kind == "equal"}
        confidence += [word.confidence for word in words]
        right += [float(index in equal) for index in range(len(words))]
    p = np.clip(np.array(confidence, np.float64), 1e-6, 1 - 1e-6)
    x = np.stack([np.log(p / (1 - p)), np.ones_like(p)], axis=1)
    prior = np.array([1.0, 0.0])
    weights = prior
    for _ in range(30):
        q = 1 / (1 + np.exp(-x @ weights))
        gradient = x.T @ (q - right) + weights - prior
        weights = weights - np.linalg.solve((x.T * (q * (1 - q))) @ x + np.eye(2), gradient)
    slope, offset = max(float(weights[0]), 1e-3), float(weights[1])

    def moved(threshold: float) -> float:
        """Return what a confidence of ``threshold`` has become."""
        if not threshold:
            return 0.0
        odds = slope * np.log(threshold / (1 - threshold)) + offset
        return round(float(1 / (1 + np.exp(-odds))), 4)

    return config.model_copy(
        update={
            "confidence_slope": round(slope * config.confidence_slope, 4),
            "confidence_offset": round(slope * config.confidence_offset + offset, 4),
            # The same segments are rejected as noise as before.
            "least_confidence": moved(config.least_confidence),
            "least_partial_confidence": moved(config.least_partial_confidence),
        }
    )
