"""The kernels under the interpreter, all programs at once, against the float64 gate equations."""

from __future__ import annotations

from dataclasses import dataclass, replace

import persistent_lstm._launch
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from persistent_lstm import (
    Device,
    LayerWeights,
    LSTMError,
    LSTMState,
    PersistentLSTM,
    lstm,
    lstm_reference,
    make_plan,
    raise_pending_error,
)
from persistent_lstm._launch import run_plan

from ..conftest import relative_error
from .cogrid import Deadlock, scheduled

CPU = torch.device("cpu")
FLOAT32, BFLOAT16, FLOAT16 = torch.float32, torch.bfloat16, torch.float16
# What the arithmetic allows: float32 sums; h in two 16-bit halves; h rounded to bfloat16.
TOLERANCE = {"float32": 1e-6, "split": 5e-6, "rounded": 2e-3}


@dataclass(frozen=True)
class Case:
    """A problem, and a toy GPU small enough that a few programs fill it."""

    L: int
    H: int
    B: int
    T: int
    dtype: torch.dtype = BFLOAT16
    I: int | None = None
    residual: bool = False
    split: bool = True
    programs: int = 8
    seed: int = 0

    @property
    def tolerance(self):
        if self.dtype == FLOAT32:
            return TOLERANCE["float32"]
        return TOLERANCE["split" if self.split else "rounded"]

    @property
    def plan(self):
        device = Device("toy", 90, self.programs, 227 * 1024)
        return make_plan(
            *(self.L, self.H, self.B, self.dtype, device),
            inputs=self.I,
            residual=self.residual,
            split=self.split,
        )

    def weights(self):
        torch.manual_seed(self.seed)
        module = PersistentLSTM(self.I or self.H, self.H, self.L)
        return [LayerWeights(*(t.detach().to(self.dtype) for t in w)) for w in module.weights]

    def input(self):
        torch.manual_seed(self.seed + 1)
        x = torch.randn(self.T, self.B, self.I or self.H)
        h, C = torch.randn(self.L, self.B, self.H) * 0.3, torch.randn(self.L, self.B, self.H)
        return x, LSTMState(h, C)

    def run(self, x, state, *, fuzz=0.1, dropped=(), **options):
        with scheduled(seed=self.seed, fuzz=fuzz, dropped=dropped):
            return run_plan(self.plan, x, self.weights(), state, **options)

    def check(self, y, last, x, state):
        expected, expected_last = lstm_reference(x, self.weights(), state, residual=self.residual)
        assert relative_error(y, expected) <= self.tolerance
        assert relative_error(last.h, expected_last.h) <= self.tolerance
        assert relative_error(last.C, expected_last.C) <= self.tolerance


CASES = {
    "a stack in one launch": Case(L=3, H=32, B=2, T=6, programs=6),
    "one step": Case(L=4, H=16, B=1, T=1),
    "deep": Case(L=6, H=16, B=3, T=4),
    "H no power of two": Case(L=2, H=48, B=3, T=5, dtype=FLOAT16),
    "groups of layers": Case(L=4, H=64, B=1, T=4),
    "rounded": Case(L=3, H=32, B=5, T=6, split=False, programs=6),
    "residual": Case(L=3, H=32, B=2, T=6, residual=True, programs=6),
    "residual, rounded": Case(L=2, H=80, B=1, T=4, residual=True, split=False, programs=10),
    "residual in groups": Case(L=3, H=64, B=2, T=4, residual=True),
    "float32": Case(L=2, H=32, B=3, T=4, dtype=FLOAT32),
    "float32, residual, ten rows": Case(L=1, H=16, B=10, T=4, dtype=FLOAT32, residual=True),
    "narrow input": Case(L=2, H=32, B=2, T=4, I=7),
    "wide input, float32": Case(L=2, H=16, B=1, T=5, I=33, dtype=FLOAT32),
    "sixteen rows and one": Case(L=2, H=32, B=17, T=3),
    "batched": Case(L=2, H=64, B=32, T=4),
    "batched, rounded": Case(L=2, H=32, B=37, T=4, dtype=FLOAT16, split=False),
    "batched, residual": Case(L=2, H=48, B=33, T=4, residual=True),
    "batched in groups": Case(L=1, H=32, B=65, T=3, split=False),
    "batched in tiles": Case(L=1, H=144, B=32, T=3, programs=9),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_kernels_follow_the_gate_equations(case):
    x, state = case.input()
    case.check(*case.run(x, state), x, state)


@pytest.mark.parametrize("seed", range(5))
def test_any_schedule_gives_the_same_bits(seed):
    case = replace(CASES["residual"], T=3)
    x, state = case.input()
    y, last = case.run(x, state, fuzz=0.0)
    with scheduled(seed=100 + seed, fuzz=0.4) as schedule:
        again, last_again = run_plan(case.plan, x, case.weights(), state)
    assert schedule.switches > 10
    assert torch.equal(y, again)
    assert torch.equal(last.h, last_again.h)
    assert torch.equal(last.C, last_again.C)


@settings(max_examples=12)
@given(
    st.sampled_from(["residual", "float32", "narrow input", "batched"]),
    st.lists(st.integers(0, 3), min_size=1, max_size=3),
)
@example("narrow input", [1, 1])
def test_any_split_into_chunks_gives_the_same(name, chunks):
    case = replace(CASES[name], T=max(1, sum(chunks)))
    x, state = case.input()
    whole, last = case.run(x, state)
    outputs = []
    carried = state
    for part in x.split([*chunks, case.T - sum(chunks)]):
        if len(part):
            y, carried = case.run(part, carried)
            outputs.append(y)
    if all(launch.kernel == "stack" for launch in case.plan.launches):
        assert torch.equal(torch.cat(outputs), whole)
        assert torch.equal(carried.h, last.h)
        assert torch.equal(carried.C, last.C)
    else:  # the matrix product outside may sum in another order for another T
        assert relative_error(torch.cat(outputs), whole) <= TOLERANCE["float32"]
        assert relative_error(carried.h, last.h) <= TOLERANCE["float32"]
        assert relative_error(carried.C, last.C) <= TOLERANCE["float32"]


@pytest.mark.parametrize("dtype", [FLOAT32, BFLOAT16])
def test_a_thousand_timesteps_lose_no_accuracy(dtype):
    case = Case(L=2, H=16, B=1, T=1000, dtype=dtype, programs=2)
    x, state = case.input()
    carried, outputs = state, []
    for part in x.split(250):
        y, carried = case.run(part, carried, fuzz=0.0)
        outputs.append(y)
    case.check(torch.cat(outputs), carried, x, state)


def test_long_inputs_run_in_pieces(monkeypatch):
    case = replace(CASES["residual"], T=7)
    x, state = case.input()
    whole, last = case.run(x, state)
    monkeypatch.setattr(persistent_lstm._launch, "BUFFER_BYTES", 3 * 3 * 32 * 2 * 8)
    lengths = torch.tensor([7, 5], dtype=torch.int32)
    pieces, last_of_pieces = case.run(x, state)
    assert torch.equal(pieces, whole)
    assert torch.equal(last_of_pieces.C, last.C)
    ragged, _ = case.run(x, state, lengths=lengths)
    assert torch.equal(ragged[:5, 1], whole[:5, 1])


@pytest.mark.parametrize("name", ["residual", "float32", "batched, rounded", "narrow input"])
def test_rows_of_different_lengths(name):
    case = CASES[name]
    x, state = case.input()
    lengths = torch.randint(0, case.T + 1, (case.B,), dtype=torch.int32)
    lengths[0] = case.T
    y, last = case.run(x, state, lengths=lengths)
    for row, length in enumerate(lengths.tolist()):
        mine = slice(row, row + 1)
        before = LSTMState(state.h[:, mine], state.C[:, mine])
        expected, after = lstm_reference(
            x[:length, mine], case.weights(), before, residual=case.residual
        )
        if length:
            assert relative_error(y[:length, mine], expected) <= case.tolerance
        assert relative_error(last.h[:, mine], after.h) <= case.tolerance
        assert relative_error(last.C[:, mine], after.C) <= case.tolerance


@pytest.mark.parametrize("name", ["residual", "float32", "rounded", "batched, rounded"])
@pytest.mark.parametrize("where", ["input", "h", "C"])
def test_a_nan_stays_in_its_row(name, where):
    case = replace(CASES[name], T=2)
    x, state = case.input()
    clean, clean_last = case.run(x, state)
    victim = {"input": x[0], "h": state.h[0], "C": state.C[0]}[where]
    # The sentinel's own bits: taken for a value that has not come, they would hang the exchange.
    victim.view(torch.int32)[1, 3] = -1
    y, last = case.run(x, state)
    others = [row for row in range(case.B) if row != 1]
    assert y[-1, 1].isnan().all() if where == "input" else y[-1, 1].isnan().any()
    assert torch.equal(y[:, others], clean[:, others])
    assert torch.equal(last.C[:, others], clean_last.C[:, others])


def test_infinite_inputs_saturate_the_gates():
    case = CASES["float32"]
    x, state = case.input()
    x *= 1e30
    y, last = case.run(x, state)
    assert y.isfinite().all()
    case.check(y, last, x, state)


@pytest.mark.parametrize("name", ["a stack in one launch", "batched"])
def test_a_missing_program_is_a_deadlock(name):
    case = replace(CASES[name], T=3)
    x, state = case.input()
    with pytest.raises(Deadlock, match="no program stored anything"):
        case.run(x, state, dropped=[1])


@pytest.mark.parametrize("name", ["a stack in one launch", "residual", "float32", "batched"])
def test_a_wait_in_vain_ends_with_an_error_and_the_state_as_it_was(name, monkeypatch):
    monkeypatch.setattr(persistent_lstm._launch, "POLL_LIMIT", 20)
    case = replace(CASES[name], T=3)
    x, state = case.input()
    h, C = state.h.clone(), state.C.clone()
    y, last = case.run(x, state, dropped=[1])
    assert y.isnan().any()
    assert last.h.isnan().any()
    with pytest.raises(LSTMError, match=r"gave up: at timestep \d+, program \d+ waited in vain"):
        raise_pending_error(CPU)
    raise_pending_error(CPU)  # said once
    assert torch.equal(state.h, h)
    assert torch.equal(state.C, C)
    case.check(*case.run(x, state), x, state)


def test_changed_weights_are_packed_again():
    case = CASES["one step"]
    x, state = case.input()
    weights = case.weights()
    with scheduled():
        first, _ = run_plan(case.plan, x, weights, state)
        for w in weights:
            w.w_hh.mul_(-1)
        second, _ = run_plan(case.plan, x, weights, state)
    assert not torch.equal(first, second)
    assert relative_error(second, lstm_reference(x, weights, state)[0]) <= case.tolerance


def test_weights_are_packed_once_for_any_number_of_rows(monkeypatch):
    calls = []
    pack = persistent_lstm._launch._pack
    monkeypatch.setattr(
        persistent_lstm._launch, "_pack", lambda *given: calls.append(1) or pack(*given)
    )
    case = replace(CASES["residual"], T=1)
    weights = case.weights()
    for rows in (1, 2, 3, 9, 2):
        x, state = replace(case, B=rows).input()
        with scheduled():
            run_plan(replace(case, B=rows).plan, x, weights, state)
    assert len(calls) == len(case.plan.launches)


def test_lstm_takes_the_kernels_where_they_fit(toy_gpu):
    case = CASES["residual"]
    x, state = case.input()
    lengths = torch.tensor([6, 2])
    with torch.inference_mode(), scheduled():
        y, last = lstm(x, case.weights(), state, lengths=lengths, residual=True)
        nothing, same = lstm(x[:0], case.weights(), state, residual=True, backend="triton")
    expected, expected_last = lstm(
        x, case.weights(), state, lengths=lengths, residual=True, backend="torch"
    )
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
        with pytest.raises(LSTMError, match="cannot run this: H = 24 is no multiple of 16"):
            module(x, backend="triton")


def test_the_kernels_compute_no_gradients(toy_gpu):
    module = PersistentLSTM(16, 16)
    x = torch.randn(2, 1, 16)
    with pytest.raises(LSTMError, match="computes no gradients"):
        module(x, backend="triton")
    y, _ = module(x)  # auto
    assert y.requires_grad
