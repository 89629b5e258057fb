import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from streamasr.audio import SAMPLE_RATE, Resampler

RATES = [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000]


def in_pieces(samples, rate, sizes):
    resampler = Resampler(rate)
    out, start = [], 0
    for size in sizes:
        out.append(resampler.process(samples[start : start + size]))
        start += size
    out += [resampler.process(samples[start:]), resampler.flush()]
    return np.concatenate(out)


@settings(max_examples=60, deadline=None)
@given(
    rate=st.sampled_from(RATES),
    length=st.integers(0, 9_000),
    sizes=st.lists(st.one_of(st.integers(0, 3), st.integers(0, 3_000)), max_size=12),
)
def test_any_split_gives_bit_for_bit_the_one_shot_result(rate, length, sizes):
    samples = np.random.default_rng(length).standard_normal(length).astype(np.float32)
    got = in_pieces(samples, rate, sizes)
    assert abs(got.size - round(length * SAMPLE_RATE / rate)) <= 1
    expected = samples if rate == SAMPLE_RATE else soxr.resample(samples, rate, SAMPLE_RATE)
    np.testing.assert_array_equal(got, expected)


def test_one_sample_at_a_time():
    samples = np.random.default_rng(1).standard_normal(3_000).astype(np.float32)
    got = in_pieces(samples, 44_100, [1] * samples.size)
    np.testing.assert_array_equal(got, soxr.resample(samples, 44_100, SAMPLE_RATE))


def test_a_tone_keeps_its_frequency_and_level():
    t = np.arange(48_000) / 48_000
    got = in_pieces(np.sin(2 * np.pi * 1_000 * t), 48_000, [])
    expected = np.sin(2 * np.pi * 1_000 * np.arange(16_000) / 16_000)
    assert np.abs(got - expected)[500:-500].max() < 1e-3


def test_equal_rates_pass_through():
    samples = np.array([0.1, -0.2, 0.3], np.float32)
    resampler = Resampler(SAMPLE_RATE)
    np.testing.assert_array_equal(resampler.process(samples), samples)
    assert resampler.flush().size == 0


@pytest.mark.parametrize("rate", [SAMPLE_RATE, 8_000])
def test_nothing_goes_in_after_the_flush(rate):
    resampler = Resampler(rate)
    resampler.flush()
    assert resampler.flush().size == 0
    with pytest.raises(RuntimeError, match="make a new one"):
        resampler.process(np.zeros(1, np.float32))


@pytest.mark.parametrize("rates", [(0, 16_000), (16_000, -1)])
def test_rates_must_be_positive(rates):
    with pytest.raises(ValueError, match="positive"):
        Resampler(*rates)
