"""Batches: utterances of like length together, as features in time order.

Everything random is drawn from ``(seed, epoch, utterance)``, so batch ``k`` of an epoch is the same
whoever computes it and whenever: a resumed run sees what an uninterrupted one would have seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..audio import SAMPLE_RATE
from ..errors import ConfigError
from ..frontend import Frontend
from ..manifest import Utterance, normalise, read_manifest
from ..model import Tokens
from .augment import Augmenter, colour_spectrum, mask_spectrogram
from .cache import AudioCache
from .config import TrainingConfig

__all__ = ["Batch", "Corpus", "batches_of_epoch", "epoch_plan", "load_corpus"]


class Batch(NamedTuple):
    """``frames (T, B, F)``, their ``lengths (B,)``, ``targets`` joined and their lengths."""

    frames: Tensor
    lengths: Tensor
    targets: Tensor
    target_lengths: Tensor
    seconds: float


@dataclass(frozen=True)
class Corpus:
    """The training set: decoded audio, token indices, and each utterance's share of epochs."""

    cache: AudioCache
    targets: list[list[int]]
    shares: list[float]
    seconds: list[float]
    augmenter: Augmenter


def _audio_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".tsv")


def load_corpus(config: TrainingConfig, tokens: Tokens) -> Corpus:
    """Read manifests and decode the audio, once; raises ConfigError for what cannot be used."""
    root = Path(config.data.root)
    folder = Path(config.output) / "cache"
    utterances: list[Utterance] = []
    shares: list[float] = []
    for source in config.data.train:
        chosen = [u for u in read_manifest(root / source.manifest) if source.only in str(u.path)]
        if not chosen:
            raise ConfigError(f"{root / source.manifest}: no utterance matches {source.only!r}")
        utterances += chosen
        shares += [source.share] * len(chosen)
    for u in utterances:
        if not u.path.is_file():
            raise ConfigError(f"{u.path}: listed in a manifest, but there is no such file")
    cache = AudioCache([u.path for u in utterances], folder)
    targets = [tokens.encode(normalise(u.transcript)) for u in utterances]

    def extra(name: str) -> AudioCache | None:
        return AudioCache(_audio_files(root / name), folder) if name else None

    augmenter = Augmenter(config.augment, extra(config.data.noise), extra(config.data.rooms))
    seconds = [cache.length(i) / SAMPLE_RATE for i in range(len(cache))]
    return Corpus(cache, targets, shares, seconds, augmenter)


def epoch_plan(corpus: Corpus, config: TrainingConfig, epoch: int) -> list[list[int]]:
    """Return the batches of an epoch as lists of utterances, shuffled, lengths alike in each."""
    rng = np.random.default_rng((config.seed, epoch))
    data = config.data
    drawn = [
        (seconds * rng.uniform(0.9, 1.1), index)
        for index, seconds in enumerate(corpus.seconds)
        if rng.random() < corpus.shares[index]
        and data.min_seconds <= seconds <= data.max_seconds
        and len(corpus.targets[index]) > 0
    ]
    plan: list[list[int]] = []
    batch: list[int] = []
    longest = 0.0
    for seconds, index in sorted(drawn):
        longest = max(longest, seconds)
        if batch and longest * (len(batch) + 1) > data.batch_seconds:
            plan.append(batch)
            batch, longest = [], seconds
        batch.append(index)
    if batch:
        plan.append(batch)
    return [plan[i] for i in rng.permutation(len(plan))]


class _Batches(Dataset[Batch]):
    def __init__(
        self, corpus: Corpus, config: TrainingConfig, frontend: Frontend, epoch: int, start: int
    ) -> None:
        self._corpus, self._config, self._frontend = corpus, config, frontend
        self._epoch = epoch
        self._plan = epoch_plan(corpus, config, epoch)[start:]

    def __len__(self) -> int:
        return len(self._plan)

    def __getitem__(self, position: int) -> Batch:
        items = [self._utterance(index) for index in self._plan[position]]
        lengths = torch.tensor([len(frames) for frames, _ in items])
        frames = torch.nn.utils.rnn.pad_sequence([frames for frames, _ in items])
        return Batch(
            frames,
            lengths,
            torch.tensor([token for _, target in items for token in target], dtype=torch.long),
            torch.tensor([len(target) for _, target in items]),
            float(lengths.sum()) * self._frontend.config.step_seconds,
        )

    def _utterance(self, index: int) -> tuple[Tensor, list[int]]:
        corpus, frontend, augment = self._corpus, self._frontend, self._config.augment
        rng = np.random.default_rng((self._config.seed, self._epoch, index))
        samples, target = corpus.cache[index], corpus.targets[index]
        varied = self._epoch >= augment.from_epoch
        if varied and rng.random() < augment.silence_probability:
            samples, target = corpus.augmenter.silence(len(samples), rng), []
        elif varied:
            samples = corpus.augmenter(samples, rng)
        frames = frontend.log_mel(torch.cat([torch.from_numpy(samples), frontend.tail()]))
        if varied:
            rate = frontend.config.sample_rate / frontend.config.hop_length
            frames = colour_spectrum(frames, augment, frontend, rng)
            frames = mask_spectrogram(frames, augment, rate, rng)
        return frontend.stack(frames), target


def batches_of_epoch(
    corpus: Corpus, config: TrainingConfig, frontend: Frontend, epoch: int, start: int = 0
) -> Iterator[Batch]:
    """Yield the batches of ``epoch`` from the ``start``-th on, made ahead in worker processes."""
    dataset = _Batches(corpus, config, frontend, epoch, start)
    workers = config.data.workers
    yield from DataLoader(
        dataset,
        batch_size=None,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        worker_init_fn=_one_thread,
    )


def _one_thread(_worker: int) -> None:
    torch.set_num_threads(1)
