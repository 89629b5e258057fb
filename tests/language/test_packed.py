"""Products with a packed matrix have the bits of PyTorch's own."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import linear

from streamasr.language import packed
from streamasr.language.packed import PackedMatrix


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize(("rows", "outputs", "inputs"), [(16, 48, 33), (32, 4000, 512), (1, 16, 1)])
def test_a_packed_matrix_multiplies_as_it_would_unpacked(rows, outputs, inputs, dtype):
    x, weight = torch.randn(rows, inputs), torch.randn(outputs, inputs).to(dtype)
    with torch.inference_mode():
        product = PackedMatrix(weight)(x)
    assert product.dtype == dtype
    assert torch.equal(product, linear(x.to(dtype), weight))
    exact = x.to(dtype).double() @ weight.double().T
    assert float((product - exact).norm() / exact.norm()) < (4e-3 if rows > 1 else 1e-2)


def test_where_pytorch_cannot_pack_the_matrix_stays_as_it_is(monkeypatch):
    weight, x = torch.randn(16, 8).bfloat16(), torch.randn(4, 8)
    expected = PackedMatrix(weight)(x)
    monkeypatch.setattr(packed, "packable", lambda _: False)
    assert torch.equal(PackedMatrix(weight)(x), expected)
