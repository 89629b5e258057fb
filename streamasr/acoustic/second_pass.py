"""The second pass while a segment lasts: the time-delay network, block by block.

A layer reads ``dilation`` timesteps to each side, so that each lags behind the one before it, and
keeps the few of its inputs that it will read again. What comes out are the posteriors of the whole
segment, except that gates read what is known so far where ``FactoredTDNN`` reads to both sides.
Blocks stand at the same places of a segment however it comes: any chunking gives the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .model.tdnn import BYPASS, FactoredTDNN, TDNNLayer

__all__ = ["BLOCK", "FIRST_BLOCK", "SecondPass", "SecondPassState"]

BLOCK, FIRST_BLOCK = 16, 32
"""Timesteps that are computed at once. The first are more: a gate's mean of a few is unsure."""


@dataclass(frozen=True, slots=True)
class SecondPassState:
    """What is kept of a segment. A value.

    Attributes:
        waiting: ``(n, E)``, timesteps that do not fill a block yet.
        front: ``(2, E)``, the last ones that the convolutions read.
        layers: of each layer, the last ``2 * dilation`` of its inputs, ``(2 * dilation, H)``.
        sums: of each layer with gates, the sum of what they read, ``(gate_size,)``.
        steps: timesteps of the blocks so far, with those that the input is held back.
    """

    waiting: Tensor
    front: Tensor
    layers: tuple[Tensor, ...]
    sums: tuple[Tensor, ...]
    steps: int = 0


class SecondPass:
    """Maps the encoded timesteps of a segment to log-posteriors that know what follows. Immutable.

    They come as soon as their right context has: ``lag`` timesteps and a block later.
    """

    def __init__(self, network: FactoredTDNN) -> None:
        self._network = network
        self._layers: list[TDNNLayer] = [*network.layers]
        self._held = network.config.delay
        self._precision = torch.promote_types(network.head.weight.dtype, torch.float32)
        self.lag = 1 + sum(network.config.dilations) - self._held

    @torch.inference_mode()
    def initial_state(self) -> SecondPassState:
        """Return the state before the first timestep of a segment."""
        zeros, config = self._network.head.weight.new_zeros, self._network.config
        size, hidden = self._network.input_size, config.hidden_size
        gates = sum(map(config.gated, range(len(self._layers))))
        return SecondPassState(
            zeros(self._held, size),
            zeros(2, size),
            tuple(zeros(2 * dilation, hidden) for dilation in config.dilations),
            (zeros(config.gate_size, dtype=self._precision),) * gates,
        )

    @torch.inference_mode()
    def whole(self, encoded: Tensor) -> Tensor:
        """Map ``encoded (T, E)`` of a whole segment to ``log_probs (T, P)``, on the CPU.

        This takes less than block by block, and gates read to both sides.
        """
        log_probs: Tensor = self._network(encoded[:, None])
        return log_probs[:, 0].cpu()

    @torch.inference_mode()
    def __call__(self, encoded: Tensor, state: SecondPassState) -> tuple[Tensor, SecondPassState]:
        """Take ``encoded (n, E)``; return the ``log_probs (m, P)`` now known, on the CPU."""
        x = torch.cat([state.waiting, encoded.to(state.waiting)])
        found = [self._nothing()]
        while len(x) >= (size := self._size(state.steps)):
            log_probs, state = self._block(x[:size], state)
            found.append(log_probs)
            x = x[size:]
        waiting = x.clone()  # not all that it was cut from
        return torch.cat(found), SecondPassState(
            waiting, state.front, state.layers, state.sums, state.steps
        )

    @torch.inference_mode()
    def finish(self, state: SecondPassState) -> Tensor:
        """Return the ``log_probs (m, P)`` of the timesteps that remain, as the segment ends."""
        end = state.steps + len(state.waiting)
        x, found = state.waiting, [self._nothing()]
        while state.steps - self._held - self.lag < end - self._held:
            size = self._size(state.steps)
            filled = x.new_zeros(max(0, size - len(x)), x.shape[1])
            log_probs, state = self._block(torch.cat([x[:size], filled]), state, end)
            found.append(log_probs)
            x = x[size:]
        return torch.cat(found)

    def _size(self, steps: int) -> int:
        return BLOCK if steps else FIRST_BLOCK

    def _nothing(self) -> Tensor:
        return torch.zeros(0, self._network.head.out_features)

    def _block(
        self, x: Tensor, state: SecondPassState, end: int | None = None
    ) -> tuple[Tensor, SecondPassState]:
        """Advance all layers by ``x (n, E)``; the segment ends before timestep ``end``, if given.

        A layer's inputs count as nothing before the segment and behind it.
        """
        network, steps = self._network, state.steps + len(x)
        seen = torch.cat([state.front, x])[:, None]
        last, seen_to = seen[2:][-2:, 0], steps - 1
        r = network.front(seen, None)[1:-1].relu_() + network.offsets[0]
        r = _within(r, seen_to, end)
        tails, sums, gates = [], [], iter(state.sums)
        for layer, tail, offset in zip(
            self._layers, state.layers, [*network.offsets][1:], strict=True
        ):
            read = torch.cat([tail[:, None], r])
            tails.append(read[len(r) :, 0].clone())
            y = layer.joined(read).relu_() + offset
            if layer.squeeze is not None:
                total = next(gates) + layer.squeezed(r)[:, 0].sum(0, dtype=self._precision)
                sums.append(total)
                count = max(1, seen_to if end is None else min(seen_to, end))
                y *= layer.opened((total / count).to(r.dtype))
            d = layer.dilation
            seen_to -= d
            r = _within(y.add_(read[d : d + len(y)], alpha=BYPASS), seen_to, end)
        log_probs = network.classify(r)[:, 0].cpu()
        first = seen_to - len(r)
        until = len(r) if end is None else min(len(r), end - self._held - first)
        state = SecondPassState(x[:0], last.clone(), tuple(tails), tuple(sums), steps)
        return log_probs[max(0, -first) : max(0, until)], state


def _within(r: Tensor, stop: int, end: int | None) -> Tensor:
    """Return ``r (n, 1, H)`` of the timesteps before ``stop``, 0 outside of the segment."""
    first = stop - len(r)
    if first < 0:
        r[:-first] = 0
    if end is not None and stop > end:
        r[max(0, end - first) :] = 0
    return r
