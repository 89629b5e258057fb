"""Samples to timesteps: log-mel features, normalised and stacked, with a carried sample tail."""

from __future__ import annotations

from typing import NamedTuple, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from ..validated import Settings
from ._torchaudio import torchaudio

__all__ = ["Frontend", "FrontendConfig", "FrontendState"]


class FrontendConfig(Settings):
    """All that decides the features. ``mean`` and ``std`` are the training set's, one per bin.

    A timestep joins ``stack`` frames, and the next begins ``stride`` frames later (0: ``stack``).
    """

    sample_rate: int = Field(16_000, gt=0)
    n_fft: int = Field(512, gt=0)
    win_length: int = Field(400, gt=0)
    hop_length: int = Field(160, gt=0)
    n_mels: int = Field(80, gt=0)
    f_min: float = Field(20.0, ge=0)
    f_max: float = Field(7600.0, gt=0)
    log_floor: float = Field(1e-6, gt=0)
    stack: int = Field(4, gt=0)
    stride: int = Field(0, ge=0)
    tail_seconds: float = Field(0.24, ge=0)
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not self.f_min < self.f_max <= self.sample_rate / 2:
            raise ValueError("f_min < f_max <= sample_rate / 2 does not hold")
        if self.stride > self.stack:
            raise ValueError(f"stride {self.stride} would leave out frames of stack {self.stack}")
        if self.win_length > self.n_fft:
            raise ValueError(f"win_length {self.win_length} is longer than n_fft {self.n_fft}")
        for name in ("mean", "std"):
            values = getattr(self, name)
            if values and len(values) != self.n_mels:
                raise ValueError(f"{name} has {len(values)} values for {self.n_mels} mel bins")
        if any(value <= 0 for value in self.std):
            raise ValueError("std must be positive in every bin")
        return self

    @property
    def step_samples(self) -> int:
        """Samples from one timestep to the next."""
        return (self.stride or self.stack) * self.hop_length

    @property
    def step_seconds(self) -> float:
        """Seconds from one timestep to the next."""
        return self.step_samples / self.sample_rate

    @property
    def window_samples(self) -> int:
        """Samples that one timestep sees."""
        return (self.stack - 1) * self.hop_length + self.n_fft

    @property
    def closing_samples(self) -> int:
        """Samples of silence behind the last one that let the model finish its last word."""
        seconds = self.tail_seconds + self.window_samples / self.sample_rate
        return round(seconds * self.sample_rate)

    def timesteps(self, samples: int) -> int:
        """How many whole timesteps ``samples`` samples give."""
        return max(0, (samples - self.window_samples) // self.step_samples + 1)

    def samples(self, timesteps: int) -> int:
        """How many samples ``timesteps`` timesteps, at least one, see."""
        return (timesteps - 1) * self.step_samples + self.window_samples

    @property
    def feature_size(self) -> int:
        """Values per timestep."""
        return self.stack * self.n_mels


class FrontendState(NamedTuple):
    """The samples, ``(n,)`` float32, that later timesteps still need."""

    tail: Tensor


class Frontend:
    """Log-mel features by torchaudio: ``center=False``, so that no frame looks past its window.

    Only whole timesteps leave, each computed from the same samples however the audio was split.
    """

    def __init__(self, config: FrontendConfig, device: torch.device | str = "cpu") -> None:
        self.config = config
        self.device = torch.device(device)
        self._mel = torchaudio.transforms.MelSpectrogram(
            sample_rate=config.sample_rate,
            n_fft=config.n_fft,
            win_length=config.win_length,
            hop_length=config.hop_length,
            f_min=config.f_min,
            f_max=config.f_max,
            n_mels=config.n_mels,
            center=False,
        ).to(self.device)
        self._mean = torch.tensor(config.mean or [0.0] * config.n_mels, device=self.device)
        self._std = torch.tensor(config.std or [1.0] * config.n_mels, device=self.device)

    def initial_state(self) -> FrontendState:
        """Return the state before the first sample."""
        return FrontendState(torch.zeros(0, device=self.device))

    def log_mel(self, samples: Tensor) -> Tensor:
        """Return normalised log-mel frames ``(..., frames, n_mels)`` of ``samples (..., n)``."""
        return self.normalise(self._mel(samples).transpose(-1, -2))

    def normalise(self, energy: Tensor) -> Tensor:
        """Return the normalised logarithm of mel energies ``(..., n_mels)``."""
        return (torch.log(energy + self.config.log_floor) - self._mean) / self._std

    def mel_energy(self, frames: Tensor) -> Tensor:
        """Return the mel energies that ``normalise`` made ``frames`` from."""
        energy = torch.exp(frames * self._std + self._mean) - self.config.log_floor
        return energy.clamp(min=0)

    def stack(self, frames: Tensor) -> Tensor:
        """Join ``stack`` frames into a timestep, every ``stride`` frames; a rest is dropped."""
        c = self.config
        if frames.shape[-2] < c.stack:
            return frames.new_zeros(*frames.shape[:-2], 0, c.feature_size)
        windows = frames.unfold(-2, c.stack, c.stride or c.stack)  # (..., T, n_mels, stack)
        return windows.transpose(-1, -2).flatten(-2)

    def __call__(self, samples: Tensor, state: FrontendState) -> tuple[Tensor, FrontendState]:
        """Take ``samples (n,)``; return the timesteps ``(T, feature_size)`` now complete."""
        buffer = torch.cat([state.tail, samples.to(self.device)])
        steps = self.config.timesteps(len(buffer))
        if steps == 0:
            return buffer.new_zeros(0, self.config.feature_size), FrontendState(buffer)
        features = self.stack(self.log_mel(buffer[: self.config.samples(steps)]))
        return features, FrontendState(buffer[steps * self.config.step_samples :].clone())

    def tail(self) -> Tensor:
        """Return the silence, in samples, that lets the model finish its last word."""
        return torch.zeros(self.config.closing_samples, device=self.device)
