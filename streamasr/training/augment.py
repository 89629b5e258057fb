"""Augmentation of training audio, drawn from a generator that the caller seeds per utterance."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import soxr
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from ..acoustic.frontend import Frontend
from ..audio import SAMPLE_RATE
from .cache import AudioCache
from .config import AugmentConfig
from .telephone import over_telephone

__all__ = ["Augmenter", "Timing", "colour_spectrum", "mask_spectrogram"]

Samples = NDArray[np.float32]


def _float32(values: NDArray[np.floating[Any]]) -> Samples:
    return np.asarray(values, dtype=np.float32)


def _rms(samples: Samples) -> float:
    return math.sqrt(float(np.mean(np.square(samples))) + 1e-12)


def _synthetic_noise(length: int, rng: Generator) -> Samples:
    """Return white or pink-to-brown noise, a tone, or silence."""
    kind = rng.integers(4)
    if kind == 0:
        return np.zeros(length, dtype=np.float32)
    if kind == 1:
        phase = 2 * np.pi * rng.uniform(60, 4000) / SAMPLE_RATE * np.arange(length)
        return _float32(np.sin(phase))
    white = rng.standard_normal(length, dtype=np.float32)
    if kind == 2:
        return white
    spectrum = np.fft.rfft(white) / np.maximum(np.arange(length // 2 + 1), 1) ** rng.uniform(0.5, 1)
    return _float32(np.fft.irfft(spectrum, length))


class Timing(NamedTuple):
    """Time map of an augmented utterance: sound at ``t`` is now at ``lead + t / speed`` seconds."""

    speed: float = 1.0
    lead: float = 0.0


class Augmenter:
    """Applies speed, room, padding, noise, gain and telephone, in this order, to an utterance."""

    def __init__(
        self, config: AugmentConfig, noises: AudioCache | None, rooms: AudioCache | None
    ) -> None:
        self.config = config
        self._noises = noises
        self._rooms = rooms

    def __call__(self, samples: Samples, rng: Generator) -> tuple[Samples, Timing]:
        """Return the augmented utterance, whose words stay the same, and its time map."""
        c = self.config
        # Three speeds, as Ko et al. 2015 found enough.
        speed = float(rng.choice([1 - c.speed, 1.0, 1 + c.speed]))
        if speed != 1.0:
            samples = soxr.resample(samples, SAMPLE_RATE * speed, SAMPLE_RATE, quality="LQ")
        if self._rooms and rng.random() < c.room_probability:
            samples = self._reverberate(samples, rng)
        pads = (rng.uniform(0, c.padding_seconds, 2) * SAMPLE_RATE).astype(int)
        samples = np.pad(samples, pads)
        if rng.random() < c.noise_probability:
            noise = self._noise(len(samples), rng)
            level = _rms(samples) / _rms(noise) * 10 ** (-rng.uniform(*c.snr_db) / 20)
            samples = _float32(samples + level * noise)
        samples = self._transmit(self._amplify(samples, rng), rng)
        return samples, Timing(speed, float(pads[0]) / SAMPLE_RATE)

    def silence(self, length: int, rng: Generator) -> Samples:
        """Return ``length`` samples without speech, at any level from inaudible to loud."""
        noise = self._noise(length, rng)
        level = 10 ** (rng.uniform(-80, -10) / 20) / _rms(noise)
        loud = _float32(np.clip(level * noise, -1, 1)) if noise.any() else noise
        return self._transmit(loud, rng)

    def _noise(self, length: int, rng: Generator) -> Samples:
        if self._noises is None or rng.random() < 0.25:
            return _synthetic_noise(length, rng)
        clip = self._noises[int(rng.integers(len(self._noises)))]
        return np.resize(np.roll(clip, int(rng.integers(len(clip)))), length)

    def _reverberate(self, samples: Samples, rng: Generator) -> Samples:
        assert self._rooms is not None
        response = self._rooms[int(rng.integers(len(self._rooms)))]
        # The direct path stays where it was, so that words keep their times.
        response = response[int(np.argmax(np.abs(response))) :]
        size = 2 ** math.ceil(math.log2(len(samples) + len(response)))
        spectrum = np.fft.rfft(samples, size) * np.fft.rfft(response, size)
        wet = _float32(np.fft.irfft(spectrum, size)[: len(samples)])
        level = np.float32(_rms(samples) / _rms(wet))
        return _float32(level * wet)

    def _amplify(self, samples: Samples, rng: Generator) -> Samples:
        gain = 10 ** (rng.uniform(-1, 1) * self.config.gain_db / 20)
        return _float32(np.clip(gain * samples, -1, 1))

    def _transmit(self, samples: Samples, rng: Generator) -> Samples:
        """Send some utterances over a telephone: an old line's band, up to a digital one's."""
        probability = self.config.telephone_probability
        # Without telephones nothing is drawn, so that earlier runs can be repeated.
        if not probability or rng.random() >= probability:
            return samples
        return over_telephone(samples, rng.uniform(0, 300), rng.uniform(3400, 3800))


def colour_spectrum(
    frames: Tensor, config: AugmentConfig, frontend: Frontend, rng: Generator
) -> Tensor:
    """Give normalised log-mel ``frames (n, n_mels)`` the sound of another channel.

    A smooth random equaliser stands for microphones, a random low-pass for codecs: both are gains
    in dB per bin, applied to the mel energies above the floor. With ``warp`` the speaker's vocal
    tract becomes longer or shorter, too.
    """
    position = np.linspace(0, 1, frontend.config.n_mels)
    gain = np.zeros(frontend.config.n_mels)
    for order in (1, 2, 3):
        gain += rng.normal(0, config.equaliser_db) * np.cos(np.pi * order * position)
    if rng.random() < config.low_pass_probability:
        cutoff, depth = rng.uniform(0.6, 1.0), rng.uniform(15, 45)
        gain -= depth * np.clip((position - cutoff) / 0.04, 0, 1)
    factor = torch.from_numpy(10 ** (gain / 10)).float()
    energy = frontend.mel_energy(frames)
    if config.warp:
        energy = _warp(energy, 1 + rng.uniform(-config.warp, config.warp))
    return frontend.normalise(energy * factor)


def _warp(energy: Tensor, factor: float) -> Tensor:
    """Move mel ``energy (n, n_mels)`` from bin ``k`` to ``factor * k``: another vocal tract.

    Jaitly and Hinton 2013; in mel, whose bins widen, formants move by about the same share.
    """
    bins = energy.shape[-1]
    place = (torch.arange(bins) / factor).clamp(max=bins - 1)
    below = place.floor().long().clamp(max=bins - 2)
    share = place - below
    return energy[:, below] * (1 - share) + energy[:, below + 1] * share


def mask_spectrogram(frames: Tensor, config: AugmentConfig, rate: float, rng: Generator) -> Tensor:
    """SpecAugment (Park et al. 2019) on ``frames (n, n_mels)`` with mean 0: bands become the mean.

    ``rate`` is frames per second; the number of time masks grows with the length.
    """
    frames = frames.clone()
    length, bins = frames.shape
    for _ in range(config.frequency_masks):
        width = int(rng.integers(0, config.frequency_width + 1))
        start = int(rng.integers(0, max(1, bins - width)))
        frames[:, start : start + width] = 0
    for _ in range(int(rng.poisson(config.time_masks_per_second * length / rate))):
        width = int(rng.integers(0, round(config.time_width_seconds * rate) + 1))
        start = int(rng.integers(0, max(1, length - width)))
        frames[start : start + width] = 0
    return frames
