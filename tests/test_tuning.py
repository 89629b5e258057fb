"""Weights that make the fewest errors, and confidence that is the share of words right."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamasr.decoding import BeamConfig
from streamasr.decoding.candidates import Candidate
from streamasr.decoding.search import WordSpan
from streamasr.decoding.settings import Weights
from streamasr.transcript import Word
from streamasr.tuning import bootstrap_interval, calibrated
from streamasr.tuning.hypotheses import HypothesisPool, merged
from streamasr.tuning.random_search import random_search
from streamasr.wer import count_errors


def synthetic_words(rng: np.random.Generator, count: int, slope: float, offset: float):
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
    config = calibrated(
        BeamConfig(), *synthetic_words(np.random.default_rng(0), 1500, slope, offset)
    )
    assert config.confidence_slope == pytest.approx(slope, abs=0.1)
    assert config.confidence_offset == pytest.approx(offset, abs=0.1)
    # The same words as the mended search would report them need no mending.
    references, found = synthetic_words(np.random.default_rng(1), 1500, slope, offset)
    mended = [
        [Word(w.text, w.start, w.end, config.confidence(w.confidence)) for w in words]
        for words in found
    ]
    again = calibrated(config, references, mended)
    assert again.confidence_slope == pytest.approx(config.confidence_slope, abs=0.1)
    scores = np.array([w.confidence for words in mended for w in words])
    spans = np.array([w.text == "yes" for words in mended for w in words])
    for low in (0.0, 0.25, 0.5, 0.75):
        group = (scores >= low) & (scores < low + 0.25)
        if group.sum() > 300:
            assert spans[group].mean() == pytest.approx(scores[group].mean(), abs=0.05)


def test_thresholds_of_confidence_mean_the_same_posteriors_as_before():
    before = BeamConfig(least_confidence=0.62, least_partial_confidence=0.3)
    after = calibrated(before, *synthetic_words(np.random.default_rng(0), 400, 0.7, 1.5))
    for name in ("least_confidence", "least_partial_confidence"):
        threshold = getattr(before, name)  # the posterior, too: a fresh calibration changes nothing
        assert getattr(after, name) == pytest.approx(after.confidence(threshold), abs=1e-3)
        assert getattr(after, name) > threshold + 0.05
    assert calibrated(BeamConfig(), ["yes"], [[]]).least_confidence == 0


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


def candidate(text: str, acoustic: float, lm: float = 0.0, rescorer: float = 0.0) -> Candidate:
    words = tuple(text.split())
    spans = tuple(WordSpan(0, k, k, 0.9) for k in range(len(words)))
    return Candidate(words, spans, acoustic, lm, rescorer)


def plain_errors(references, decoded, weights: Weights) -> list[int]:
    """Choose and count one by one."""
    found = []
    for reference, segments in zip(references, decoded, strict=True):
        best = [max(s, key=lambda c: c.score(weights)).text for s in segments if s]
        counts = count_errors([reference], [" ".join(word for text in best for word in text)])
        found.append(counts.substitutions + counts.deletions + counts.insertions)
    return found


texts = st.lists(st.sampled_from(["a", "b", "c"]), max_size=3).map(" ".join)
scores = st.floats(-9, 9)
segments = st.lists(
    st.lists(st.builds(candidate, texts, scores, scores, scores), max_size=4), max_size=3
)


@given(st.lists(st.tuples(texts, segments), min_size=1, max_size=4), scores, scores, scores)
def test_a_pool_chooses_as_the_decoder_does(recordings, lm, word, rescorer):
    references, decoded = [r for r, _ in recordings], [s for _, s in recordings]
    weights = Weights(lm, word, rescorer)
    pool = HypothesisPool(references, BeamConfig(), decoded)
    assert pool.errors(weights).tolist() == plain_errors(references, decoded, weights)


def test_a_segment_of_unsure_words_is_noise_in_a_pool_too():
    config = BeamConfig(least_confidence=0.95)
    pool = HypothesisPool(["a"], config, [[[candidate("a", 0.0)]]])
    assert pool.errors(Weights(1.0, 0.0)).tolist() == [1]


def test_hypotheses_of_several_searches_come_once():
    first, second = candidate("a b", -2.0), candidate("a b", -1.0)
    other = candidate("a", -3.0)
    assert merged([[[first]], [[other, second]]]) == [[second, other]]


def test_random_search_finds_the_weights_of_a_mixture():
    """Words that one model knows and words that another knows: only a balance finds both."""
    rng = np.random.default_rng(0)
    decoded, references = [], []
    for _ in range(300):
        right, noise = rng.normal(0, 1), rng.normal(0, 3)
        decoded.append([[candidate("yes", noise + right, -noise / 2), candidate("no", 0.0)]])
        references.append("yes" if right > 0 else "no")
    pool = HypothesisPool(references, BeamConfig(), decoded)

    def errors(weights):
        return int(pool.errors(weights).sum())

    start = Weights(1.2, 0.0)
    best = random_search(errors, start, 400)
    assert errors(best) < 0.2 * errors(start)
    assert best.lm == pytest.approx(2.0, abs=0.2)
    assert best.rescorer == 0
    assert random_search(errors, start, 400) == best


def test_the_interval_of_a_change_knows_that_speakers_differ():
    speakers = [f"s{k // 50}" for k in range(500)]
    words = np.full(500, 10)
    # One error fewer in each utterance of half of the speakers: in all of them, or none.
    change = np.array([-(k // 50 % 2) for k in range(500)])
    low, high = bootstrap_interval(change, words, speakers)
    assert -0.085 < low < -0.07
    assert -0.03 < high < -0.015
    # The same changes, were each utterance another speaker's, are far less a matter of chance.
    narrow_low, narrow_high = bootstrap_interval(change, words, [str(k) for k in range(500)])
    assert narrow_high - narrow_low < 0.3 * (high - low)
    assert bootstrap_interval(np.zeros(500), words, speakers) == (0.0, 0.0)
