"""A product with a matrix that lies in memory as oneDNN reads it.

PyTorch brings a bfloat16 matrix into that order in every product, which for a few rows takes longer
than the product itself.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import linear

__all__ = ["PackedMatrix"]


class PackedMatrix:
    """A matrix ``weight (N, K)``, kept in oneDNN's order where PyTorch can, else as it is.

    The bits of a product are those of ``torch.nn.functional.linear``.
    """

    def __init__(self, weight: Tensor) -> None:
        self._dtype = weight.dtype
        # And whether it is packed yet: that waits for the first product, and is done in one step,
        # since threads share it.
        self._matrix = weight, not packable(weight)

    def __call__(self, x: Tensor) -> Tensor:
        """Return ``x (n, K)``, in the weights' dtype, times the matrix: ``(n, N)``."""
        x = x.to(self._dtype)
        matrix, ready = self._matrix
        if not ready:
            matrix = torch.ops.mkldnn._reorder_linear_weight(matrix, None)
            self._matrix = matrix, True
        if not matrix.is_mkldnn:
            return linear(x, matrix)
        product: Tensor = torch.ops.mkldnn._linear_pointwise(x, matrix, None, "none", [], "")
        return product


def packable(weight: Tensor) -> bool:
    """Whether PyTorch can keep ``weight`` in oneDNN's order."""
    return (
        weight.dtype == torch.bfloat16
        and weight.device.type == "cpu"
        and torch._C._has_mkldnn
        and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )
