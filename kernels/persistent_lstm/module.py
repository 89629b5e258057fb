"""The stack as a module, with the parameter names of ``torch.nn.LSTM``."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .functional import lstm
from .types import LayerWeights, LSTMState

__all__ = ["PersistentLSTM"]


class PersistentLSTM(nn.Module):
    """A stacked unidirectional LSTM; ``load_state_dict`` takes that of a ``torch.nn.LSTM``.

    The state is never kept inside: it is passed in and handed back.
    """

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, *, residual: bool = False
    ) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.residual = residual
        bound = 1 / math.sqrt(hidden_size)
        for layer in range(num_layers):
            columns = input_size if layer == 0 else hidden_size
            for name, shape in (
                ("weight_ih", (4 * hidden_size, columns)),
                ("weight_hh", (4 * hidden_size, hidden_size)),
                ("bias_ih", (4 * hidden_size,)),
                ("bias_hh", (4 * hidden_size,)),
            ):
                values = torch.empty(shape).uniform_(-bound, bound)
                self.register_parameter(f"{name}_l{layer}", nn.Parameter(values))

    @property
    def weights(self) -> list[LayerWeights]:
        """The parameters, layer by layer, as ``lstm`` takes them."""
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        return [
            LayerWeights(*(getattr(self, f"{name}_l{layer}") for name in names))
            for layer in range(self.num_layers)
        ]

    def forward(
        self,
        x: Tensor,
        state: LSTMState | None = None,
        *,
        lengths: Tensor | None = None,
        split: bool = True,
        backend: str = "auto",
    ) -> tuple[Tensor, LSTMState]:
        """Return ``y (T, B, H)`` and the new state; see ``lstm``."""
        return lstm(
            x,
            self.weights,
            state,
            lengths=lengths,
            residual=self.residual,
            split=split,
            backend=backend,
        )
