"""The acoustic model with matrices of int8, as model folders store them: inference on a CPU."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from persistent_lstm import NORM_EPSILON, Int8LayerWeights, Int8LSTM, Int8Matrix, linear
from torch import Tensor, nn

from ...processor import computes_in_bfloat16
from .acoustic import AcousticModel, ModelConfig
from .matrices import SCALE, from_int8

__all__ = ["Int8AcousticModel", "Int8Linear", "is_int8"]


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


def is_int8(stored: Mapping[str, Tensor]) -> bool:
    """Whether all matrices among a model's stored tensors are int8, with their scales."""
    return all(
        value.dtype == torch.int8 and name + SCALE in stored
        for name, value in stored.items()
        if value.dim() == 2 and not name.endswith(SCALE)
    )


class Int8AcousticModel(AcousticModel):
    """An acoustic model of the tensors as they are stored: called alike, without gradients.

    Args:
        config: the sizes, which the tensors have.
        stored: what ``to_int8`` made of a model's ``state_dict``.
        step: frames by which a timestep advances.
    """

    def __init__(self, config: ModelConfig, stored: Mapping[str, Tensor], *, step: int) -> None:
        nn.Module.__init__(self)  # the other one makes weights, only to throw them away

        def matrix(name: str) -> Int8Matrix:
            return Int8Matrix(stored[name], stored[name + SCALE].float().reshape(-1))

        def vector(name: str) -> Tensor:
            return stored[name].float()

        self.config = config
        self.add_module("input", Int8Linear(matrix("input.weight"), vector("input.bias")))
        self.convolutions = config.convolutions()
        if self.convolutions is not None:
            self.convolutions.step = step
            project = Int8Linear(matrix("convolutions.project.weight"))
            self.convolutions.add_module("project", project)
            prefix = "convolutions.layers."
            names = [name for name in stored if name.startswith(prefix)]
            filters = {name.removeprefix(prefix): vector(name) for name in names}
            self.convolutions.layers.load_state_dict(filters)
        layers = [
            Int8LayerWeights(
                matrix(f"lstm.weight_ih_l{layer}"),
                matrix(f"lstm.weight_hh_l{layer}"),
                vector(f"lstm.bias_ih_l{layer}"),
                vector(f"lstm.bias_hh_l{layer}"),
            )
            for layer in range(config.num_layers)
        ]
        self.add_module("lstm", Int8LSTM(layers, residual=True))
        hidden = config.hidden_size
        self.norm = nn.LayerNorm(hidden, eps=NORM_EPSILON, elementwise_affine=False)
        self.add_module("head", Int8Linear(matrix("head.weight"), vector("head.bias")))
        self.tdnn = config.time_delay_network()
        if self.tdnn is not None:  # runs once a segment: in floating point
            self.tdnn.load_state_dict(_floats(stored, "tdnn."))
            if computes_in_bfloat16():
                self.tdnn.bfloat16()


def _floats(stored: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors of one part of a model, in float32."""
    part = {k.removeprefix(prefix): v for k, v in stored.items() if k.startswith(prefix)}
    return {name: tensor.float() for name, tensor in from_int8(part).items()}
