"""The log-mel frontend against plain numpy in float64, and over every way to split the samples."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from streamasr.acoustic.frontend import Frontend, FrontendConfig
from streamasr.errors import ConfigError

CONFIG = FrontendConfig(mean=tuple(np.linspace(-6, -3, 80)), std=tuple(np.linspace(1, 4, 80)))
OVERLAPPING = CONFIG.model_copy(update={"stride": 3})


def reference(samples: np.ndarray, c: FrontendConfig) -> np.ndarray:
    """Timesteps ``(T, stack * n_mels)`` in float64: DFT, HTK mel triangles, log, stacking."""
    window = np.zeros(c.n_fft)
    left = (c.n_fft - c.win_length) // 2
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(c.win_length) / c.win_length)
    window[left : left + c.win_length] = hann

    def mel(hz):
        return 2595 * np.log10(1 + np.asarray(hz) / 700)

    points = np.linspace(mel(c.f_min), mel(c.f_max), c.n_mels + 2)
    edges = 700 * (10 ** (points / 2595) - 1)
    bins = np.linspace(0, c.sample_rate / 2, c.n_fft // 2 + 1)
    rising = (bins[:, None] - edges[None, :-2]) / np.diff(edges)[None, :-1]
    falling = (edges[None, 2:] - bins[:, None]) / np.diff(edges)[None, 1:]
    filters = np.maximum(0, np.minimum(rising, falling))
    frames = [
        samples[start : start + c.n_fft].astype(np.float64) * window
        for start in range(0, len(samples) - c.n_fft + 1, c.hop_length)
    ]
    power = np.abs(np.fft.rfft(frames)) ** 2
    features = (np.log(power @ filters + c.log_floor) - np.array(c.mean)) / np.array(c.std)
    starts = range(0, len(features) - c.stack + 1, c.stride or c.stack)
    return np.array([features[start : start + c.stack].ravel() for start in starts])


def features(frontend: Frontend, pieces: list[torch.Tensor]) -> torch.Tensor:
    state = frontend.initial_state()
    out = []
    for piece in pieces:
        frames, state = frontend(piece, state)
        out.append(frames)
    return torch.cat(out)


@pytest.mark.parametrize("length", [992, 993, 8_000, 16_001])
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("config", [CONFIG, OVERLAPPING], ids=["disjoint", "overlapping"])
def test_equals_the_float64_reference(length, seed, config):
    samples = 0.1 * np.random.default_rng(seed).standard_normal(length).astype(np.float32)
    actual = features(Frontend(config), [torch.from_numpy(samples)])
    expected = reference(samples, config)
    assert actual.shape == expected.shape
    assert np.linalg.norm(actual.numpy() - expected) / np.linalg.norm(expected) < 2e-6


def test_real_speech_equals_the_float64_reference(speech):
    actual = features(Frontend(CONFIG), [torch.from_numpy(speech)])
    expected = reference(speech, CONFIG)
    assert np.linalg.norm(actual.numpy() - expected) / np.linalg.norm(expected) < 2e-6


@given(
    cuts=st.lists(st.integers(0, 9_000), max_size=12),
    seed=st.integers(0, 3),
    config=st.sampled_from([CONFIG, OVERLAPPING]),
)
def test_any_split_gives_identical_frames(cuts, seed, config):
    generator = torch.Generator().manual_seed(seed)
    samples = torch.randn(9_000, generator=generator)
    frontend = Frontend(config)
    edges = [0, *sorted(cuts), 9_000]
    pieces = [samples[a:b] for a, b in pairwise(edges)]
    assert torch.equal(features(frontend, pieces), features(frontend, [samples]))


@pytest.mark.parametrize("size", [1, 7, 160, 640])
def test_small_pieces_give_identical_frames(speech, size):
    samples = torch.from_numpy(speech[:8_000])
    frontend = Frontend(CONFIG)
    assert torch.equal(features(frontend, list(samples.split(size))), features(frontend, [samples]))


@pytest.mark.parametrize(
    ("config", "length", "steps"),
    [
        *((CONFIG, *sizes) for sizes in [(0, 0), (991, 0), (992, 1), (1631, 1), (1632, 2)]),
        *((OVERLAPPING, *sizes) for sizes in [(991, 0), (992, 1), (1471, 1), (1472, 2)]),
    ],
)
def test_a_timestep_leaves_as_soon_as_its_window_is_full(config, length, steps):
    frontend = Frontend(config)
    assert features(frontend, [torch.zeros(length)]).shape == (steps, 320)
    assert frontend.config.timesteps(length) == steps


def test_the_state_is_a_value():
    frontend = Frontend(CONFIG)
    torch.manual_seed(0)
    first, second = torch.randn(1_500), torch.randn(1_500)
    _, state = frontend(first, frontend.initial_state())
    once, _ = frontend(second, state)
    again, _ = frontend(second, state)
    assert torch.equal(once, again)


def test_the_state_stays_small():
    frontend = Frontend(CONFIG)
    state = frontend.initial_state()
    for _ in range(50):
        _, state = frontend(torch.zeros(3_333), state)
        assert len(state.tail) < CONFIG.window_samples
        assert state.tail.untyped_storage().nbytes() < 4 * CONFIG.window_samples + 64


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"f_max": 9_000.0}, "f_min < f_max <= sample_rate / 2"),
        ({"win_length": 600}, "longer than n_fft"),
        ({"stride": 5}, "stride 5 would leave out frames of stack 4"),
        ({"mean": (0.0,) * 3}, "mean has 3 values for 80 mel bins"),
        ({"std": (0.0,) * 80}, "std must be positive"),
        ({"hop": 160}, "Extra inputs"),
    ],
)
def test_wrong_configurations_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        FrontendConfig(**values)
