"""Epochs of adaptation: updates, the loss of the held-out part, and when to stop."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .config import AdaptationConfig
from .examples import Batch, Batches
from .network import Posteriors, posteriors
from .objective import Objective
from .parameters import AdaptedTensors, Adapter

__all__ = ["AdaptationLoop", "held_out_loss"]


class AdaptationLoop:
    """Trains an adapter epoch by epoch and keeps the parameters of the lowest held-out loss.

    Attributes:
        epoch: epochs that are done.
        seconds: that they took.
        losses: of the held-out part before the first epoch and after each one.
    """

    def __init__(
        self,
        adapter: Adapter,
        objective: Objective,
        train: Batches,
        held_out: Batches,
        config: AdaptationConfig,
    ) -> None:
        self.adapter = adapter
        self.epoch = 0
        self.seconds = 0.0
        self.losses: list[float] = []
        self._objective = objective
        self._train = train
        self._held_out = held_out
        self._config = config
        self._best = copy.deepcopy(adapter.state_dict())
        self._optimizer = torch.optim.AdamW(
            adapter.parameters(),
            lr=config.learning_rate,
            betas=(0.9, 0.98),
            weight_decay=config.weight_decay,
        )

    @property
    def updates(self) -> int:
        """Updates in an epoch, give or take one."""
        return self._train.count

    @property
    def best_epoch(self) -> int:
        """The epoch with the lowest held-out loss; 0, the model as it was, if none has a lower one.

        Of the first ``least_epochs`` only the last counts: a few held-out sentences say less about
        how long to train than what did well for other speakers.
        """
        best = self._candidate
        return best if best and self.losses[best] < self.losses[0] else 0

    @property
    def _candidate(self) -> int:
        if not self.epoch:
            return 0
        first = min(self._config.least_epochs, self.epoch)
        return min(range(first, self.epoch + 1), key=self.losses.__getitem__)

    @property
    def finished(self) -> bool:
        """Whether more epochs would not help, or would take too long."""
        config = self._config
        a_while = self.seconds / max(1, self.epoch)
        return (
            self.epoch >= config.epochs
            or self.epoch - self._candidate >= config.patience
            or self.seconds + a_while > 60 * config.minutes
        )

    def advance(self, on_batch: Callable[[], None] = lambda: None) -> None:
        """Train one epoch; before the first, the held-out loss of the model as it is is taken."""
        began = time.perf_counter()
        if not self.losses:
            self.losses.append(self._measure())
        for batch in self._train.varied(self.epoch):
            self._update(batch)
            on_batch()
        self.epoch += 1
        self.losses.append(self._measure())
        if self._candidate == self.epoch:
            self._best = copy.deepcopy(self.adapter.state_dict())
        self.seconds += time.perf_counter() - began

    def best(self) -> Adapter:
        """Return the adapter with the parameters of the best epoch."""
        self.adapter.load_state_dict(self._best)
        return self.adapter

    def _measure(self) -> float:
        return held_out_loss(self.adapter, self._objective, self._held_out)

    def _update(self, batch: Batch) -> None:
        adapter, config = self.adapter, self._config
        teacher = None
        if config.distillation:
            with torch.no_grad():
                teacher = outputs(adapter, adapter.original(), batch)
        found = outputs(adapter, adapter(), batch)
        loss = self._objective(found, batch.lengths, batch.characters, batch.phones, teacher)
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(adapter.parameters(), config.clip_norm)
        if torch.isfinite(norm):
            self._optimizer.step()

    def save(self, path: Path) -> None:
        """Write a checkpoint; a reader sees the old file or the whole new one."""
        state = {
            "adapter": self.adapter.state_dict(),
            "best": self._best,
            "optimizer": self._optimizer.state_dict(),
            "epoch": self.epoch,
            "seconds": self.seconds,
            "losses": self.losses,
        }
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(path)

    def load(self, path: Path) -> None:
        """Read what ``save`` wrote."""
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        self.adapter.load_state_dict(state["adapter"])
        self._best = state["best"]
        self._optimizer.load_state_dict(state["optimizer"])
        self.epoch, self.seconds = state["epoch"], state["seconds"]
        self.losses = state["losses"]


def outputs(adapter: Adapter, adapted: AdaptedTensors, batch: Batch) -> Posteriors:
    """Return the log-posteriors of a batch, on the adapter's device."""
    frames = batch.frames.to(adapter.gain.device)
    return posteriors(adapted, adapter.sizes, frames, batch.lengths)


@torch.no_grad()
def held_out_loss(adapter: Adapter, objective: Objective, batches: Batches) -> float:
    """Return the mean loss of a token in recordings as they are."""
    total, tokens = 0.0, 0
    adapted = adapter()
    for batch in batches.plain():
        found = outputs(adapter, adapted, batch)
        rows = objective.of_rows(found, batch.lengths, batch.characters, batch.phones)
        total += float(rows.sum())
        tokens += int((batch.phones or batch.characters).lengths.sum())
    return total / max(1, tokens)
