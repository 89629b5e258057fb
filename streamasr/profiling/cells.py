"""Sizes to profile, and random tensors of those sizes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import product

import torch
from persistent_lstm import Device, LayerWeights, LSTMState, Plan
from persistent_lstm.planning import PLANNERS
from torch import Tensor, nn

__all__ = ["DTYPES", "Cell", "Problem", "cells_of"]

DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


@dataclass(frozen=True)
class Cell:
    """A stack of ``layers`` x ``hidden`` (input size the same) over chunks ``(T, B)``."""

    layers: int
    hidden: int
    batch: int
    timesteps: int
    dtype: str
    residual: bool

    def __str__(self) -> str:
        kind = "residual" if self.residual else "plain"
        rows = "row" if self.batch == 1 else "rows"
        steps = "timestep" if self.timesteps == 1 else "timesteps"
        return (
            f"{self.layers} x {self.hidden} {kind} {self.dtype}, {self.batch} {rows}, "
            f"{self.timesteps} {steps} a chunk"
        )

    def as_dict(self) -> dict[str, object]:
        """Return the fields by name, for JSON."""
        return asdict(self)

    def plan(self, device: Device, kernels: str = "triton") -> Plan:
        """Return how the persistent kernels, as ``kernels`` plans them, run it on ``device``."""
        return PLANNERS[kernels](
            self.layers,
            self.hidden,
            self.batch,
            DTYPES[self.dtype],
            device,
            residual=self.residual,
        )


def cells_of(sizes: Iterable[Iterable[int]], dtype: str, residual: bool) -> list[Cell]:
    """Return all combinations of ``sizes`` (layers, hidden, batch, timesteps), the last fastest."""
    return [Cell(L, H, B, T, dtype, residual) for L, H, B, T in product(*sizes)]


class Problem:
    """Random tensors of a cell on a device, the same in every run.

    Attributes:
        x: ``(T, B, H)`` in the cell's dtype, for one of int8 in float32.
        weights: the same.
        state: float32.
    """

    def __init__(self, cell: Cell, device: torch.device) -> None:
        generator = torch.Generator().manual_seed(0)
        dtype = DTYPES.get(cell.dtype, torch.float32)
        scale = cell.hidden**-0.5

        def random(*shape: int) -> Tensor:
            values = torch.rand(shape, generator=generator) * 2 - 1
            return values.mul_(scale).to(device, dtype)

        rows = 4 * cell.hidden
        self.cell = cell
        self.device = device
        self.weights = [
            LayerWeights(
                random(rows, cell.hidden), random(rows, cell.hidden), random(rows), random(rows)
            )
            for _ in range(cell.layers)
        ]
        shape = (cell.timesteps, cell.batch, cell.hidden)
        self.x = torch.randn(shape, generator=generator).to(device, dtype)
        zeros = torch.zeros(cell.layers, cell.batch, cell.hidden, device=device)
        self.state = LSTMState(zeros, zeros.clone())

    def modules(self, *, layers_each: int, dtype: torch.dtype) -> list[nn.LSTM]:
        """Return the stack as ``torch.nn.LSTM`` modules of ``layers_each`` layers, not residual."""
        hidden = self.cell.hidden
        modules = []
        for first in range(0, self.cell.layers, layers_each):
            module = nn.LSTM(hidden, hidden, layers_each, device=self.device, dtype=dtype)
            with torch.no_grad():
                for offset in range(layers_each):
                    own = self.weights[first + offset]
                    for name, value in zip(("w_ih", "w_hh", "b_ih", "b_hh"), own, strict=True):
                        kind, part = name.split("_")
                        word = "weight" if kind == "w" else "bias"
                        getattr(module, f"{word}_{part}_l{offset}").copy_(value)
            modules.append(module.eval())
        return modules
