"""The values that the LSTM takes and gives back.

Legend: L layers, B batch rows, T timesteps, I input size, H hidden size. Gates are stacked in
PyTorch's order ``i, f, g, o``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

__all__ = [
    "NORM_EPSILON",
    "Int8LayerWeights",
    "Int8Matrix",
    "LSTMError",
    "LSTMState",
    "LayerWeights",
    "Weights",
    "check_arguments",
    "check_lengths",
    "check_rows",
    "zero_state",
]

NORM_EPSILON = 1e-5
"""Added to the variance by the normalisation of residual stacks."""


class LSTMError(ValueError):
    """The arguments do not fit each other, or the requested backend cannot run them."""


class LayerWeights(NamedTuple):
    """One layer: ``w_ih (4H, I)``, ``w_hh (4H, H)``, ``b_ih (4H,)``, ``b_hh (4H,)``."""

    w_ih: Tensor
    w_hh: Tensor
    b_ih: Tensor
    b_hh: Tensor


class Int8Matrix(NamedTuple):
    """A matrix ``values * scale[:, None]``: ``values (N, K)`` int8, ``scale (N,)`` float32."""

    values: Tensor
    scale: Tensor

    @property
    def shape(self) -> torch.Size:
        """The shape of the values, ``(N, K)``."""
        return self.values.shape

    @property
    def device(self) -> torch.device:
        """Where the values are."""
        return self.values.device

    def dequantise(self) -> Tensor:
        """Return the matrix in float32."""
        return self.values * self.scale[:, None]


class Int8LayerWeights(NamedTuple):
    """One layer with matrices of int8: shapes as in LayerWeights, biases in float32."""

    w_ih: Int8Matrix
    w_hh: Int8Matrix
    b_ih: Tensor
    b_hh: Tensor

    def dequantise(self) -> LayerWeights:
        """Return the layer in float32."""
        return LayerWeights(self.w_ih.dequantise(), self.w_hh.dequantise(), self.b_ih, self.b_hh)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All that it is made of."""
        return (*self.w_ih, *self.w_hh, self.b_ih, self.b_hh)


Weights: TypeAlias = Sequence[LayerWeights] | Sequence[Int8LayerWeights]
"""A stack, layer by layer; all layers are of one kind."""
_Layers: TypeAlias = Sequence[LayerWeights | Int8LayerWeights]  # for loops over either


class LSTMState(NamedTuple):
    """What is carried from chunk to chunk: ``h`` and the cell state ``C``, both ``(L, B, H)``."""

    h: Tensor
    C: Tensor


def _hidden_size(weights: Weights) -> int:
    if not weights:
        raise LSTMError("weights must hold at least one layer")
    return weights[0].w_hh.shape[1]


def zero_state(weights: Weights, batch: int, *, device: torch.device | None = None) -> LSTMState:
    """Return the state of a stream that has heard nothing: zeros ``(L, batch, H)``, float32."""
    shape = (len(weights), batch, _hidden_size(weights))
    device = device or weights[0].w_hh.device
    return LSTMState(torch.zeros(shape, device=device), torch.zeros(shape, device=device))


def check_arguments(x: Tensor, weights: Weights, state: LSTMState, *, residual: bool) -> None:
    """Raise LSTMError with the numbers at hand unless all shapes fit each other."""
    if x.dim() != 3:
        raise LSTMError(f"x must have shape (T, B, I), got {tuple(x.shape)}")
    hidden = _hidden_size(weights)
    size = x.shape[2]
    if residual and size != hidden:
        raise LSTMError(f"a residual stack needs I = H, got I = {size}, H = {hidden}")
    _check_shapes(weights, size, hidden)
    expected_state = (len(weights), x.shape[1], hidden)
    for name, tensor in zip(LSTMState._fields, state, strict=True):
        if tuple(tensor.shape) != expected_state:
            raise LSTMError(f"state {name} has shape {tuple(tensor.shape)}, not {expected_state}")
    tensors = {"x": x, "state h": state.h, "state C": state.C}
    layers: _Layers = weights
    for layer, w in enumerate(layers):
        parts = (w.w_ih, w.w_hh, w.b_ih, w.b_hh)
        for name, part in zip(LayerWeights._fields, parts, strict=True):
            if isinstance(part, Int8Matrix):
                _check_int8(f"layer {layer}: {name}", part, x.device)
            else:
                tensors[f"layer {layer}: {name}"] = part
    for name, tensor in tensors.items():
        if tensor.device != x.device:
            raise LSTMError(
                f"{name} is on {tensor.device}, x is on {x.device}: move both to one device"
            )
        if not tensor.is_floating_point():
            raise LSTMError(f"{name} is of {tensor.dtype}: it must be floating-point")
    dtypes = {tensor.dtype for name, tensor in tensors.items() if name.startswith("layer ")}
    if len(dtypes) > 1:
        names = ", ".join(sorted(str(dtype) for dtype in dtypes))
        raise LSTMError(f"weights must be of one dtype, got {names}")


def _check_shapes(weights: _Layers, size: int, hidden: int) -> None:
    for layer, w in enumerate(weights):
        expected = ((4 * hidden, size), (4 * hidden, hidden), (4 * hidden,), (4 * hidden,))
        parts = (w.w_ih, w.w_hh, w.b_ih, w.b_hh)
        for name, part, shape in zip(LayerWeights._fields, parts, expected, strict=True):
            if tuple(part.shape) != shape:
                raise LSTMError(
                    f"layer {layer}: {name} has shape {tuple(part.shape)}, expected {shape}"
                )
        size = hidden


def _check_int8(name: str, matrix: Int8Matrix, device: torch.device) -> None:
    values, scale = matrix
    if values.dtype != torch.int8 or scale.dtype != torch.float32:
        raise LSTMError(
            f"{name} is of {values.dtype} with a scale of {scale.dtype}: int8 and float32 can run"
        )
    if tuple(scale.shape) != (len(values),):
        raise LSTMError(f"{name}: scale has shape {tuple(scale.shape)}, expected {(len(values),)}")
    if values.device != device or scale.device != device:
        raise LSTMError(f"{name} is on {values.device}, x is on {device}: move both to one device")


def check_rows(x: Tensor, weights: Weights, rows: Sequence[LSTMState]) -> None:
    """Raise LSTMError unless ``rows`` are a state ``(L, 1, H)`` for each row of x."""
    if x.dim() == 3 and len(rows) != x.shape[1]:
        raise LSTMError(f"{len(rows)} states of rows, x has {x.shape[1]} rows")
    if not rows:
        raise LSTMError("states of rows: there must be at least one")
    expected = (len(weights), 1, _hidden_size(weights))
    for index, row in enumerate(rows):
        for name, tensor in zip(LSTMState._fields, row, strict=True):
            if tuple(tensor.shape) != expected:
                raise LSTMError(
                    f"row {index}: state {name} has shape {tuple(tensor.shape)}, not {expected}"
                )
            if tensor.device != x.device:
                raise LSTMError(
                    f"row {index}: state {name} is on {tensor.device}, x is on {x.device}: "
                    "move both to one device"
                )


def check_lengths(lengths: Tensor, steps: int, batch: int) -> Tensor:
    """Return ``lengths (batch,)`` of rows, or raise LSTMError if they are not in [0, steps]."""
    if tuple(lengths.shape) != (batch,) or lengths.is_floating_point():
        raise LSTMError(
            f"lengths must be integers of shape ({batch},), one a row, got {lengths.dtype} of "
            f"shape {tuple(lengths.shape)}"
        )
    # Looking at values on a GPU would wait for it; there they are clamped.
    if lengths.device.type != "cuda" and lengths.numel():
        low, high = int(lengths.min()), int(lengths.max())
        if low < 0 or high > steps:
            raise LSTMError(f"lengths must lie in 0 to T = {steps}, got {low} to {high}")
    return lengths
