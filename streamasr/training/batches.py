"""Batches: utterances of like length together, as features in time order.

Everything random is drawn from ``(seed, pass, utterance)``, so batch ``k`` of an epoch is the same
whoever computes it and whenever: a resumed run sees what an uninterrupted one would have seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..acoustic.frontend import Frontend
from ..errors import ConfigError
from .augment import Timing, colour_spectrum, mask_spectrogram
from .config import TrainingConfig
from .corpus import Corpus
from .distributed import World
from .labels import IGNORED, Labels
from .plan import pass_plan

__all__ = ["Batch", "Targets", "batches_of_epoch"]

T = TypeVar("T")


class Targets(NamedTuple):
    """Token indices of all rows, joined, and how many each row ``(B,)`` has."""

    tokens: Tensor
    lengths: Tensor

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]]) -> Targets:
        """Join ``rows``."""
        joined = [token for row in rows for token in row]
        return cls(torch.tensor(joined, dtype=torch.long), torch.tensor([len(row) for row in rows]))


class Batch(NamedTuple):
    """``frames (T, B, F)``, their ``lengths (B,)``, and their targets.

    ``labels (T, B)`` is each timestep's phone, -100 where any will do; without a lexicon there are
    no ``phones`` and no labels.
    """

    frames: Tensor
    lengths: Tensor
    characters: Targets
    phones: Targets | None
    labels: Tensor | None
    seconds: float


class _Item(NamedTuple):
    frames: Tensor
    characters: list[int]
    phones: list[int]
    labels: Tensor


class _Batches(Dataset[Batch]):
    def __init__(
        self,
        corpus: Corpus,
        config: TrainingConfig,
        frontend: Frontend,
        labels: Labels | None,
        plan: list[tuple[int, list[int]]],
        varied: bool,
    ) -> None:
        self._corpus, self._config, self._frontend = corpus, config, frontend
        self._labels, self._plan, self._varied = labels, plan, varied

    def __len__(self) -> int:
        return len(self._plan)

    def __getitem__(self, position: int) -> Batch:
        number, chosen = self._plan[position]
        items = [self._utterance(number, index) for index in chosen]
        lengths = torch.tensor([len(item.frames) for item in items])
        pad = torch.nn.utils.rnn.pad_sequence
        return Batch(
            pad([item.frames for item in items]),
            lengths,
            _joined([item.characters for item in items]),
            _joined([item.phones for item in items]) if self._labels else None,
            pad([item.labels for item in items], padding_value=IGNORED) if self._labels else None,
            float(lengths.sum()) * self._frontend.config.step_seconds,
        )

    def _utterance(self, number: int, index: int) -> _Item:
        corpus, frontend, augment = self._corpus, self._frontend, self._config.augment
        rng = np.random.default_rng((self._config.seed, number, index))
        samples, timing, varied = corpus.cache[index], Timing(), self._varied
        silent = varied and rng.random() < augment.silence_probability
        if silent:
            samples = corpus.augmenter.silence(len(samples), rng)
        elif varied:
            samples, timing = corpus.augmenter(samples, rng)
        frames = frontend.log_mel(torch.cat([torch.from_numpy(samples), frontend.tail()]))
        if varied:
            rate = frontend.config.sample_rate / frontend.config.hop_length
            frames = colour_spectrum(frames, augment, frontend, rng)
            frames = mask_spectrogram(frames, augment, rate, rng)
        frames = frontend.stack(frames)
        if silent:
            return _Item(frames, [], [], torch.zeros(len(frames), dtype=torch.long))
        target, labels = corpus.targets[index], self._labels
        if labels is None:
            return _Item(frames, target, [], torch.zeros(0))
        now = torch.from_numpy(labels.frames(index, timing, len(frames)))
        return _Item(frames, target, labels.phones(index), now)


def _joined(rows: list[list[int]]) -> Targets:
    tokens = torch.tensor([token for row in rows for token in row], dtype=torch.long)
    return Targets(tokens, torch.tensor([len(row) for row in rows]))


def batches_of_epoch(
    corpus: Corpus,
    config: TrainingConfig,
    frontend: Frontend,
    epoch: int,
    start: int = 0,
    labels: Labels | None = None,
    world: World | None = None,
) -> Iterator[Batch]:
    """Yield the batches of ``epoch`` from the ``start``-th on, made ahead in worker processes.

    Of these, a process of several gets each ``world.size``-th. All get equally many, for which the
    first ones of the epoch may be read again. Raises ConfigError if there is none.
    """
    passes = config.data.passes
    plan = [
        (number, [i for i in batch if labels is None or i in labels] or batch)
        for number in range(epoch * passes, (epoch + 1) * passes)
        for batch in pass_plan(corpus, frontend, config, number)
    ]
    if not plan:
        raise ConfigError("no training utterance is within min_seconds and max_seconds")
    varied = epoch >= config.augment.from_epoch
    share = _share(plan, start, world or World())
    dataset = _Batches(corpus, config, frontend, labels, share, varied)
    workers = config.data.workers
    yield from DataLoader(
        dataset,
        batch_size=None,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        prefetch_factor=4 if workers else None,
        worker_init_fn=_one_thread,
    )


def _share(plan: Sequence[T], start: int, world: World) -> list[T]:
    left = plan[start:]
    again = islice(cycle(plan), -len(left) % world.size)
    return [*left, *again][world.rank :: world.size]


def _one_thread(_worker: int) -> None:
    torch.set_num_threads(1)
