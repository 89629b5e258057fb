"""Recordings and what was said in them, as batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..acoustic.frontend import Frontend
from ..training.augment import Augmenter, colour_spectrum, mask_spectrogram
from ..training.config import AugmentConfig
from .objective import Targets

__all__ = ["Batch", "Batches", "Example"]


@dataclass(frozen=True)
class Example:
    """A recording, ``samples (n,)`` at 16 kHz, and the token indices of what was said in it."""

    samples: NDArray[np.float32]
    characters: tuple[int, ...]
    phones: tuple[int, ...] = ()


class Batch(NamedTuple):
    """``frames (T, B, I)``, their ``lengths (B,)``, what was said, and the examples' places."""

    frames: Tensor
    lengths: Tensor
    characters: Targets
    phones: Targets | None
    places: list[int]


class Batches:
    """Examples of like length together.

    All that is random is drawn from ``(seed, epoch, example)``: an interrupted run goes on as it
    would have.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        frontend: Frontend,
        augment: AugmentConfig,
        *,
        seconds: float,
        seed: int,
        with_phones: bool,
    ) -> None:
        self._examples = examples
        self._frontend = frontend
        self._augmenter = Augmenter(augment, None, None)
        self._seconds = seconds
        self._seed = seed
        self._with_phones = with_phones

    @property
    def count(self) -> int:
        """Batches in an epoch, give or take one: their lengths vary a little."""
        order = sorted(range(len(self._examples)), key=self._length)
        return sum(1 for _ in self._grouped(order))

    def plain(self) -> Iterator[Batch]:
        """Yield all examples as they were recorded, the shortest first."""
        order = sorted(range(len(self._examples)), key=self._length)
        for places in self._grouped(order):
            yield self._batch(places, None)

    def varied(self, epoch: int) -> Iterator[Batch]:
        """Yield all examples, varied, in a random order of batches."""
        rng = np.random.default_rng((self._seed, epoch))
        noisy = [self._length(k) * rng.uniform(0.9, 1.1) for k in range(len(self._examples))]
        groups = [*self._grouped(np.argsort(noisy).tolist())]
        for place in rng.permutation(len(groups)).tolist():
            yield self._batch(groups[place], epoch)

    def _length(self, place: int) -> int:
        return len(self._examples[place].samples)

    def _grouped(self, order: Sequence[int]) -> Iterator[list[int]]:
        """Cut ``order`` into batches whose padded rows have at most the seconds asked for."""
        rate = self._frontend.config.sample_rate
        group: list[int] = []
        longest = 0
        for place in order:
            longest = max(longest, self._length(place))
            if group and longest * (len(group) + 1) > self._seconds * rate:
                yield group
                group, longest = [], self._length(place)
            group.append(place)
        if group:
            yield group

    def _batch(self, places: list[int], epoch: int | None) -> Batch:
        items = [self._features(place, epoch) for place in places]
        chosen = [self._examples[place] for place in places]
        return Batch(
            torch.nn.utils.rnn.pad_sequence(items),
            torch.tensor([len(item) for item in items]),
            Targets.of([example.characters for example in chosen]),
            Targets.of([example.phones for example in chosen]) if self._with_phones else None,
            places,
        )

    def _features(self, place: int, epoch: int | None) -> Tensor:
        frontend, samples = self._frontend, self._examples[place].samples
        if epoch is None:
            return frontend.stack(self._log_mel(samples))
        rng = np.random.default_rng((self._seed, epoch, place))
        samples, _ = self._augmenter(samples, rng)
        frames = self._log_mel(samples)
        augment = self._augmenter.config
        frames = colour_spectrum(frames, augment, frontend, rng)
        rate = frontend.config.sample_rate / frontend.config.hop_length
        return frontend.stack(mask_spectrogram(frames, augment, rate, rng))

    def _log_mel(self, samples: NDArray[np.float32]) -> Tensor:
        return self._frontend.log_mel(torch.cat([torch.from_numpy(samples), self._frontend.tail()]))
