"""Which kernels ``lstm`` takes, and what it says where it takes none."""

from __future__ import annotations

import pytest
import torch
from persistent_lstm import LSTMError, PersistentLSTM, choose_backend, lstm

from ..conftest import relative_error
from .cases import Case
from .cogrid import scheduled


@pytest.mark.parametrize(
    ("dtype", "hidden", "expected"),
    [
        (torch.bfloat16, 32, ("triton", "fragment, weights resident on toy")),
        (
            torch.float32,
            32,
            ("torch", "weights are of torch.float32: bfloat16 and float16 can run"),
        ),
        (torch.bfloat16, 16, ("torch", "H = 16 is no multiple of 16 from 32 on")),
        (torch.bfloat16, 24, ("torch", "H = 24 is no multiple of 16 from 32 on")),
    ],
    ids=["16 bits", "float32", "too narrow", "no multiple"],
)
def test_auto_takes_the_kernels_where_they_fit_and_says_why_not(toy_gpu, dtype, hidden, expected):
    weights = PersistentLSTM(hidden, hidden).to(dtype).weights
    assert choose_backend("auto", weights, batch=3) == expected


@pytest.mark.parametrize("backend", ["triton", "auto"])
def test_lstm_takes_the_kernels(toy_gpu, backend):
    case = Case(L=2, H=32, B=2, T=3, residual=True)
    x, state = case.input()
    lengths = torch.tensor([3, 2])
    options = {"lengths": lengths, "residual": True}
    with torch.inference_mode(), scheduled():
        y, last = lstm(x, case.weights(), state, backend=backend, **options)
        nothing, same = lstm(x[:0], case.weights(), state, residual=True, backend=backend)
    expected, expected_last = lstm(x, case.weights(), state, backend="torch", **options)
    assert y[2:, 1].eq(0).all()
    assert relative_error(y, expected) <= case.tolerance
    assert relative_error(last.C, expected_last.C) <= case.tolerance
    assert nothing.shape == (0, 2, 32)
    assert torch.equal(same.h, state.h)


def test_auto_falls_back_to_torch_where_they_do_not_fit(toy_gpu):
    module = PersistentLSTM(24, 24)
    x = torch.randn(3, 1, 24)
    with torch.no_grad():
        y, _ = module(x)
        assert torch.equal(y, module(x, backend="torch")[0])
        with pytest.raises(LSTMError, match=r"cannot run this: weights are of torch.float32"):
            module(x, backend="triton")
        with pytest.raises(LSTMError, match="cannot run this: H = 24 is no multiple of 16"):
            module.bfloat16()(x, backend="triton")


def test_the_kernels_compute_no_gradients(toy_gpu):
    module = PersistentLSTM(32, 32).bfloat16()
    x = torch.randn(2, 1, 32)
    with pytest.raises(LSTMError, match="computes no gradients"):
        module(x, backend="triton")
    y, _ = module(x)  # auto
    assert y.requires_grad
