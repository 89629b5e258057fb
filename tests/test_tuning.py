"""Confidence that means the share of words that are right."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamasr.decoding import BeamConfig
from streamasr.transcript import Word
from streamasr.tuning import calibrated


def heard(rng: np.random.Generator, count: int, slope: float, offset: float):
    """Make utterances of ten words, right as often as their confidence, once mended, says."""
    references, found = [], []
    for _ in range(count):
        confidence = rng.uniform(0.02, 0.98, 10)
        odds = slope * np.log(confidence / (1 - confidence)) + offset
        right = rng.uniform(size=10) < 1 / (1 + np.exp(-odds))
        references.append(" ".join(["yes"] * 10))
        found.append(
            [
                Word("yes" if ok else "no", k, k + 1.0, float(c))
                for k, (c, ok) in enumerate(zip(confidence, right, strict=True))
            ]
        )
    return references, found


@pytest.mark.parametrize(("slope", "offset"), [(0.5, 1.0), (2.0, -0.7), (1.0, 0.0)])
def test_calibration_finds_the_share_of_right_words(slope, offset):
    config = calibrated(BeamConfig(), *heard(np.random.default_rng(0), 1500, slope, offset))
    assert config.confidence_slope == pytest.approx(slope, abs=0.1)
    assert config.confidence_offset == pytest.approx(offset, abs=0.1)
    # The same words as the mended search would report them need no mending.
    references, found = heard(np.random.default_rng(1), 1500, slope, offset)
    mended = [
        [Word(w.text, w.start, w.end, config.confidence(w.confidence)) for w in words]
        for words in found
    ]
    again = calibrated(config, references, mended)
    assert again.confidence_slope == pytest.approx(config.confidence_slope, abs=0.1)
    scores = np.array([w.confidence for words in mended for w in words])
    hits = np.array([w.text == "yes" for words in mended for w in words])
    for low in (0.0, 0.25, 0.5, 0.75):
        group = (scores >= low) & (scores < low + 0.25)
        if group.sum() > 300:
            assert hits[group].mean() == pytest.approx(scores[group].mean(), abs=0.05)


def test_no_words_change_nothing():
    assert calibrated(BeamConfig(), [], []) == BeamConfig()
    assert calibrated(BeamConfig(), ["a word"], [[]]) == BeamConfig()


@pytest.mark.parametrize("text", ["yes", "no"])
def test_words_all_right_or_all_wrong_have_an_answer(text):
    config = calibrated(BeamConfig(), ["yes"] * 40, [[Word(text, 0, 1, 0.5)]] * 40)
    assert (config.confidence(0.5) > 0.8) == (text == "yes")
    assert 0 < config.confidence(1.0) <= 1


@given(st.floats(0, 1), st.floats(0, 1))
def test_confidence_keeps_the_order_of_posteriors(a, b):
    config = BeamConfig(confidence_slope=0.5, confidence_offset=1)
    low, high = sorted((a, b))
    assert 0 < config.confidence(low) <= config.confidence(high) < 1
    assert BeamConfig().confidence(a) == pytest.approx(a, abs=2e-6)
