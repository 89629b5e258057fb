"""Training of the tagger on books, a row of places at once, each read on from update to update."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from ..errors import ConfigError
from ..text.features import WordTable
from ..text.labels import UNKNOWN
from ..text.network import Tagger, TaggerConfig
from .punctuation_noise import Confusions, Noise, NoisyText, add_noise
from .punctuation_text import MarkedText, rows_of
from .state import backward

__all__ = ["Progress", "PunctuationTraining", "train_tagger"]


@dataclass(frozen=True, slots=True)
class PunctuationTraining:
    """How to train: ``rows`` places of the text are read at once, ``length`` words an update.

    The learning rate falls linearly to zero over the last ``cooldown``, a share of all
    ``updates``; ``average_decay`` is of the weights' running mean, which is the model that is kept.
    ``reset_probability``: share of rows that go on elsewhere and have read nothing before.
    """

    updates: int = 10_000
    rows: int = 64
    length: int = 64
    peak_lr: float = 3e-3
    warmup: int = 200
    cooldown: float = 0.5
    average_decay: float = 0.998
    reset_probability: float = 0.02
    weight_decay: float = 0.01
    clip: float = 1.0
    seed: int = 0
    save_every: int = 250


@dataclass(frozen=True, slots=True)
class Progress:
    """Reported after each update; losses in nats a word."""

    update: int
    updates: int
    mark_loss: float
    capital_loss: float
    words_per_second: float


def _ignore(_: object) -> None:
    """Do nothing."""


def train_tagger(
    text: MarkedText,
    words: Sequence[str],
    table: WordTable,
    config: TaggerConfig,
    settings: PunctuationTraining,
    noise: Noise,
    checkpoint: Path,
    report: Callable[[Progress], None] = _ignore,
    keep: Callable[[Tagger], None] = _ignore,
) -> Tagger:
    """Read ``text``, whose words are places in ``words``, and return the tagger.

    Goes on from ``checkpoint`` where there is one; ``keep`` is given the model with each.
    Raises ConfigError for a text too short for an update, or a checkpoint of another model.
    """
    if len(text) < 4 * settings.length:
        raise ConfigError(f"the text has {len(text)} words; {4 * settings.length} are the least")
    torch.manual_seed(settings.seed)
    run = _Run(config, settings)
    if checkpoint.exists():
        run.load(checkpoint)
    confusions = Confusions.of(text, words)
    reader = _Reader(text, settings, noise, confusions, run.places, config.look_ahead)
    features = rows_of(table, words)
    while run.update < settings.updates:
        began = time.perf_counter()
        read = reader.next(run.update)
        losses = run.step(read, features)
        rate = settings.rows * settings.length / (time.perf_counter() - began)
        report(Progress(run.update, settings.updates, *losses, rate))
        if run.update % settings.save_every == 0 or run.update == settings.updates:
            run.save(checkpoint)
            keep(run.average)
    return run.average.eval()


@dataclass(frozen=True, slots=True)
class _Batch:
    """A stretch of each row ``(T, B)``; ``fresh (B,)``: rows that begin anew."""

    noisy: NoisyText
    fresh: NDArray[np.bool_]


class _Reader:
    """Iterates over rows of the text, adding ``noise`` a block at a time."""

    def __init__(
        self,
        text: MarkedText,
        settings: PunctuationTraining,
        noise: Noise,
        confusions: Confusions,
        places: NDArray[np.int64],
        look_ahead: int,
    ) -> None:
        self._text, self._settings, self._noise, self._confusions = (
            text,
            settings,
            noise,
            confusions,
        )
        self._look_ahead = look_ahead
        self._places = places  # the run's own: it goes on from them
        self._pending: list[NoisyText | None] = [None] * settings.rows

    def next(self, update: int) -> _Batch:
        """Return the next words of each row."""
        settings = self._settings
        rng = np.random.default_rng((settings.seed, update))
        fresh = np.zeros(settings.rows, bool)
        parts = []
        for row in range(settings.rows):
            if self._places[row] < 0 or rng.random() < settings.reset_probability:
                self._places[row] = rng.integers(len(self._text) - settings.length)
                self._pending[row] = None
                fresh[row] = True
            parts.append(self._block(row, rng))
        stacked = NoisyText(
            *(
                np.stack([getattr(part, name) for part in parts], axis=1)
                for name in ("words", "pauses", "marks", "capitals")
            )
        )
        return _Batch(stacked, fresh)

    def _block(self, row: int, rng: np.random.Generator) -> NoisyText:
        """Return the next ``length`` words of a row, with noise."""
        length = self._settings.length
        pending = self._pending[row]
        while pending is None or len(pending.words) < length:
            first = int(self._places[row])
            span = slice(first, first + 8 * length)
            part = MarkedText(
                self._text.words[span], self._text.marks[span], self._text.capitals[span]
            )
            noisy = add_noise(part, self._noise, rng, self._confusions, self._look_ahead)
            self._places[row] = first + len(part)
            if self._places[row] >= len(self._text) - 1:
                self._places[row] = 0
            pending = noisy if pending is None else _joined(pending, noisy)
        self._pending[row] = _part(pending, slice(length, None))
        return _part(pending, slice(0, length))


def _part(noisy: NoisyText, span: slice) -> NoisyText:
    return NoisyText(noisy.words[span], noisy.pauses[span], noisy.marks[span], noisy.capitals[span])


def _joined(first: NoisyText, second: NoisyText) -> NoisyText:
    return NoisyText(
        np.concatenate([first.words, second.words]),
        np.concatenate([first.pauses, second.pauses]),
        np.concatenate([first.marks, second.marks]),
        np.concatenate([first.capitals, second.capitals]),
    )


class _Run:
    """Everything that changes from update to update."""

    def __init__(self, config: TaggerConfig, settings: PunctuationTraining) -> None:
        self.settings = settings
        self.model = Tagger(config).train()
        self.average = copy.deepcopy(self.model).requires_grad_(False)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(),
            betas=(0.9, 0.99),
            weight_decay=settings.weight_decay,
            fused=True,
        )
        self.state = self.model.initial_state(settings.rows)
        # Labels of the last words of the block before, which are decided in this one.
        self.labels = torch.full((config.look_ahead + 1, settings.rows, 2), UNKNOWN)
        self.places = np.full(settings.rows, -1, np.int64)
        self.update = 0

    def step(self, batch: _Batch, features: NDArray[np.int32]) -> tuple[float, float]:
        """Update the weights by a block; return the losses of marks and of capitals."""
        settings, model = self.settings, self.model
        noisy, fresh = batch.noisy, torch.from_numpy(batch.fresh)
        words = torch.from_numpy(features[noisy.words].astype(np.int64))
        pauses = torch.from_numpy(noisy.pauses.astype(np.int64))
        pairs = np.stack([noisy.marks, noisy.capitals], axis=-1).astype(np.int64)
        self.labels[:, fresh] = UNKNOWN
        labels = torch.cat([self.labels, torch.from_numpy(pairs)])
        self.labels = labels[len(pairs) :]
        kept = (~fresh)[None, :, None]
        self._set_rate()
        state = self.state.h * kept, self.state.C * kept
        with torch.autocast("cpu", torch.bfloat16):
            read, (h, c) = model.lstm(model.embed(words, pauses), state)
        marks, capitals = model.split(read.float())
        losses = _losses(marks, capitals, labels)
        self.optimizer.zero_grad(set_to_none=True)
        backward(losses[0] + losses[1], model)
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
        self.optimizer.step()
        self.state = type(self.state)(h.detach().float(), c.detach().float())
        self._follow()
        self.update += 1
        return float(losses[0].detach()), float(losses[1].detach())

    def _set_rate(self) -> None:
        settings = self.settings
        down = (1 - self.update / settings.updates) / settings.cooldown if settings.cooldown else 1
        for group in self.optimizer.param_groups:
            group["lr"] = settings.peak_lr * min(1.0, (self.update + 1) / settings.warmup, down)

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the averaged weights towards the current ones, quickly at first."""
        decay = min(self.settings.average_decay, (1 + self.update) / (10 + self.update))
        averaged, current = self.average.state_dict(), self.model.state_dict()
        torch._foreach_lerp_([*averaged.values()], [*current.values()], 1 - decay)

    def save(self, path: Path) -> None:
        """Write a checkpoint; a reader sees the old file or the whole new one."""
        partial = path.with_suffix(".partial")
        saved = {
            "config": self.model.config.model_dump(),
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "state": tuple(self.state),
            "labels": self.labels,
            "places": self.places.tolist(),
            "update": self.update,
        }
        torch.save(saved, partial)
        partial.replace(path)

    def load(self, path: Path) -> None:
        """Read a checkpoint; raises ConfigError for one of another model or number of rows."""
        saved = torch.load(path, weights_only=True)
        same = saved["config"] == self.model.config.model_dump()
        if not same or len(saved["places"]) != self.settings.rows:
            raise ConfigError(
                f"{path}: of another model or number of rows; remove it to begin anew"
            )
        self.model.load_state_dict(saved["model"])
        self.average.load_state_dict(saved["average"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.state = type(self.state)(*saved["state"])
        self.labels, self.update = saved["labels"], saved["update"]
        self.places[:] = saved["places"]


def _losses(marks: Tensor, capitals: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean losses of the labels that are known.

    ``labels`` begin ``look_ahead + 1`` words before the logits: the marks' are as many words back,
    the capitals' one fewer.
    """
    mark = labels[: len(marks), :, 0].flatten()
    capital = labels[1 : len(marks) + 1, :, 1].flatten()
    known = capital != UNKNOWN
    mark_loss = cross_entropy(marks.flatten(0, 1), mark, ignore_index=UNKNOWN, reduction="sum") / (
        mark != UNKNOWN
    ).sum().clamp(min=1)
    capital_loss = binary_cross_entropy_with_logits(
        capitals.flatten()[known], capital[known].float(), reduction="sum"
    ) / known.sum().clamp(min=1)
    return mark_loss, capital_loss
