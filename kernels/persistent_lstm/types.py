"""The values that the LSTM takes and gives back.

Legend: L layers, B batch rows, T timesteps, I input size, H hidden size. Gates are stacked in
PyTorch's order ``i, f, g, o``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = [
    "NORM_EPSILON",
    "LSTMError",
    "LSTMState",
    "LayerWeights",
    "check_arguments",
    "check_lengths",
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


class LSTMState(NamedTuple):
    """What is carried from chunk to chunk: ``h`` and the cell state ``C``, both ``(L, B, H)``."""

    h: Tensor
    C: Tensor


def _hidden_size(weights: Sequence[LayerWeights]) -> int:
    if not weights:
        raise LSTMError("weights must hold at least one layer")
    return weights[0].w_hh.shape[1]


def zero_state(
    weights: Sequence[LayerWeights], batch: int, *, device: torch.device | None = None
) -> LSTMState:
    """Return the state of a stream that has heard nothing: zeros ``(L, batch, H)``, float32."""
    shape = (len(weights), batch, _hidden_size(weights))
    device = device or weights[0].w_hh.device
    return LSTMState(torch.zeros(shape, device=device), torch.zeros(shape, device=device))


def check_arguments(
    x: Tensor, weights: Sequence[LayerWeights], state: LSTMState, *, residual: bool
) -> None:
    """Raise LSTMError with the numbers at hand unless all shapes fit each other."""
    if x.dim() != 3:
        raise LSTMError(f"x must have shape (T, B, I), got {tuple(x.shape)}")
    hidden = _hidden_size(weights)
    size = x.shape[2]
    if residual and size != hidden:
        raise LSTMError(f"a residual stack needs I = H, got I = {size}, H = {hidden}")
    for layer, w in enumerate(weights):
        expected = ((4 * hidden, size), (4 * hidden, hidden), (4 * hidden,), (4 * hidden,))
        for name, tensor, shape in zip(LayerWeights._fields, w, expected, strict=True):
            if tuple(tensor.shape) != shape:
                raise LSTMError(
                    f"layer {layer}: {name} has shape {tuple(tensor.shape)}, expected {shape}"
                )
        size = hidden
    expected_state = (len(weights), x.shape[1], hidden)
    for name, tensor in zip(LSTMState._fields, state, strict=True):
        if tuple(tensor.shape) != expected_state:
            raise LSTMError(f"state {name} has shape {tuple(tensor.shape)}, not {expected_state}")
    tensors = {"x": x, "state h": state.h, "state C": state.C}
    for layer, w in enumerate(weights):
        tensors |= {f"layer {layer}: {name}": t for name, t in zip(w._fields, w, strict=True)}
    for name, tensor in tensors.items():
        if tensor.device != x.device:
            raise LSTMError(
                f"{name} is on {tensor.device}, x is on {x.device}: move both to one device"
            )
        if not tensor.is_floating_point():
            raise LSTMError(f"{name} is of {tensor.dtype}: it must be floating-point")
    dtypes = {t.dtype for w in weights for t in w}
    if len(dtypes) > 1:
        names = ", ".join(sorted(str(dtype) for dtype in dtypes))
        raise LSTMError(f"weights must be of one dtype, got {names}")


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
