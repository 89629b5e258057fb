"""Training of the recurrent language model on a text, in the order of its sentences."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import ConfigError
from ..language import LanguageModel, LanguageModelConfig, Rescorer
from .language_loss import tied_cross_entropy
from .state import backward

__all__ = ["LanguageTraining", "Progress", "perplexity", "train"]

_SENTENCES = 32  # scored at once


@dataclass(frozen=True, slots=True)
class LanguageTraining:
    """How to train: ``rows`` places of the text are read at once, ``length`` pieces an update.

    The text is read ``passes`` times. ``reset_probability``: share of rows that forget all before
    an update, so that the model also learns to begin in the middle, as a segment does. The
    learning rate falls linearly to zero over the last ``cooldown``, a share of all updates;
    ``average_decay`` is of the weights' running mean, which is the model that is kept.

    ``seconds`` ends training after so much time, for a machine that is lent or shared: the share
    that is done is then that of the time or of the updates, whichever is more, so that the learning
    rate is at zero in either case. Such a run is not repeated to the bit.
    """

    passes: int = 1
    rows: int = 64
    length: int = 64
    peak_lr: float = 2e-3
    warmup: int = 200
    cooldown: float = 0.5
    average_decay: float = 0.998
    reset_probability: float = 0.3
    weight_decay: float = 0.01
    clip: float = 1.0
    seed: int = 0
    save_every: int = 500
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """Reported after each update; ``loss`` in nats a piece."""

    update: int
    updates: int
    loss: float
    pieces_per_second: float


def _ignore(_: object) -> None:
    """Do nothing."""


def train(
    text: NDArray[np.int16],
    start: LanguageModel | LanguageModelConfig,
    settings: LanguageTraining,
    checkpoint: Path,
    report: Callable[[Progress], None] = _ignore,
    keep: Callable[[LanguageModel], None] = _ignore,
) -> LanguageModel:
    """Read ``text`` and return the model; go on from ``checkpoint`` where there is one.

    It begins with the weights of ``start``, or with random ones of that size. AdamW in bfloat16, on
    a GPU if there is one. ``keep`` is given the model with each checkpoint. Raises ConfigError for
    a text that is too short, or a checkpoint of another model, text or number of rows.
    """
    columns = (len(text) - 1) // settings.rows
    pass_updates = columns // settings.length
    updates = settings.passes * pass_updates
    if not pass_updates:
        least = settings.rows * settings.length
        raise ConfigError(f"the text has {len(text)} pieces; an update takes {least}")
    torch.manual_seed(settings.seed)
    run = _Run(start, settings)
    if checkpoint.exists():
        run.load(checkpoint, len(text))
    places = np.arange(settings.rows)[:, None] * columns
    while (done := run.done(updates)) < 1:
        began = time.perf_counter()
        first = run.update % pass_updates * settings.length
        span = places + first + np.arange(settings.length + 1)
        read = torch.from_numpy(text[span].astype(np.int64))
        loss = run.step(read, settings.peak_lr * _rate(run.update, done, settings))
        seconds = time.perf_counter() - began
        run.seconds += seconds
        report(Progress(run.update, updates, loss, read[:, 1:].numel() / seconds))
        if run.update % settings.save_every == 0:
            run.save(checkpoint, len(text))
            keep(run.average)
    return run.average.cpu().eval()


def _rate(update: int, done: float, settings: LanguageTraining) -> float:
    """Return the share of the peak learning rate: up, level, down as training is ``done``."""
    down = (1 - done) / settings.cooldown if settings.cooldown else 1.0
    return min(1.0, (update + 1) / settings.warmup, down)


class _Run:
    """Everything that changes from update to update."""

    def __init__(
        self, start: LanguageModel | LanguageModelConfig, settings: LanguageTraining
    ) -> None:
        self.settings = settings
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        model = LanguageModel(start) if isinstance(start, LanguageModelConfig) else start
        self.model = copy.deepcopy(model).to(self.device).requires_grad_(True).train()
        self.average = copy.deepcopy(self.model).requires_grad_(False)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(),
            betas=(0.9, 0.99),
            weight_decay=settings.weight_decay,
            fused=True,
        )
        self.state = self.model.initial_state(settings.rows)
        self.update = 0
        self.seconds = 0.0

    def done(self, updates: int) -> float:
        """Return the share of the training that is done."""
        limit = self.settings.seconds
        return max(self.update / updates, self.seconds / limit if limit else 0.0)

    def step(self, read: torch.Tensor, lr: float) -> float:
        """Update the weights by ``read (rows, length + 1)``, pieces; return the loss."""
        settings, model = self.settings, self.model
        inputs, targets = read[:, :-1].clone(), read[:, 1:].to(self.device)
        generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + self.update)
        reset = torch.rand(settings.rows, generator=generator) < settings.reset_probability
        inputs[reset, 0] = 0
        kept = (~reset)[None, :, None].to(self.device)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        with torch.autocast(self.device.type, torch.bfloat16):
            embedded = model.embedding(inputs.to(self.device))
            hidden, (h, c) = model.lstm(embedded, (self.state[0] * kept, self.state[1] * kept))
            features = model.projection(hidden)
        loss = tied_cross_entropy(
            features.flatten(0, 1), model.embedding.weight, model.bias, targets.flatten()
        )
        self.optimizer.zero_grad(set_to_none=True)
        backward(loss, model)
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
        self.optimizer.step()
        self.state = (h.detach().float(), c.detach().float())
        self._follow()
        self.update += 1
        return float(loss.detach())

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the averaged weights towards the current ones, quickly at first."""
        decay = min(self.settings.average_decay, (1 + self.update) / (10 + self.update))
        averaged, current = self.average.state_dict(), self.model.state_dict()
        torch._foreach_lerp_([*averaged.values()], [*current.values()], 1 - decay)

    def save(self, path: Path, pieces: int) -> None:
        """Write a checkpoint; a reader sees the old file or the whole new one."""
        partial = path.with_suffix(".partial")
        saved = {
            "config": self.model.config.model_dump(),
            "pieces": pieces,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "state": self.state,
            "update": self.update,
            "seconds": self.seconds,
        }
        torch.save(saved, partial)
        partial.replace(path)

    def load(self, path: Path, pieces: int) -> None:
        """Read a checkpoint of a text of ``pieces``; raises ConfigError for another's."""
        saved = torch.load(path, map_location=self.device, weights_only=True)
        known = saved["config"], saved["pieces"], saved["state"][0].shape[1]
        if "average" not in saved or known != (
            self.model.config.model_dump(),
            pieces,
            self.settings.rows,
        ):
            raise ConfigError(
                f"{path}: of another model, text or number of rows; remove it to begin anew"
            )
        self.model.load_state_dict(saved["model"])
        self.average.load_state_dict(saved["average"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.state, self.update = saved["state"], saved["update"]
        self.seconds = saved.get("seconds", 0.0)


def perplexity(rescorer: Rescorer, sentences: Iterable[str]) -> float:
    """Return the perplexity a word of ``sentences``, each by itself, their ends not counted."""
    total, words, rest = 0.0, 0, iter(sentences)
    while texts := [sentence.split() for sentence in islice(rest, _SENTENCES)]:
        for scores in rescorer.score(texts, rescorer.initial_state())[0]:
            total += sum(scores)
            words += len(scores)
    return math.exp(-total / max(1, words))
