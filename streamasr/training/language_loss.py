"""Cross-entropy over the pieces that never holds all logits."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

__all__ = ["tied_cross_entropy"]


def tied_cross_entropy(features: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """Return the mean cross-entropy of ``linear(features, weight, bias)``, in nats.

    ``features (N, E)``, ``weight (V, E)``, ``bias (V)``, ``targets (N)``. The gradient is computed
    with the loss, some rows at a time: 16,384 rows of 4,000 logits would be 262 MB in float32,
    which a CPU brings from memory five times over. Products have the precision of ``features``,
    sums are float32.
    """
    loss: Tensor = _TiedCrossEntropy.apply(features, weight, bias, targets)  # type: ignore[no-untyped-call]
    return loss


class _TiedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, features: Tensor, weight: Tensor, bias: Tensor, targets: Tensor
    ) -> Tensor:
        rows = 8192 if features.is_cuda else 1024
        rounded = weight.to(features.dtype)
        feature_grad = torch.empty_like(features)
        weight_grad = torch.zeros_like(weight)
        bias_grad = torch.zeros_like(bias)
        total = bias.new_zeros(())
        for start in range(0, len(features), rows):
            part, wanted = features[start : start + rows], targets[start : start + rows, None]
            logits = linear(part, rounded).to(bias.dtype).add_(bias)
            log_sums = logits.logsumexp(dim=1, keepdim=True)
            total += (log_sums - logits.gather(1, wanted)).sum()
            # Gradient of the loss by the logits: probabilities less 1 at the target.
            grad = logits.sub_(log_sums).exp_()
            grad.scatter_add_(1, wanted, grad.new_full(wanted.shape, -1.0)).div_(len(features))
            bias_grad += grad.sum(dim=0)
            grad = grad.to(features.dtype)
            feature_grad[start : start + rows] = grad @ rounded
            weight_grad += grad.T @ part
        ctx.save_for_backward(feature_grad, weight_grad, bias_grad)
        return total / len(features)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return *(grad * saved for saved in ctx.saved_tensors), None
