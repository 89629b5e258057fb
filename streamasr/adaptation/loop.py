"""Epochs of adaptation: updates, and the loss of a held-out part."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .config import AdaptationConfig
from .examples import Batch, Batches
from .network import Posteriors, posteriors
from .objective import Objective
from .parameters import AdaptedTensors, Adapter

__all__ = ["AdaptationLoop", "held_out_loss"]


class AdaptationLoop:
    """Trains an adapter epoch by epoch; ``save`` writes a ``checkpoint`` that ``load`` reads.

    Attributes:
        epoch: epochs that are done.
        seconds: that they took.
        losses: of the held-out part, if there is one, before the first epoch and after each one.
        states: the adapter's parameters, likewise.
    """

    def __init__(
        self,
        adapter: Adapter,
        objective: Objective,
        train: Batches,
        held_out: Batches | None,
        config: AdaptationConfig,
        checkpoint: Path,
    ) -> None:
        self.adapter = adapter
        self.epoch = 0
        self.seconds = 0.0
        self.losses: list[float] = []
        self.states: list[dict[str, Tensor]] = []
        self._objective = objective
        self._train = train
        self._held_out = held_out
        self._config = config
        self._checkpoint = checkpoint
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

    def advance(self, on_batch: Callable[[], None] = lambda: None) -> None:
        """Train one epoch; before the first, the held-out loss of the model as it is is taken."""
        began = time.perf_counter()
        if not self.states:
            self._keep()
        for batch in self._train.varied(self.epoch):
            self._update(batch)
            on_batch()
        self.epoch += 1
        self._keep()
        self.seconds += time.perf_counter() - began

    def _keep(self) -> None:
        state = self.adapter.state_dict()
        self.states.append({name: tensor.clone() for name, tensor in state.items()})
        if self._held_out is not None:
            self.losses.append(held_out_loss(self.adapter, self._objective, self._held_out))

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

    def save(self) -> None:
        """Write the checkpoint; a reader sees the old file or the whole new one."""
        state = {
            "states": self.states,
            "optimizer": self._optimizer.state_dict(),
            "epoch": self.epoch,
            "seconds": self.seconds,
            "losses": self.losses,
        }
        partial = self._checkpoint.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self._checkpoint)

    def load(self) -> None:
        """Read what ``save`` wrote, if there is anything."""
        if not self._checkpoint.exists():
            return
        place = self.adapter.gain.device
        state: dict[str, Any] = torch.load(self._checkpoint, place, weights_only=True)
        self.states = state["states"]
        self.adapter.load_state_dict(self.states[-1])
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
