"""The acoustic model with matrices of int8, as model folders store them: inference on a CPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from persistent_lstm import Int8LayerWeights, Int8LSTM, Int8Matrix, linear
from torch import Tensor, nn

from ..int8 import SCALE
from .acoustic import AcousticModel, ModelConfig

__all__ = ["Int8Linear", "int8_model"]


class Int8Linear(nn.Module):
    """``matrix x + bias`` with a matrix ``(N, K)`` of int8; without gradients."""

    def __init__(self, matrix: Int8Matrix, bias: Tensor | None = None) -> None:
        super().__init__()
        self.in_features, self.out_features = matrix.shape[1], matrix.shape[0]
        self.register_buffer("weight", matrix.values)
        self.register_buffer("scale", matrix.scale)
        self.register_buffer("bias", torch.zeros(len(matrix.scale)) if bias is None else bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x (..., K)`` to ``(..., N)``, float32."""
        matrix = Int8Matrix(self.get_buffer("weight"), self.get_buffer("scale"))
        return linear(x, matrix, self.get_buffer("bias"))


def int8_model(
    config: ModelConfig, stored: Mapping[str, Tensor], *, step: int
) -> AcousticModel | None:
    """Return a model of the tensors as they are stored, or None if not all matrices are int8.

    Args:
        config: the sizes, which the tensors have.
        stored: what ``to_int8`` made of a model's ``state_dict``.
        step: frames by which a timestep advances.
    """

    def matrix(name: str) -> Int8Matrix:
        return Int8Matrix(stored[name], stored[name + SCALE].float().reshape(-1))

    def vector(name: str) -> Tensor:
        return stored[name].float()

    with torch.device("meta"):
        # Its parts are changed for others that are called alike.
        model: Any = AcousticModel(config)
    matrices = [name for name, value in model.state_dict().items() if value.dim() == 2]
    if any(stored[name].dtype != torch.int8 or name + SCALE not in stored for name in matrices):
        return None
    model.input = Int8Linear(matrix("input.weight"), vector("input.bias"))
    model.head = Int8Linear(matrix("head.weight"), vector("head.bias"))
    model.lstm = Int8LSTM(
        [
            Int8LayerWeights(
                matrix(f"lstm.weight_ih_l{layer}"),
                matrix(f"lstm.weight_hh_l{layer}"),
                vector(f"lstm.bias_ih_l{layer}"),
                vector(f"lstm.bias_hh_l{layer}"),
            )
            for layer in range(config.num_layers)
        ],
        residual=True,
    )
    if model.convolutions is not None:
        model.convolutions.step = step
        model.convolutions.project = Int8Linear(matrix("convolutions.project.weight"))
        prefix = "convolutions.layers."
        names = [name for name in stored if name.startswith(prefix)]
        filters = {name.removeprefix(prefix): vector(name) for name in names}
        model.convolutions.layers.load_state_dict(filters, assign=True)
    whole: AcousticModel = model
    return whole
