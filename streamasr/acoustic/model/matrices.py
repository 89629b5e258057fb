"""Weights in a quarter of float32's space: matrices as int8, each row with its own scale.

``from_int8`` gives back float16, which a GPU can multiply as it is; on a CPU the acoustic model
computes with int8 itself. What it costs in WER and perplexity is in docs/experiments.md.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ["SCALE", "check_scales", "from_int8", "to_int8"]

SCALE = ".scale"
"""What the name of a matrix' scale ends on."""


def to_int8(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return matrices as int8 and ``NAME.scale (rows, 1)``; other tensors as float16."""
    stored: dict[str, Tensor] = {}
    for name, value in tensors.items():
        if value.dim() != 2:
            stored[name] = value.half()
            continue
        scale = (value.abs().amax(dim=1, keepdim=True) / 127).clamp(min=1e-12)
        stored[name] = (value / scale).round().to(torch.int8)
        stored[name + SCALE] = scale
    return stored


def check_scales(stored: Mapping[str, Tensor]) -> None:
    """Raise ValueError for a scale that does not fit its matrix, or has none."""
    for name, scale in stored.items():
        if name.endswith(SCALE):
            matrix = stored.get(name.removesuffix(SCALE))
            if matrix is None or scale.shape != (*matrix.shape[:1], 1):
                raise ValueError(f"{name} has shape {tuple(scale.shape)}")


def from_int8(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Undo ``to_int8``, but for what was rounded; tensors without a scale stay as they are.

    Raises ValueError for a scale that does not fit its matrix.
    """
    check_scales(stored)
    tensors = {}
    for name, value in stored.items():
        if not name.endswith(SCALE):
            scale = stored.get(name + SCALE)
            tensors[name] = value if scale is None else (value * scale).half()
    return tensors
