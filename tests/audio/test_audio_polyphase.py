"""Conversion with a state that is a value: soxr is what it is measured by."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import soxr
from hypothesis import given
from hypothesis import strategies as st

from streamasr import AudioError
from streamasr.audio.polyphase import convert, flush

RATES = [8_000, 11_025, 22_050, 44_100, 48_000, 96_000]


def whole(samples: np.ndarray, rate: int) -> np.ndarray:
    ready, state = convert(samples, rate, 16_000, None)
    return np.concatenate([ready, flush(state)])


def tones(rate: int, frequencies: list[float], seconds: float = 0.5) -> np.ndarray:
    time = np.arange(round(seconds * rate)) / rate
    return sum(0.2 * np.sin(2 * np.pi * f * time) for f in frequencies).astype(np.float32)


@pytest.mark.parametrize("rate", [*RATES, 44_101])
def test_what_is_in_the_band_is_what_soxr_gives(rate):
    samples = tones(rate, [120, 1_000, 3_300])
    expected = soxr.resample(samples, rate, 16_000, "VHQ")
    found = whole(samples, rate)
    assert abs(len(found) - len(expected)) <= 1
    inner = slice(500, len(expected) - 500)
    assert found[inner] == pytest.approx(expected[inner], abs=2e-5)


@pytest.mark.parametrize("rate", [44_100, 48_000, 96_000])
def test_what_is_above_the_band_is_gone(rate):
    assert np.abs(whole(tones(rate, [9_000, 12_500]), rate)[500:-500]).max() < 1e-4


@given(
    rate=st.sampled_from([8_000, 11_025, 44_100, 48_000]),
    cuts=st.lists(st.integers(0, 6_000), max_size=12),
    kept=st.integers(0, 12),
)
def test_any_split_gives_the_same_and_the_state_can_be_put_away(rate, cuts, kept):
    samples = np.random.default_rng(0).standard_normal(6_000).astype(np.float32)
    pieces, state = [], None
    for number, piece in enumerate(np.split(samples, sorted(cuts))):
        if number == kept:
            state = pickle.loads(pickle.dumps(state))
        ready, state = convert(piece, rate, 16_000, state)
        pieces.append(ready)
    found = np.concatenate([*pieces, flush(state)])
    assert found == pytest.approx(whole(samples, rate), abs=1e-6)
    assert len(found) == -(-len(samples) * 16_000 // rate)


def test_a_rate_that_changes_loses_nothing():
    first, state = convert(tones(48_000, [300], 0.3), 48_000, 16_000, None)
    second, state = convert(tones(8_000, [300], 0.3), 8_000, 16_000, state)
    third, state = convert(tones(16_000, [300], 0.3), 16_000, 16_000, state)
    assert state is None
    assert len(first) + len(second) + len(third) == 3 * 4_800


def test_an_old_state_can_be_gone_on_from_twice():
    samples = tones(44_100, [500])
    _, state = convert(samples[:10_000], 44_100, 16_000, None)
    once, _ = convert(samples[10_000:], 44_100, 16_000, state)
    again, _ = convert(samples[10_000:], 44_100, 16_000, state)
    assert np.array_equal(once, again)


@pytest.mark.parametrize("rate", [0, -8_000, 3_999, 192_001, 44_100.5, float("nan")])
def test_a_rate_that_cannot_be_is_one_line(rate):
    with pytest.raises(AudioError, match=f"rate of {rate} Hz: whole numbers from 4000 to 192000"):
        convert(np.zeros(10, np.float32), rate, 16_000, None)
