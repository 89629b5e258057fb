"""The wide kernel under the interpreter, all programs at once, against float64."""

from __future__ import annotations

from dataclasses import replace

import persistent_lstm._launch
import pytest
import torch
from persistent_lstm import DEVICES, LSTMError, LSTMState, lstm_reference, raise_pending_error
from persistent_lstm._launch import run_plan
from persistent_lstm.planning import make_plan, make_wide_plan
from persistent_lstm.timing import by_layer, record

from ..conftest import relative_error
from .cases import BFLOAT16, CPU, FLOAT16, Case
from .cogrid import Deadlock, scheduled

H100 = DEVICES["h100"]


def wide(**sizes):
    return Case(**{"L": 2, "H": 64, "B": 32, "T": 3, "kernels": "triton-wide", **sizes})


CASES = {
    "32 rows": wide(),
    "one step": wide(T=1),
    "one layer, 33 rows": wide(L=1, B=33),
    "rounded": wide(split=False),
    "rounded, 64 rows": wide(B=64, split=False),
    "70 rows in two launches": wide(B=70, T=2),
    "128 rows": wide(L=1, B=128, T=2, split=False),
    "float16": wide(dtype=FLOAT16),
    "float16, rounded, 37 rows": wide(B=37, dtype=FLOAT16, split=False),
    "two tiles": wide(L=1, H=128, T=2),
    "tiles of 128 columns": wide(H=128, T=2, split=False, programs=16),
    "three tiles": wide(L=1, H=192, T=2, programs=12),
    "groups of layers": wide(L=3),
    "narrow input": wide(I=7),
    "wide input": wide(I=70, B=33, split=False),
    "residual": wide(L=3, residual=True, programs=12),
    "residual, rounded, 33 rows": wide(B=33, residual=True, split=False),
    "residual, 64 rows": wide(B=64, T=2, residual=True),
    "residual in groups": wide(L=3, residual=True, split=False),
    "residual, float16": wide(dtype=FLOAT16, residual=True),
    "H = 512": wide(L=1, H=512, T=2, split=False, programs=32),
}
NAMES = pytest.mark.parametrize(
    "name", ["32 rows", "70 rows in two launches", "residual", "residual, rounded, 33 rows"]
)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_wide_kernel_follows_the_gate_equations(case):
    assert {one.kernel for one in case.plan.launches} == {"wide"}
    x, state = case.input()
    case.check(*case.run(x, state), x, state)


@pytest.mark.parametrize("seed", range(3))
def test_any_schedule_gives_the_same_bits(seed):
    case = CASES["residual"]
    x, state = case.input()
    y, last = case.run(x, state, fuzz=0.0)
    with scheduled(seed=100 + seed, fuzz=0.4) as schedule:
        again, last_again = run_plan(case.plan, x, case.weights(), state)
    assert schedule.switches > 10
    assert torch.equal(y, again)
    assert torch.equal(last.h, last_again.h)
    assert torch.equal(last.C, last_again.C)


@NAMES
def test_chunks_give_the_same_bits(name):
    case = replace(CASES[name], T=3)
    x, state = case.input()
    whole, last = case.run(x, state)
    carried, outputs = state, []
    for part in (x[:1], x[1:]):
        y, carried = case.run(part, carried)
        outputs.append(y)
    assert torch.equal(torch.cat(outputs), whole)
    assert torch.equal(carried.h, last.h)
    assert torch.equal(carried.C, last.C)


@NAMES
def test_rows_of_different_lengths(name):
    case = replace(CASES[name], T=3)
    x, state = case.input()
    lengths = torch.tensor([3, 0, 2, 1] * 20, dtype=torch.int32)[: case.B]
    y, last = case.run(x, state, lengths=lengths)
    for row in (0, 1, 2, 3, case.B - 1):
        length = int(lengths[row])
        mine = slice(row, row + 1)
        before = LSTMState(state.h[:, mine], state.C[:, mine])
        if length == 0:
            assert torch.equal(last.h[:, mine], before.h)
            assert torch.equal(last.C[:, mine], before.C)
            continue
        expected, after = lstm_reference(
            x[:length, mine], case.weights(), before, residual=case.residual
        )
        # A row by itself has fewer values to average its error over.
        assert relative_error(y[:length, mine], expected) <= 2 * case.tolerance
        assert relative_error(last.h[:, mine], after.h) <= 2 * case.tolerance
        assert relative_error(last.C[:, mine], after.C) <= 2 * case.tolerance


@NAMES
@pytest.mark.parametrize("where", ["input", "h", "C"])
def test_a_nan_stays_in_its_row(name, where):
    case = replace(CASES[name], L=2, T=2)
    x, state = case.input()
    clean, clean_last = case.run(x, state)
    victim = {"input": x[0], "h": state.h[0], "C": state.C[0]}[where]
    victim[1, 3] = float("nan")
    y, last = case.run(x, state)
    others = [row for row in range(case.B) if row != 1]
    assert y[-1, 1].isnan().all() if where == "input" else y[-1, 1].isnan().any()
    assert torch.equal(y[:, others], clean[:, others])
    assert torch.equal(last.C[:, others], clean_last.C[:, others])
    raise_pending_error(CPU)


def test_a_missing_program_is_a_deadlock():
    case = CASES["32 rows"]
    x, state = case.input()
    with pytest.raises(Deadlock, match="no program stored anything"):
        case.run(x, state, dropped=[1])


@NAMES
def test_a_wait_in_vain_ends_with_an_error_and_the_state_as_it_was(name, monkeypatch):
    case = replace(CASES[name], T=3)
    x, state = case.input()
    h, C = state.h.clone(), state.C.clone()
    with monkeypatch.context() as patch:
        patch.setattr(persistent_lstm._launch, "POLL_LIMIT", 20)
        y, last = case.run(x, state, dropped=[1])
    assert y.isnan().any()
    assert last.h.isnan().any()
    assert last.C.isnan().any()
    with pytest.raises(LSTMError, match=r"gave up: at timestep \d+, program \d+ waited in vain"):
        raise_pending_error(CPU)
    raise_pending_error(CPU)  # said once
    assert torch.equal(state.h, h)
    assert torch.equal(state.C, C)
    case.check(*case.run(x, state), x, state)


def test_programs_record_when_they_wait():
    case = CASES["32 rows"]
    x, state = case.input()
    with scheduled(fuzz=0.1):
        layers = by_layer(record(case.plan, x, case.weights(), state))
    assert [one.layer for one in layers] == [0, 1]
    assert all(one.step.p50 > 0 for one in layers)


@pytest.mark.parametrize(
    ("rows", "split", "residual", "launched", "times"),
    [
        (32, True, False, 32, 1),
        (33, True, False, 33, 1),
        (64, True, False, 64, 1),
        (64, True, True, 32, 2),
        (64, False, True, 64, 1),
        (70, False, False, 64, 2),
        (128, True, False, 64, 2),
    ],
)
def test_rows_of_a_launch(rows, split, residual, launched, times):
    plan = make_wide_plan(4, 512, rows, BFLOAT16, H100, split=split, residual=residual)
    (launch,) = plan.launches
    assert (launch.kernel, launch.rows, plan.row_groups(launch)) == ("wide", launched, times)
    assert launch.programs == 128
    assert launch.shared <= H100.shared
    assert "wide kernel" in str(plan)
    assert "of a multiprocessor's shared memory" in str(plan)


@pytest.mark.parametrize(
    ("hidden", "rows", "device"),
    [
        (512, 31, "h100"),
        (1024, 64, "h100"),
        (512, 64, "a100"),
        (48, 64, "h100"),
        (1536, 64, "h100"),
    ],
)
def test_where_it_does_not_fit_the_plan_is_the_other(hidden, rows, device):
    sizes = (2, hidden, rows, BFLOAT16, DEVICES[device])
    assert make_wide_plan(*sizes) == make_plan(*sizes)
