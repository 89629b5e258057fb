"""The cpu backend: the float64 oracle with the same weights, and the same bits in any batch."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from persistent_lstm import (
    Int8LayerWeights,
    Int8Matrix,
    LayerWeights,
    LSTMError,
    LSTMState,
    PersistentLSTM,
    _cpu,
    choose_backend,
    lstm,
    lstm_reference,
)

from ..conftest import REPOSITORY, relative_error

SIZES = [  # L, B, T, I, H: odd ones on purpose
    pytest.param(1, 1, 1, 1, 9, id="one-step"),
    pytest.param(3, 5, 7, 11, 13, id="odd"),
    pytest.param(4, 1, 33, 320, 100, id="speech-like"),
    pytest.param(2, 17, 21, 40, 48, id="many-rows"),
    pytest.param(4, 1, 10, 512, 512, id="one-row"),
    pytest.param(2, 14, 3, 65, 65, id="more-than-a-tile"),
]


def int8(matrix: torch.Tensor) -> Int8Matrix:
    scale = matrix.abs().amax(1) / 127
    return Int8Matrix((matrix / scale[:, None]).round().to(torch.int8), scale)


def problem(L: int, B: int, T: int, I: int, H: int, kind: str = "int8", seed: int = 0):
    """Weights, the same in float64 for the oracle, input and state."""
    torch.manual_seed(seed)
    drawn = [LayerWeights(*(t.detach() for t in w)) for w in PersistentLSTM(I, H, L).weights]
    x = torch.randn(T, B, I)
    state = LSTMState(torch.randn(L, B, H) * 0.3, torch.randn(L, B, H))
    if kind == "int8":
        weights = [Int8LayerWeights(int8(w.w_ih), int8(w.w_hh), w.b_ih, w.b_hh) for w in drawn]
        exact = [
            LayerWeights(
                *(m.values.double() * m.scale.double()[:, None] for m in (w.w_ih, w.w_hh)),
                *(b.double() for b in (w.b_ih, w.b_hh)),
            )
            for w in weights
        ]
        return weights, exact, x, state
    halves = [LayerWeights(*(t.half() for t in w)) for w in drawn]
    if kind == "float32":
        halves = [LayerWeights(*(t.float() for t in w)) for w in halves]
    return halves, halves, x, state


@pytest.mark.parametrize("kind", ["int8", "float16", "float32"])
@pytest.mark.parametrize("residual", [False, True], ids=["plain", "residual"])
@pytest.mark.parametrize(("L", "B", "T", "I", "H"), SIZES)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_gate_equations_are_followed(L, B, T, I, H, seed, residual, kind):
    weights, exact, x, state = problem(L, B, T, H if residual else I, H, kind, seed)
    before = state.h.clone(), state.C.clone()
    y, last = lstm(x, weights, state, residual=residual, backend="cpu")
    expected, expected_last = lstm_reference(x, exact, state, residual=residual)
    assert y.dtype == last.h.dtype == last.C.dtype == torch.float32
    assert relative_error(y, expected) < 1e-6
    assert relative_error(last.h, expected_last.h) < 1e-6
    assert relative_error(last.C, expected_last.C) < 1e-6
    assert torch.equal(state.h, before[0])
    assert torch.equal(state.C, before[1])


@pytest.mark.parametrize("size", [1e-6, 1e-3, 30.0, 1e30])
def test_small_and_large_values_are_as_exact(size):
    weights, exact, x, state = problem(2, 3, 5, 20, 33)
    state = LSTMState(state.h * 0, state.C * 0)
    x = x * size
    y, _ = lstm(x, weights, state, backend="cpu")
    # Biases of zero: outputs as small as inputs.
    plain = [w._replace(b_ih=w.b_ih * 0, b_hh=w.b_hh * 0) for w in weights]
    small, _ = lstm(x, plain, state, backend="cpu")
    assert relative_error(y, lstm_reference(x, exact, state)[0]) < 1e-6
    exact = [w._replace(b_ih=w.b_ih * 0, b_hh=w.b_hh * 0) for w in exact]
    assert relative_error(small, lstm_reference(x, exact, state)[0]) < 1e-6


def test_other_backends_run_int8_weights_too():
    weights, exact, x, state = problem(2, 3, 6, 4, 8)
    expected, _ = lstm_reference(x, exact, state)
    for backend in ("torch", "reference", "auto"):
        y, _ = lstm(x, weights, state, backend=backend)
        assert relative_error(y, expected) < 1e-6
    for matrix in (weights[0].w_hh.values, weights[1].w_ih.scale):
        matrix.zero_()
        y, _ = lstm(x, weights, state, backend="torch")
        again, _ = lstm(x, weights, state, backend="cpu")
        assert relative_error(y, expected) > 1e-3
        assert relative_error(again, y) < 1e-6


CASES = st.tuples(
    st.integers(1, 3),  # L
    st.integers(1, 40),  # B
    st.integers(1, 12),  # T
    st.sampled_from([1, 7, 33, 64, 130]),  # H
    st.booleans(),  # residual
    st.sampled_from(["int8", "float16"]),
    st.integers(0, 5),  # seed
)


@given(case=CASES, data=st.data())
@settings(max_examples=60, deadline=None)
def test_rows_have_the_same_bits_in_any_batch_and_any_chunking(case, data):
    L, B, T, H, residual, kind, seed = case
    weights, _, x, state = problem(L, B, T, H, H, kind, seed)
    y, last = lstm(x, weights, state, residual=residual, backend="cpu")
    cuts = data.draw(st.lists(st.integers(0, T), max_size=5).map(sorted))
    rows = data.draw(st.lists(st.integers(0, B - 1), min_size=1, max_size=B))
    carried, parts = LSTMState(state.h[:, rows], state.C[:, rows]), []
    for start, end in zip([0, *cuts], [*cuts, T], strict=True):
        part, carried = lstm(x[start:end, rows], weights, carried, residual=residual, backend="cpu")
        parts.append(part)
    assert torch.equal(torch.cat(parts), y[:, rows])
    assert torch.equal(carried.h, last.h[:, rows])
    assert torch.equal(carried.C, last.C[:, rows])


@pytest.mark.parametrize("kind", ["int8", "float16"])
@pytest.mark.parametrize("H", [7, 33, 64, 130])
def test_each_row_of_many_has_its_bits_alone(H, kind):
    weights, _, x, state = problem(2, 34, 8, H, H, kind)
    y, _ = lstm(x, weights, state, backend="cpu")
    for row in range(34):
        one = slice(row, row + 1)
        own = LSTMState(state.h[:, one], state.C[:, one])
        assert torch.equal(lstm(x[:, one], weights, own, backend="cpu")[0], y[:, one])


@given(case=CASES, data=st.data())
@settings(max_examples=40, deadline=None)
def test_rows_of_different_lengths_are_those_rows_alone(case, data):
    L, B, T, H, residual, kind, seed = case
    weights, _, x, state = problem(L, B, T, H, H, kind, seed)
    lengths = data.draw(st.lists(st.integers(0, T), min_size=B, max_size=B))
    for row, length in enumerate(lengths):
        x[length:, row] = float("nan")  # what stands behind a row's end means nothing
    y, last = lstm(
        x, weights, state, lengths=torch.tensor(lengths), residual=residual, backend="cpu"
    )
    for row in range(B):
        one, length = slice(row, row + 1), lengths[row]
        alone, after = lstm(
            x[:length, one],
            weights,
            LSTMState(state.h[:, one], state.C[:, one]),
            residual=residual,
            backend="cpu",
        )
        assert torch.equal(y[:length, one], alone)
        assert not y[length:, row].any()
        assert torch.equal(last.h[:, one], after.h)
        assert torch.equal(last.C[:, one], after.C)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("residual", [False, True], ids=["plain", "residual"])
def test_what_is_not_finite_stays_in_its_row(bad, residual):
    weights, _, x, state = problem(2, 13, 6, 40, 40)
    clean, clean_last = lstm(x, weights, state, residual=residual, backend="cpu")
    x[2, 7, 5] = bad
    y, last = lstm(x, weights, state, residual=residual, backend="cpu")
    expected, _ = lstm_reference(x, [w.dequantise() for w in weights], state, residual=residual)
    others = [row for row in range(13) if row != 7]
    assert torch.equal(y[:, others], clean[:, others])
    assert torch.equal(last.C[:, others], clean_last.C[:, others])
    assert torch.equal(y[:2, 7], clean[:2, 7])
    assert torch.equal(y[2:, 7].isnan(), expected[2:, 7].isnan())


@pytest.mark.parametrize("threads", [2, 3, 5])
def test_any_number_of_threads_gives_the_same_bits(threads):
    weights, _, x, state = problem(2, 22, 4, 40, 40)
    lengths = torch.arange(22) % 5
    before = torch.get_num_threads()
    found = []
    try:
        for count in (1, threads):
            torch.set_num_threads(count)
            found += [lstm(x, weights, state, backend="cpu")]
            found += [lstm(x, weights, state, lengths=lengths, backend="cpu")]
    finally:
        torch.set_num_threads(before)
    for (y, last), (again, last_again) in zip(found[:2], found[2:], strict=True):
        assert torch.equal(y, again)
        assert torch.equal(last.h, last_again.h)
        assert torch.equal(last.C, last_again.C)


def test_auto_takes_it_for_weights_that_it_runs_as_they_are():
    (int8_weights, *_), (halves, *_), (floats, *_) = (
        problem(2, 1, 1, 4, 8, kind) for kind in ("int8", "float16", "float32")
    )
    assert choose_backend("auto", int8_weights) == ("cpu", "int8 weights, no GPU")
    assert choose_backend("auto", halves) == ("cpu", "float16 weights, no GPU")
    assert choose_backend("auto", floats) == ("cpu", "float16 weights, no GPU")


def test_float32_weights_are_not_quantised_behind_ones_back():
    weights, _, x, state = problem(2, 2, 3, 4, 8, "float32")
    weights[1].w_ih[3, 2] *= 1 + 2**-20
    why = "weights are neither int8 nor exact in float16"
    assert choose_backend("auto", weights) == ("torch", f"no GPU; in float32, as {why}")
    with pytest.raises(LSTMError, match=f"cannot run this: {why}; use auto or torch"):
        lstm(x, weights, state, backend="cpu")
    y, _ = lstm(x, weights, state)
    assert relative_error(y, lstm_reference(x, weights, state)[0]) < 1e-6


def test_without_numba_auto_runs_in_float32_and_says_so(monkeypatch):
    weights, exact, x, state = problem(2, 2, 3, 4, 8)
    _cpu.numba_missing.cache_clear()
    monkeypatch.setitem(sys.modules, "persistent_lstm._cpu_kernels", None)
    monkeypatch.delattr("persistent_lstm._cpu_kernels", raising=False)
    try:
        chosen, reason = choose_backend("auto", weights)
        assert chosen == "torch"
        assert reason.startswith("no GPU; in float32, as Numba cannot be imported (")
        with pytest.raises(LSTMError, match="cannot run this: Numba cannot be imported"):
            choose_backend("cpu", weights)
        y, _ = lstm(x, weights, state)
    finally:
        _cpu.numba_missing.cache_clear()
    assert relative_error(y, lstm_reference(x, exact, state)[0]) < 1e-6


def test_it_computes_no_gradients():
    weights, _, x, state = problem(1, 1, 2, 4, 4)
    x.requires_grad_()
    with pytest.raises(LSTMError, match="the cpu backend computes no gradients"):
        lstm(x, weights, state, backend="cpu")
    y, _ = lstm(x, weights, state)
    y.sum().backward()
    assert x.grad is not None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": torch.zeros(16, 4)}, "w_hh is of torch.float32 with a scale of torch.float32"),
        ({"scale": torch.zeros(16, 1)}, r"w_hh: scale has shape \(16, 1\), expected \(16,\)"),
        ({"values": torch.zeros(3, 4, dtype=torch.int8)}, r"w_hh has shape \(3, 4\), expected"),
    ],
)
def test_wrong_int8_weights_are_named(change, message):
    (layer,), _, x, state = problem(1, 1, 2, 4, 4)
    with pytest.raises(LSTMError, match=message):
        lstm(x, [layer._replace(w_hh=layer.w_hh._replace(**change))], state)


RUN = """
import torch
from persistent_lstm import _cpu_kernels, lstm
from tests.persistent_lstm.test_cpu import problem
for kind in ("int8", "float16"):
    for rows in (1, 2, 3, 5, 14):
        weights, _, x, state = problem(2, rows, 4, 70, 70, kind)
        y, _ = lstm(x, weights, state, residual=True, backend="cpu")
        print(y.numpy().tobytes().hex())
print(type(_cpu_kernels.run_layers._cache).__name__, _cpu_kernels.WIDE)
"""
AVX2 = """
import llvmlite.binding
llvmlite.binding.get_host_cpu_features = dict
"""


def run_in_process(code: str, **environment: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def expected_bits() -> list[str]:
    found = []
    for kind in ("int8", "float16"):
        for rows in (1, 2, 3, 5, 14):
            weights, _, x, state = problem(2, rows, 4, 70, 70, kind)
            y, _ = lstm(x, weights, state, residual=True, backend="cpu")
            found.append(y.numpy().tobytes().hex())
    return found


def test_it_compiles_where_nothing_can_be_cached(tmp_path: Path):
    """A read-only installation, and no home: compiled in each process, and no worse for it."""
    library = tmp_path / "persistent_lstm"
    library.mkdir()
    for path in (REPOSITORY / "kernels" / "persistent_lstm").glob("*.py"):
        (library / path.name).write_bytes(path.read_bytes())
    (library / "__pycache__").write_text("no folder")
    (tmp_path / "home").write_text("no folder")
    *bits, made = run_in_process(
        RUN,
        PYTHONPATH=os.pathsep.join([str(tmp_path), str(REPOSITORY)]),
        HOME=str(tmp_path / "home"),
        XDG_CACHE_HOME=str(tmp_path / "home"),
        PYTHONDONTWRITEBYTECODE="1",
        NUMBA_CACHE_DIR="",
    )
    assert made.startswith("NullCache")
    assert bits == expected_bits()


@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="instruction sets of x86 processors"
)
def test_a_processor_without_avx512_gives_the_same_bits(tmp_path: Path):
    *bits, made = run_in_process(
        AVX2 + RUN, NUMBA_CPU_NAME="haswell", NUMBA_CPU_FEATURES="", NUMBA_CACHE_DIR=str(tmp_path)
    )
    assert made.endswith("False")
    assert bits == expected_bits()
