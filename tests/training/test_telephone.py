"""Telephone copies, against the definitions written out."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from streamasr.acoustic.frontend import Frontend
from streamasr.tokens import Tokens
from streamasr.training import load_config
from streamasr.training.augment import Augmenter, Timing
from streamasr.training.batches import batches_of_epoch
from streamasr.training.config import AugmentConfig
from streamasr.training.corpus import load_corpus
from streamasr.training.telephone import mu_law, over_telephone

ONLY_TELEPHONE = AugmentConfig(
    speed=0, gain_db=0, noise_probability=0, padding_seconds=0, telephone_probability=1
)


def mu_law_of(sample: float) -> float:
    """G.711's µ-law of one sample, by its table of segments (ITU-T G.711, table 2a)."""
    magnitude = min(abs(sample) * 8192, 8158)
    start, step = 31, 4  # the first segment has a first step of half the size
    if magnitude < 1:
        return 0.0
    if magnitude < start:
        value = 1 + 2 * math.floor((magnitude - 1) / 2) + 1
        return math.copysign(value / 8192, sample)
    while magnitude >= start + 16 * step:
        start, step = start + 16 * step, 2 * step
    value = start + step * math.floor((magnitude - start) / step) + step / 2
    return math.copysign(value / 8192, sample)


@given(st.floats(-1.5, 1.5))
def test_mu_law_is_the_table_of_its_specification(sample):
    assert mu_law(np.array([sample]))[0] == pytest.approx(mu_law_of(sample), abs=1e-12)


def test_mu_law_is_what_libsndfile_writes_and_reads():
    samples = np.arange(-32768, 32768, 4).astype(np.int16)
    file = io.BytesIO()
    soundfile.write(file, samples, 8_000, subtype="ULAW", format="WAV")
    file.seek(0)
    decoded, _ = soundfile.read(file, dtype="int16")
    assert np.array_equal(np.round(mu_law(samples / 32768) * 32768), decoded)
    assert len(np.unique(decoded)) == 255  # of 256 codes two are zero


def over_telephone_slowly(
    samples: NDArray[np.float32], low: float, high: float
) -> NDArray[np.float64]:
    """Sum sines: into the band, to every second sample, through µ-law, and back to 16 kHz."""
    n = 2 ** math.ceil(math.log2(len(samples) + 1600))
    padded = np.concatenate([samples, np.zeros(n - len(samples))]).astype(np.float64)
    time, narrow = np.arange(n), np.zeros(n // 2)
    for k in range(n // 2):
        hertz = 16_000 * k / n
        outside = min(max(low - hertz, hertz - high, 0) / 200, 1)
        gain = 0.5 * (1 + math.cos(math.pi * outside))
        sine = np.exp(2j * np.pi * k * time / n)
        part = (padded @ sine.conj()) / n * sine[::2]
        narrow += gain * part.real * (2 if k else 1)
    coded = np.array([mu_law_of(sample) for sample in narrow])
    wide = np.zeros(n)
    for k in range(n // 4):
        sine = np.exp(2j * np.pi * k * time / n)
        part = (coded @ sine[::2].conj()) / (n // 2) * sine
        wide += part.real * (2 if k else 1)
    return wide[: len(samples)]


@pytest.mark.parametrize(
    ("length", "low", "high"), [(1, 300, 3400), (333, 0, 3800), (448, 50, 3500)]
)
def test_a_telephone_is_the_sum_of_its_sines(length, low, high):
    samples = (0.3 * np.random.default_rng(length).standard_normal(length)).astype(np.float32)
    fast, slow = over_telephone(samples, low, high), over_telephone_slowly(samples, low, high)
    assert fast.dtype == np.float32
    # A sample at the edge of a step may fall to either side of it in another arithmetic.
    assert np.abs(fast - slow).max() < 1e-6 * np.abs(slow).max()


@pytest.mark.parametrize(("hertz", "kept"), [(40, 0), (500, 1), (3000, 1), (3700, 0), (5000, 0)])
def test_a_band_passes_and_nothing_else(hertz, kept):
    tone = 0.25 * np.sin(2 * np.pi * hertz * np.arange(16_000) / 16_000).astype(np.float32)
    heard = over_telephone(tone)[4_000:12_000]
    spectrum = np.abs(np.fft.rfft(heard * np.hanning(8_000)))
    assert spectrum[round(hertz / 2)] / 500 == pytest.approx(kept, abs=0.02)
    assert spectrum[2_050:].max() < 1e-3  # above 4.1 kHz


def test_a_telephone_neither_delays_nor_cuts():
    click = np.zeros(5_001, np.float32)
    click[1_000] = 0.9
    heard = over_telephone(click)
    assert heard.shape == click.shape
    assert np.argmax(heard) == 1_000


def test_a_band_that_8_khz_cannot_hold_is_refused():
    with pytest.raises(ValueError, match="300 to 3900 Hz"):
        over_telephone(np.zeros(100, np.float32), 300, 3900)


def test_telephones_are_drawn_at_their_probability_and_else_nothing_is():
    samples = (0.1 * np.random.default_rng(0).standard_normal(4_000)).astype(np.float32)
    half = Augmenter(ONLY_TELEPHONE.model_copy(update={"telephone_probability": 0.5}), None, None)
    kept = [np.array_equal(half(samples, np.random.default_rng(s))[0], samples) for s in range(60)]
    assert 18 < sum(kept) < 42
    assert half(samples, np.random.default_rng(0))[1] == Timing()
    rng, same = np.random.default_rng(5), np.random.default_rng(5)
    Augmenter(AugmentConfig(noise_probability=0), None, None)(samples, rng)
    # Speed, two pads, whether there is noise, gain: as before there were telephones.
    same.choice(3), same.uniform(size=2), same.random(), same.uniform()
    assert rng.random() == same.random()


def test_silence_goes_over_the_telephone_too():
    quiet = Augmenter(ONLY_TELEPHONE, None, None)
    for seed in range(12):
        sound = quiet.silence(8_000, np.random.default_rng(seed))
        assert sound.shape == (8_000,)
        spectrum = np.abs(np.fft.rfft(sound * np.hanning(8_000)))
        assert spectrum[2_050:].max() <= 1e-4 * spectrum.max()  # above 4.1 kHz


def test_a_recipe_asks_for_telephones(recipe):
    path = recipe()
    path.write_text(path.read_text().replace("[augment]", "[augment]\ntelephone_probability = 1"))
    frontend = Frontend(load_config(path).frontend)
    top = []
    for recipe_path in (recipe("plain"), path):
        config = load_config(recipe_path)
        config = config.with_values("augment", equaliser_db=0.0, frequency_masks=0)
        corpus = load_corpus(config, Tokens.characters())
        (frames, *_) = next(iter(batches_of_epoch(corpus, config, frontend, epoch=1)))
        top.append(float(frames[..., 75:80].mean()))
    assert top[1] < top[0] - 1
