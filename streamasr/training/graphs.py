"""Batches of a few fixed shapes, each computed as one CUDA graph.

A timestep of a small network takes a GPU less time than a CPU needs to launch it; what is recorded
once and replayed is launched at once. docs/experiments.md says what that is worth.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .batches import Batch
from .config import TrainingConfig
from .crf import log_denominator
from .network import TrainingNetwork
from .state import autocast

__all__ = ["ShapedNetwork"]


class _Whole(nn.Module):
    """What is of fixed shape: the network, and CTC-CRF's denominator of its phones."""

    def __init__(
        self, network: TrainingNetwork, config: TrainingConfig, trigrams: Tensor | None
    ) -> None:
        super().__init__()
        sizes = network.sizes
        self._network, self._config, self._trigrams = network, config, trigrams
        self._phones = slice(sizes.vocab_size, sizes.output_size)

    def forward(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        # A graph must not hold weights that autocast has rounded once and for all.
        with autocast(self._config, frames.device, keep_rounded=False):
            log_probs: Tensor = self._network(frames, lengths)
        if self._trigrams is None:
            return log_probs, log_probs.new_zeros(len(lengths))
        return log_probs, log_denominator(log_probs[..., self._phones], lengths, self._trigrams)


class _Shape(NamedTuple):
    """``frames (T, B, F)`` and ``lengths (B,)`` that a graph reads, and what runs it."""

    frames: Tensor
    lengths: Tensor
    whole: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class ShapedNetwork:
    """A network that fills batches up to the nearest shape; off a GPU it does only that.

    Args:
        network: shares its weights with all shapes.
        rows: of each shape, by its timesteps, ascending.
        trigrams: of CTC-CRF's denominator, if it is wanted.
    """

    def __init__(
        self,
        network: TrainingNetwork,
        config: TrainingConfig,
        rows: dict[int, int],
        trigrams: Tensor | None,
    ) -> None:
        device = next(network.parameters()).device
        self._trigrams = None if trigrams is None else trigrams.to(device)
        self._shapes: dict[tuple[int, int], _Shape] = {}
        # The longest first: what the others need then fits into what it has left free.
        for timesteps, count in reversed(rows.items()):
            frames = torch.zeros(timesteps, count, network.sizes.input_size, device=device)
            lengths = torch.full((count,), timesteps, device=device)
            whole: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
            whole = _Whole(network, config, self._trigrams)
            if device.type == "cuda":
                whole = torch.cuda.make_graphed_callables(  # type: ignore[assignment]
                    whole, (frames, lengths)
                )
            self._shapes[timesteps, count] = _Shape(frames, lengths, whole)

    def follow(self, trigrams: Tensor | None) -> None:
        """Take over the trigrams of a new alignment."""
        if self._trigrams is not None and trigrams is not None:
            self._trigrams.copy_(trigrams)

    def __call__(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return ``log_probs (T, B, V + P + P)`` of a batch, and the denominators ``(B,)``.

        They are valid until the next batch of that shape.
        """
        steps, count = batch.frames.shape[:2]
        fitting = min(size for size in self._shapes if size[0] >= steps and size[1] >= count)
        frames, lengths, whole = self._shapes[fitting]
        frames.zero_()
        frames[:steps, :count].copy_(batch.frames, non_blocking=True)
        lengths.zero_()
        lengths[:count].copy_(batch.lengths, non_blocking=True)
        log_probs, denominators = whole(frames, lengths)
        return log_probs[:steps, :count], denominators[:count]
