"""A layer of the time-delay network in training, with a gradient of its own.

Written out operation by operation a layer takes most of its time to move whole segments between
memory and CPU, over and over; here it does so once for each of a few steps.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..acoustic.model.tdnn import BYPASS, TDNNLayer
from . import tdnn_kernels as kernels

__all__ = ["Trained", "trained_layer"]


class Trained(NamedTuple):
    """What a layer makes of a batch, and the mean and variance of each of its rectified units."""

    out: Tensor
    mean: Tensor
    var: Tensor


def trained_layer(
    r: Tensor,
    layer: TDNNLayer,
    gates: Tensor | None,
    scale: Tensor,
    seen: Tensor,
    epsilon: float,
) -> Trained:
    """Return what a layer makes of ``r (T, B, D)``, on a CPU, in the precision of ``r``.

    Its products, rectified, normalised over all timesteps and weighed by ``gates (T, B, D)`` and
    ``scale (B, D)``, are added to ``BYPASS * r`` in the timesteps ``seen (T, B)``. ``r`` is 0 in
    the others. There are gradients of all but ``scale``.
    """
    down, up, bias = layer.down.weight, layer.up.weight, layer.up.bias
    return Trained(
        *_Layer.apply(  # type: ignore[no-untyped-call]
            r, down, up, bias, gates, scale, seen, layer.dilation, epsilon
        )
    )


class _Layer(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        r: Tensor,
        down: Tensor,
        up: Tensor,
        bias: Tensor,
        gates: Tensor | None,
        scale: Tensor,
        seen: Tensor,
        dilation: int,
        epsilon: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        _, rows, units = r.shape
        shift = dilation * rows
        flat, exact = r.contiguous().view(-1, units), _exact(r.dtype)
        # Both halves of the first matrix, below each other: one reading of r.
        down, up = _stacked(down.to(r.dtype)), up.to(r.dtype)
        both = flat @ down.t()
        size = both.shape[1] // 2
        narrow = torch.cat([both[:, size:], both.new_zeros(shift, size)])
        narrow[shift:] += both[:, :size]
        pairs = torch.cat([narrow[:-shift], narrow[shift:]], dim=1)
        z = torch.addmm(bias.to(r.dtype), pairs, up.t())

        total, square, buffer = np.zeros(units), np.zeros(units), np.empty(units, exact)
        kernels.sums(_array(z), buffer, total, square)
        mean = total / len(z)
        var = np.maximum(square / len(z) - mean * mean, 0)
        inverse = 1 / np.sqrt(var + epsilon)
        gates = flat.new_empty(0, units) if gates is None else gates.contiguous().view(-1, units)
        normal = mean.astype(exact), inverse.astype(exact)
        behind = _array(gates), scale.numpy().astype(exact), seen.flatten().numpy(), *normal
        out = torch.empty_like(flat)
        kernels.finish(_array(z), _array(flat), *behind, exact(BYPASS), _array(out))
        ctx.save_for_backward(flat, down, up, pairs, z, gates)
        ctx.behind, ctx.shape, ctx.shift = behind, r.shape, shift
        statistics = torch.from_numpy(mean), torch.from_numpy(var)
        ctx.mark_non_differentiable(*statistics)
        return out.view(r.shape), *statistics

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        flat, down, up, pairs, z, gates = ctx.saved_tensors
        grad = grads[0].to(flat.dtype).contiguous().view(flat.shape)
        shift, exact, units = ctx.shift, _exact(flat.dtype), flat.shape[1]
        total, product, grad_bias = (np.zeros(units) for _ in range(3))
        grad_gates = torch.zeros_like(gates)
        kernels.gradient_sums(
            _array(grad), _array(z), *ctx.behind, total, product, _array(grad_gates)
        )
        means = (total / len(z)).astype(exact), (product / len(z)).astype(exact)
        grad_z = torch.empty_like(z)
        kernels.gradient(_array(grad), _array(z), *ctx.behind, *means, _array(grad_z), grad_bias)
        grad_up = (pairs.t() @ grad_z).t()  # twice as fast as the product of the transposed
        grad_pairs = grad_z @ up
        size = grad_pairs.shape[1] // 2
        narrow = torch.cat([grad_pairs[:, :size], grad_pairs.new_zeros(shift, size)])
        narrow[shift:] += grad_pairs[:, size:]
        both = torch.cat([narrow[shift:], narrow[:-shift]], dim=1)
        grad_down = both.t() @ flat
        grad_r = torch.addmm(grad, both, down, beta=BYPASS)
        return (
            grad_r.view(ctx.shape),
            torch.cat([grad_down[:size], grad_down[size:]], dim=1),
            grad_up,
            torch.from_numpy(grad_bias),
            grad_gates.view(ctx.shape) if len(gates) else None,
            *(None for _ in range(4)),
        )


def _stacked(down: Tensor) -> Tensor:
    """Return ``down (S, 2 * D)`` as ``(2 * S, D)``."""
    before, now = down.chunk(2, dim=1)
    return torch.cat([before, now])


def _exact(dtype: torch.dtype) -> type[np.float32] | type[np.float64]:
    return np.float64 if dtype == torch.float64 else np.float32


def _array(x: Tensor) -> NDArray[Any]:
    """Return the memory of ``x`` as the kernels read it."""
    x = x.detach()
    found: NDArray[Any] = x.view(torch.uint16).numpy() if x.dtype == torch.bfloat16 else x.numpy()
    return found
