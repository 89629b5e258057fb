"""A layer with a gradient of its own beside the same operations one by one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from streamasr.acoustic.model.tdnn import BYPASS, TDNNConfig, TDNNLayer, masked
from streamasr.training.tdnn_layer import trained_layer

from ..conftest import relative_error

EPSILON = 1e-3


def one_by_one(
    r: Tensor, layer: TDNNLayer, gates: Tensor | None, scale: Tensor, seen: Tensor
) -> Tensor:
    y = layer.products(r).relu().flatten(0, 1)
    y = nn.functional.batch_norm(y, None, None, training=True, eps=EPSILON).view_as(r) * scale
    return BYPASS * r + masked(y if gates is None else y * gates, seen)


def a_case(steps: int, dilation: int, gated: bool, units: int = 6, dtype=torch.float64):
    """A layer, what it reads, its gates and factors, and which timesteps are seen."""
    torch.manual_seed(steps + dilation)
    layer = TDNNLayer(
        TDNNConfig(hidden_size=units, bottleneck=4, dilations=(dilation,), gate_every=2), 0
    ).double()
    lengths = torch.tensor([steps, max(1, steps - 4), 1])
    seen = torch.arange(steps)[:, None] < lengths
    r = masked(torch.randn(steps, 3, units, dtype=torch.float64), seen)
    gates = torch.rand(steps, 3, units, dtype=torch.float64) + 0.5 if gated else None
    return layer, r, gates, torch.rand(3, units, dtype=torch.float64), seen


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize(("steps", "dilation"), [(1, 1), (2, 3), (9, 1), (9, 3), (70, 2)])
def test_values_and_gradients_are_those_of_its_operations(steps, dilation, gated):
    layer, r, gates, scale, seen = a_case(steps, dilation, gated)
    inputs = [r, *layer.parameters(), *([gates] if gated else [])]
    for value in inputs:
        value.requires_grad_()
    found = trained_layer(r, layer, gates, scale, seen, EPSILON)
    expected = one_by_one(r, layer, gates, scale, seen)
    assert relative_error(found.out, expected) < 1e-12
    y = layer.products(r).relu().flatten(0, 1)
    assert relative_error(found.mean, y.mean(0)) < 1e-12
    assert relative_error(found.var, y.var(0, correction=0)) < 1e-12
    weights = torch.randn_like(expected)
    gradients = torch.autograd.grad((found.out * weights).sum(), inputs)
    wanted = torch.autograd.grad((expected * weights).sum(), inputs)
    for gradient, target in zip(gradients, wanted, strict=True):
        assert relative_error(gradient, target) < 1e-10


def test_its_gradient_is_that_of_small_steps():
    layer, r, gates, scale, seen = a_case(5, 2, True)
    assert gates is not None

    def value(r: Tensor, gates: Tensor) -> Tensor:
        return trained_layer(r, layer, gates, scale, seen, EPSILON).out

    assert torch.autograd.gradcheck(value, (r.requires_grad_(), gates.requires_grad_()))


@pytest.mark.parametrize(
    ("dtype", "bound"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)], ids=str
)
def test_rounded_it_stays_near(dtype, bound):
    layer, r, gates, scale, seen = a_case(70, 1, True, units=40)
    exact = trained_layer(r.requires_grad_(), layer, gates, scale, seen, EPSILON).out
    weights = torch.randn_like(exact)
    (wanted,) = torch.autograd.grad((exact * weights).sum(), r)
    rounded, gates = r.detach().to(dtype).requires_grad_(), gates.to(dtype)
    found = trained_layer(rounded, layer.float(), gates, scale.float(), seen, EPSILON).out
    (gradient,) = torch.autograd.grad((found * weights.to(dtype)).sum(), rounded)
    assert found.dtype == dtype
    assert relative_error(found.double(), exact) < bound
    assert relative_error(gradient.double(), wanted) < 2 * bound
