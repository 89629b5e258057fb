"""The stack against torch.nn.LSTM and the float64 gate equations."""

from __future__ import annotations

import time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from persistent_lstm import (
    LSTMError,
    LSTMState,
    PersistentLSTM,
    choose_backend,
    lstm,
    lstm_reference,
    zero_state,
)

from ..conftest import relative_error

SIZES = [  # L, B, T, I, H: odd ones on purpose
    pytest.param(1, 1, 1, 1, 9, id="one-step"),
    pytest.param(3, 5, 7, 11, 13, id="odd"),
    pytest.param(4, 1, 33, 320, 100, id="speech-like"),
    pytest.param(2, 17, 63, 40, 48, id="many-rows"),
]


# With gradients torch.lstm runs, without them, on a CPU, oneDNN with packed weights.
GRADIENTS = pytest.mark.parametrize("gradients", [True, False], ids=["gradients", "inference"])


def problem(L: int, B: int, T: int, I: int, H: int, seed: int = 0):
    torch.manual_seed(seed)
    module = PersistentLSTM(I, H, L)
    x = torch.randn(T, B, I)
    state = LSTMState(torch.randn(L, B, H) * 0.3, torch.randn(L, B, H))
    return module, x, state


@pytest.mark.parametrize("residual", [False, True], ids=["plain", "residual"])
@pytest.mark.parametrize(("L", "B", "T", "I", "H"), SIZES)
@pytest.mark.parametrize("seed", [0, 1])
@GRADIENTS
def test_torch_backend_follows_the_gate_equations(L, B, T, I, H, seed, residual, gradients):
    module, x, state = problem(L, B, T, H if residual else I, H, seed)
    with torch.set_grad_enabled(gradients):
        y, last = lstm(x, module.weights, state, residual=residual, backend="torch")
    assert y.requires_grad == gradients
    expected, expected_last = lstm_reference(x, module.weights, state, residual=residual)
    assert relative_error(y, expected) < 1e-6
    assert relative_error(last.h, expected_last.h) < 1e-6
    assert relative_error(last.C, expected_last.C) < 1e-6


@pytest.mark.parametrize(("L", "B", "T", "I", "H"), SIZES)
def test_reference_equals_torch_nn_lstm_in_float64(L, B, T, I, H):
    module, x, state = problem(L, B, T, I, H)
    peer = torch.nn.LSTM(I, H, L).double()
    peer.load_state_dict(module.state_dict())
    with torch.no_grad():
        expected, (h, C) = peer(x.double(), (state.h.double(), state.C.double()))
    y, last = lstm_reference(x, module.weights, state)
    assert relative_error(y, expected) < 1e-14
    assert relative_error(last.h, h) < 1e-14
    assert relative_error(last.C, C) < 1e-14


def test_loads_from_torch_nn_lstm():
    peer = torch.nn.LSTM(10, 12, 2)
    module = PersistentLSTM(10, 12, 2)
    module.load_state_dict(peer.state_dict())
    x = torch.randn(4, 3, 10)
    with torch.no_grad():
        assert relative_error(module(x)[0], peer(x)[0]) < 1e-6


def test_residual_stack_equals_modules_put_together_by_hand():
    module, x, _ = problem(3, 2, 9, 16, 16)
    r = x.double()
    for layer in range(3):
        peer = torch.nn.LSTM(16, 16).double()
        peer.load_state_dict(
            {
                name.replace(f"_l{layer}", "_l0"): tensor
                for name, tensor in module.state_dict().items()
                if name.endswith(f"_l{layer}")
            }
        )
        with torch.no_grad():
            r = r + peer(torch.nn.functional.layer_norm(r, (16,)))[0]
    y, _ = lstm_reference(x, module.weights, residual=True)
    assert relative_error(y, r) < 1e-14


@given(
    cuts=st.lists(st.integers(0, 20), max_size=6), residual=st.booleans(), gradients=st.booleans()
)
def test_any_split_of_time_gives_the_same_answer(cuts, residual, gradients):
    module, x, state = problem(3, 2, 20, 12, 12)
    parts, carried = [], state
    with torch.set_grad_enabled(gradients):
        whole, last = lstm(x, module.weights, state, residual=residual)
        for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), 20], strict=True):
            y, carried = lstm(x[start:end], module.weights, carried, residual=residual)
            parts.append(y)
    assert relative_error(torch.cat(parts), whole) < 1e-6
    assert relative_error(carried.C, last.C) < 1e-6


@pytest.mark.parametrize("backend", ["torch", "reference"])
@GRADIENTS
def test_rows_of_a_batch_do_not_touch_each_other(backend, gradients):
    module, x, state = problem(2, 3, 6, 4, 8)
    with torch.set_grad_enabled(gradients):
        clean, _ = lstm(x, module.weights, state, backend=backend)
        x[2, 1] = float("nan")
        y, _ = lstm(x, module.weights, state, backend=backend)
    assert torch.isnan(y[2:, 1]).all()
    assert relative_error(y[:, [0, 2]], clean[:, [0, 2]]) < 1e-6


def test_packed_weights_follow_the_weights():
    module, x, state = problem(2, 3, 6, 4, 8)
    with torch.no_grad():
        before, _ = module(x, state)
        for parameter in module.parameters():
            parameter.mul_(0.5)
        after, _ = module(x, state)
    assert relative_error(after, lstm_reference(x, module.weights, state)[0]) < 1e-6
    assert relative_error(after, before) > 0.01


def test_a_chunk_takes_less_time_than_with_weights_packed_anew():
    peer = torch.nn.LSTM(512, 512, 4)
    module = PersistentLSTM(512, 512, 4)
    module.load_state_dict(peer.state_dict())
    x, times = torch.randn(10, 1, 512), {}
    with torch.inference_mode():
        for _ in range(20):  # in turns: a busy machine is busy for both
            for run in (module, peer):
                began = time.perf_counter()
                run(x)
                times.setdefault(run, []).append(time.perf_counter() - began)
    # A third to a half, seen on one thread.
    assert min(times[module]) < 0.8 * min(times[peer])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@GRADIENTS
def test_weights_of_16_bits_are_computed_with_in_float32(dtype, gradients):
    module, x, state = problem(3, 5, 7, 11, 13)
    module.to(dtype)
    with torch.set_grad_enabled(gradients):
        y, last = lstm(x, module.weights, state)
    expected, expected_last = lstm_reference(x, module.weights, state)
    assert relative_error(y, expected) < 1e-6
    assert relative_error(last.C, expected_last.C) < 1e-6


def test_no_timestep_returns_the_state_unchanged():
    module, x, state = problem(2, 3, 6, 4, 8)
    y, last = lstm(x[:0], module.weights, state)
    assert y.shape == (0, 3, 8)
    assert torch.equal(last.h, state.h)
    assert torch.equal(last.C, state.C)


def test_default_state_is_zero():
    module, x, _ = problem(2, 3, 6, 4, 8)
    y, _ = lstm(x, module.weights)
    expected, _ = lstm(x, module.weights, zero_state(module.weights, 3))
    assert torch.equal(y, expected)


def test_gates_do_not_overflow():
    module, x, state = problem(1, 1, 3, 2, 2)
    y, last = lstm_reference(1e30 * x, module.weights, state)
    assert torch.isfinite(y).all()
    assert torch.isfinite(last.C).all()


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(5, 4), r"\(T, B, I\), got \(5, 4\)"),
        (torch.zeros(5, 2, 3), r"layer 0: w_ih has shape \(32, 4\), expected \(32, 3\)"),
        (torch.zeros(5, 3, 4), r"state h has shape \(2, 2, 8\), not \(2, 3, 8\)"),
    ],
)
def test_wrong_shapes_are_named(x, message):
    module, _, state = problem(2, 2, 6, 4, 8)
    with pytest.raises(LSTMError, match=message):
        lstm(x, module.weights, state)


def test_a_residual_stack_needs_equal_sizes():
    module, x, state = problem(2, 2, 6, 4, 8)
    with pytest.raises(LSTMError, match="needs I = H, got I = 4, H = 8"):
        lstm(x, module.weights, state, residual=True)


def test_no_layers_is_an_error():
    with pytest.raises(LSTMError, match="at least one layer"):
        lstm(torch.zeros(1, 1, 1), [], None)


def test_backends_are_chosen_in_one_place():
    module, _, _ = problem(1, 1, 1, 4, 4)
    why = "no GPU; in float32, as weights are neither int8 nor exact in float16"
    assert choose_backend("auto", module.weights) == ("torch", why)
    assert choose_backend("reference", module.weights) == ("reference", "asked for")
    with pytest.raises(LSTMError, match="needs weights on an NVIDIA GPU, and these are on cpu"):
        choose_backend("triton", module.weights)
    with pytest.raises(LSTMError, match="unknown backend 'cuda': choose one of auto, triton"):
        choose_backend("cuda")
