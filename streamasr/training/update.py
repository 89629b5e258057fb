"""One update of the weights from one batch, or from one of each process."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from .batches import Batch
from .config import TrainingConfig
from .distributed import World
from .graphs import ShapedNetwork
from .losses import Losses, token_counts
from .state import TrainingState, autocast, backward

__all__ = ["Update", "gradient", "make_update"]


_ORTHOGONALISED_EVERY = 4
"""Updates; as in Povey et al. 2018."""


class Update(NamedTuple):
    """Losses by name, the gradient's norm before clipping, and seconds of audio, of all batches."""

    losses: dict[str, float]
    norm: float
    seconds: float


def make_update(
    state: TrainingState,
    batch: Batch,
    config: TrainingConfig,
    lr: float,
    losses: Losses,
    shaped: ShapedNetwork | None,
    world: World,
) -> Update:
    """Make one update."""
    # Dropout is a function of the update's number, so a resumed run repeats it.
    torch.manual_seed(config.seed * 1_000_003 + state.update + world.rank * 1_000_000_007)
    for optimizer in state.optimizers:
        for group in optimizer.param_groups:
            group["lr"] = lr
    parts = gradient(state, batch, config, losses, shaped, world)
    norm = nn.utils.clip_grad_norm_(state.network.parameters(), config.optimizer.clip_norm)
    if torch.isfinite(norm):
        for optimizer in state.optimizers:
            optimizer.step()
        if state.network.tdnn is not None and state.update % _ORTHOGONALISED_EVERY == 0:
            state.network.tdnn.orthogonalise()
        state.follow(config.optimizer.average)
    seconds = torch.tensor([batch.seconds], device=state.device)
    *values, seconds_of_all = world.sum(torch.cat([*_rows(parts), seconds])).tolist()
    return Update(dict(zip(parts, values, strict=True)), norm.item(), seconds_of_all)


def gradient(
    state: TrainingState,
    batch: Batch,
    config: TrainingConfig,
    losses: Losses,
    shaped: ShapedNetwork | None = None,
    world: World | None = None,
) -> dict[str, Tensor]:
    """Compute the gradient of the losses of all processes' batches; return this one's parts.

    The parts of all processes sum up to the losses of one that has all batches in one.
    """
    world = world or World()
    denominators = None
    if shaped:
        log_probs, denominators = shaped(batch)
    else:
        with autocast(config, state.device):
            frames = batch.frames.to(state.device, non_blocking=True)
            log_probs = state.network(frames, batch.lengths)
    counts = token_counts(batch)
    if world.size > 1:
        counts = world.sum(counts.to(state.device))
    parts = losses(log_probs, batch, state.update, denominators, counts)
    state.network.zero_grad()
    backward(torch.stack([*parts.values()]).sum(), state.network)
    world.sum_gradients(state.network)
    return parts


def _rows(parts: dict[str, Tensor]) -> list[Tensor]:
    return [part.detach().reshape(1) for part in parts.values()]
