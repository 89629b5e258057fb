"""Layers beside an LSTM, computed as its cpu backend does: a row has the same bits in any batch."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ._cpu import numba_missing, pack_matrix, scale_of
from ._packing import packed_once
from .types import Int8Matrix

__all__ = ["convolve", "cpu_unavailable", "linear"]

Array = NDArray[Any]


class _Matrix(NamedTuple):
    w: Array
    scale: Array
    bias: Array


def cpu_unavailable() -> str:
    """Return why there is no compiled code for this CPU, nothing if there is."""
    return numba_missing()


def linear(x: Tensor, matrix: Int8Matrix, bias: Tensor) -> Tensor:
    """Return ``matrix x + bias (..., N)`` of ``x (..., K)``; float32, without gradients.

    Without Numba, or elsewhere than on a CPU, torch multiplies in float32.
    """
    if x.device.type != "cpu" or cpu_unavailable():
        weight = packed_once(matrix, "float32", matrix.dequantise)
        return torch.nn.functional.linear(x.float(), weight, bias)
    from . import _cpu_kernels

    packed = packed_once(
        [*matrix, bias],
        "cpu backend",
        lambda: _Matrix(pack_matrix(matrix), scale_of(matrix), bias.detach().float().numpy()),
    )
    rows = np.ascontiguousarray(x.detach().float().reshape(-1, x.shape[-1]).numpy())
    out = np.empty((len(rows), packed.w.shape[0] * packed.w.shape[2]), np.float32)
    _cpu_kernels.linear(packed.w, packed.scale, packed.bias, rows, out)
    size = len(packed.scale)
    return torch.from_numpy(out)[:, :size].reshape(*x.shape[:-1], size)


def convolve(x: Array, weight: Tensor, bias: Tensor, *, dilation: int = 1) -> Array:
    """Return what ``relu(conv2d(x))`` is at every frame and every other bin; float32, on a CPU.

    Args:
        x: ``(B, F, W + 2, D)``: rows, frames, bins with zeros around them, channels.
        weight: ``(C, D, 3, 3)``, as ``torch.nn.Conv2d`` has it; channels of x beyond its D are
            not looked at.
        bias: ``(C,)``.
        dilation: frames from one that is seen to the next.

    Returns:
        ``(B, F - 2 * dilation, ceil(W / 2) + 2, C)``, again with zeros around the bins, and with C
        filled up to a multiple of 16 by channels of zeros.
    """
    from . import _cpu_kernels

    rows, frames, width, channels = x.shape
    w, b = packed_once(
        [weight, bias], ("convolution", channels), lambda: _pack_filters(weight, bias, channels)
    )
    shape = (rows, frames - 2 * dilation, (width - 1) // 2 + 2, len(b))
    out = np.zeros(shape, np.float32)
    _cpu_kernels.convolve(w, b, np.ascontiguousarray(x), out, dilation)
    return out


def _pack_filters(weight: Tensor, bias: Tensor, channels: int) -> tuple[Array, Array]:
    """Lay filters ``(C, D, 3, 3)`` out as ``(C / WIDTH, 3, 3 * channels, WIDTH)``."""
    from ._cpu_kernels import WIDTH

    count, known = weight.shape[:2]
    fill = -count % WIDTH
    filled = torch.nn.functional.pad(
        weight.detach().float(), (0, 0, 0, 0, 0, channels - known, 0, fill)
    )
    blocks = filled.view(-1, WIDTH, channels, 3, 3).permute(0, 3, 4, 2, 1).contiguous()
    packed = blocks.view(-1, 3, 3 * channels, WIDTH).numpy()
    return packed, torch.nn.functional.pad(bias.detach().float(), (0, fill)).numpy()
