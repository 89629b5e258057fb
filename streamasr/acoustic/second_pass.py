"""The second pass while a segment lasts: the time-delay network, block by block.

A layer reads ``dilation`` timesteps to each side, so that each lags behind the one before it, and
keeps the few of its inputs that it will read again. What comes out are the posteriors of the whole
segment, except that gates read what is known so far where ``FactoredTDNN`` reads to both sides.
Blocks stand at the same places of a segment however it comes: any chunking gives the same bits.
The blocks of many segments are computed in one pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .model.tdnn import BYPASS, FactoredTDNN, TDNNLayer

__all__ = ["BLOCK", "SecondPass", "SecondPassInput", "SecondPassState"]

BLOCK = 48
"""Timesteps that are computed at once. With fewer, a gate's first mean is of too few."""
_LAST = 16
"""Of how many timesteps the last block is a multiple: one answers for all that remains."""
_ROWS = 1, 2, 4, 8
"""Segments that are computed at once, filled up: oneDNN compiles for each number anew."""


@dataclass(frozen=True, slots=True)
class SecondPassState:
    """What is kept of a segment. A value.

    Attributes:
        waiting: ``(n, E)``, timesteps that do not fill a block yet.
        front: ``(2, E)``, the last ones that the convolutions read.
        inputs: of one layer after the other, the last ``2 * dilation`` of its inputs, ``(D, H)``.
        sums: of each layer with gates, the sum of what they read, ``(G, gate_size)``.
        steps: timesteps of the blocks so far, with those that the input is held back.
    """

    waiting: Tensor
    front: Tensor
    inputs: Tensor
    sums: Tensor
    steps: int = 0


@dataclass(frozen=True, slots=True)
class SecondPassInput:
    """More of a segment: ``encoded (n, E)`` behind ``state``, and whether it ends there."""

    encoded: Tensor
    state: SecondPassState
    ended: bool = False


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
        self._initial = self._zeros()

    def initial_state(self) -> SecondPassState:
        """Return the state before the first timestep of a segment."""
        return self._initial

    @torch.inference_mode()
    def _zeros(self) -> SecondPassState:
        zeros, config = self._network.head.weight.new_zeros, self._network.config
        size = self._network.input_size
        gates = sum(map(config.gated, range(len(self._layers))))
        return SecondPassState(
            zeros(self._held, size),
            zeros(2, size),
            zeros(2 * sum(config.dilations), config.hidden_size),
            zeros(gates, config.gate_size, dtype=self._precision),
        )

    @torch.inference_mode()
    def whole(self, encoded: Tensor) -> Tensor:
        """Map ``encoded (T, E)`` of a whole segment to ``log_probs (T, P)``, on the CPU.

        This takes less than block by block, and gates read to both sides.
        """
        log_probs: Tensor = self._network(encoded[:, None])
        return log_probs[:, 0].cpu()

    def __call__(self, encoded: Tensor, state: SecondPassState) -> tuple[Tensor, SecondPassState]:
        """Take ``encoded (n, E)``; return the ``log_probs (m, P)`` now known, on the CPU."""
        return self.many([SecondPassInput(encoded, state)])[0]

    def finish(self, state: SecondPassState) -> Tensor:
        """Return the ``log_probs (m, P)`` of the timesteps that remain, as the segment ends."""
        return self.many([SecondPassInput(state.waiting[:0], state, ended=True)])[0][0]

    @torch.inference_mode()
    def many(self, inputs: Sequence[SecondPassInput]) -> list[tuple[Tensor, SecondPassState]]:
        """Do as a call for each of several segments, and finish those that end.

        Each gets what it would get alone, up to the rounding of the weights' dtype.
        """
        rows = [_Row(one) for one in inputs]
        while ready := [row for row in rows if self._ready(row)]:
            size = self._size(ready[0])
            alike = [row for row in ready if self._size(row) == size]
            for start in range(0, len(alike), _ROWS[-1]):
                self._blocks(alike[start : start + _ROWS[-1]], size)
        nothing = torch.zeros(0, self._network.head.out_features)
        return [(torch.cat([nothing, *row.found]), row.state()) for row in rows]

    def _size(self, row: _Row) -> int:
        if row.end is None or len(row.waiting) >= BLOCK:
            return BLOCK
        return -(-(len(row.waiting) + self.lag) // _LAST) * _LAST

    def _ready(self, row: _Row) -> bool:
        """Whether a row has a block, or lacks what only timesteps behind its end make known."""
        if row.end is None:
            return len(row.waiting) >= BLOCK
        return row.end > self._held and row.steps - self.lag < row.end

    def _blocks(self, rows: Sequence[_Row], size: int) -> None:
        """Advance all layers by the next ``size`` timesteps of each of the ``rows``.

        A layer's inputs count as nothing before the segment and behind it.
        """
        network, dtype = self._network, self._network.head.weight.dtype
        blocks = [torch.cat([row.front, row.take(size)]) for row in rows]
        missing = next(count for count in _ROWS if count >= len(rows)) - len(rows)
        filled = [*rows, *[rows[-1]] * missing]
        seen = torch.stack([*blocks, *[blocks[-1]] * missing], 1)
        kept = torch.stack([row.inputs for row in filled], 1)
        sums = iter(torch.stack([row.sums for row in filled], 1))
        places = _Places([row.steps - 1 for row in filled], [row.end for row in filled])
        r = network.front(seen, None)[1:-1].relu_() + network.offsets[0]
        r = places.within(r, 0)
        inputs, totals, lag, start = [], [], 0, 0
        for layer, offset in zip(self._layers, [*network.offsets][1:], strict=True):
            d = layer.dilation
            read = torch.cat([kept[start : start + 2 * d], r])
            start += 2 * d
            inputs.append(read[size:])
            y = layer.joined(read).relu_() + offset
            if layer.squeeze is not None:
                total = next(sums) + layer.squeezed(r).sum(0, dtype=self._precision)
                totals.append(total)
                y *= layer.opened((total / places.counts(lag).to(total)).to(dtype))
            lag += d
            r = places.within(y.add_(read[d : d + size], alpha=BYPASS), lag)
        log_probs = network.classify(r).cpu()
        after = torch.cat(inputs)
        gates = torch.stack(totals) if totals else None
        for number, row in enumerate(rows):
            row.front, row.inputs = seen[-2:, number].clone(), after[:, number].clone()
            if gates is not None:
                row.sums = gates[:, number].clone()
            first = row.steps - 1 - lag - size
            until = size if row.end is None else min(size, row.end - self._held - first)
            row.found.append(log_probs[max(0, -first) : max(0, until), number])


class _Row:
    """A segment that advances: its state, taken apart, and what is known of it so far."""

    def __init__(self, given: SecondPassInput) -> None:
        state = given.state
        self.waiting = torch.cat([state.waiting, given.encoded.to(state.waiting)])
        self.front, self.inputs, self.sums = state.front, state.inputs, state.sums
        self.steps = state.steps
        self.end = state.steps + len(self.waiting) if given.ended else None
        self.found: list[Tensor] = []

    def take(self, size: int) -> Tensor:
        """Take the next ``size`` timesteps, filled up behind the segment's end."""
        x, self.waiting = self.waiting[:size], self.waiting[size:]
        self.steps += size
        return torch.cat([x, x.new_zeros(size - len(x), x.shape[1])]) if len(x) < size else x

    def state(self) -> SecondPassState:
        waiting = self.waiting.clone()  # not all that it was cut from
        return SecondPassState(waiting, self.front, self.inputs, self.sums, self.steps)


class _Places:
    """Where the timesteps of each row's block stand in its segment.

    Those that the front answers for lie before timestep ``stops``; a layer's ``lag`` behind them.
    """

    def __init__(self, stops: Sequence[int], ends: Sequence[int | None]) -> None:
        self._stops = torch.tensor(stops)
        self._ends = torch.tensor([1 << 30 if end is None else end for end in ends])
        self._last = all(end is None or stop <= end for stop, end in zip(stops, ends, strict=True))
        self._first = min(stops)

    def within(self, r: Tensor, lag: int) -> Tensor:
        """Return ``r (n, B, H)``, 0 outside of the segments."""
        if self._last and self._first - lag >= len(r):
            return r
        times = torch.arange(len(r))[:, None] + (self._stops - lag - len(r))
        outside = (times < 0) | (times >= self._ends)
        return r.masked_fill_(outside[..., None].to(r.device), 0)

    def counts(self, lag: int) -> Tensor:
        """Return how many timesteps a layer has read of each segment, ``(B, 1)``, at least 1."""
        return torch.minimum(self._stops - lag, self._ends).clamp(min=1)[:, None]
