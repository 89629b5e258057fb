"""The stack as a module, with the parameter names of ``torch.nn.LSTM``."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .functional import lstm
from .types import Int8LayerWeights, Int8Matrix, LayerWeights, LSTMState, Weights

__all__ = ["Int8LSTM", "PersistentLSTM"]


class _Stack(nn.Module):
    """What a stack does with its weights, of whatever kind."""

    residual: bool

    @property
    @abstractmethod
    def weights(self) -> Weights:
        """The weights, layer by layer, as ``lstm`` takes them."""

    def forward(
        self,
        x: Tensor,
        state: LSTMState | Sequence[LSTMState] | None = None,
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


class PersistentLSTM(_Stack):
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


class Int8LSTM(_Stack):
    """A stack whose matrices are int8, each row with a scale: for inference, without gradients.

    Args:
        layers: the weights, layer by layer.
        residual: see ``lstm``.
    """

    def __init__(self, layers: Sequence[Int8LayerWeights], *, residual: bool = False) -> None:
        super().__init__()
        self.residual = residual
        self.num_layers = len(layers)
        for index, layer in enumerate(layers):
            for name, tensor in zip(self._names(index), layer.tensors, strict=True):
                self.register_buffer(name, tensor)

    @staticmethod
    def _names(layer: int) -> tuple[str, ...]:
        matrices = (f"weight_ih_l{layer}", f"weight_hh_l{layer}")
        parts = (name + end for name in matrices for end in ("", "_scale"))
        return (*parts, f"bias_ih_l{layer}", f"bias_hh_l{layer}")

    @property
    def weights(self) -> list[Int8LayerWeights]:
        """The buffers, layer by layer, as ``lstm`` takes them."""
        layers = []
        for layer in range(self.num_layers):
            w_ih, s_ih, w_hh, s_hh, b_ih, b_hh = map(self.get_buffer, self._names(layer))
            layers.append(
                Int8LayerWeights(Int8Matrix(w_ih, s_ih), Int8Matrix(w_hh, s_hh), b_ih, b_hh)
            )
        return layers
