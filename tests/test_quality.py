"""The quality report's own arithmetic."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.quality import calibration, confusions, mixed
from streamasr import Transcript, Word
from streamasr.wer import aligned_words


def heard(*words: tuple[str, float]) -> Transcript:
    return Transcript(tuple(Word(text, i, i + 1, c) for i, (text, c) in enumerate(words)), 9.0)


REFERENCES = ["THE CAT SAT", "A CAT"]
FOUND = [heard(("the", 0.95), ("cap", 0.35), ("sat", 0.95)), heard(("a", 0.95), ("cap", 0.95))]


def test_confused_words_are_counted_by_pair():
    (only,) = confusions(REFERENCES, FOUND)
    assert only == {"said": "cat", "heard": "cap", "times": 2}


def test_calibration_compares_confidence_with_the_share_of_right_words():
    found = calibration(REFERENCES, FOUND)
    low, high = found["bins"]
    assert (low["confidence"], low["right"], low["words"]) == (pytest.approx(0.35), 0.0, 1)
    assert (high["confidence"], high["right"], high["words"]) == (pytest.approx(0.95), 0.75, 4)
    assert found["ece"] == pytest.approx((1 * 0.35 + 4 * 0.2) / 5)


def test_deleted_and_inserted_words_are_not_paired():
    assert list(aligned_words("the big cat", ["the", "cat"])) == [("equal", 0, 0), ("equal", 2, 1)]
    assert list(aligned_words("the cat", ["the", "big", "cat"])) == [
        ("equal", 0, 0),
        ("equal", 1, 2),
    ]
    assert list(aligned_words("", ["the"])) == list(aligned_words("the", [])) == []


@pytest.mark.parametrize("snr", [0.0, 20.0])
def test_noise_is_mixed_at_the_ratio(snr):
    rng = np.random.default_rng(0)
    speech = (0.01 * rng.standard_normal(16_000)).astype(np.float32)
    noise = (0.3 * rng.standard_normal(5_000)).astype(np.float32)
    added = mixed(speech, noise, snr) - speech
    ratio = 10 * np.log10(np.mean(speech**2) / np.mean(added**2))
    assert ratio == pytest.approx(snr, abs=0.1)
