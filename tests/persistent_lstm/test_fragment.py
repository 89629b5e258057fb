"""The fragment kernel under the interpreter, all programs at once, against float64."""

from __future__ import annotations

from dataclasses import replace

import persistent_lstm._launch
import pytest
import torch
from persistent_lstm import LSTMError, LSTMState, lstm_reference, planning, raise_pending_error
from persistent_lstm._launch import run_plan
from persistent_lstm.devices import KIB
from persistent_lstm.timing import by_layer, record

from ..conftest import relative_error
from .cases import CPU, FLOAT16, Case
from .cogrid import Deadlock, scheduled

CASES = {
    "one step": Case(L=2, H=32, B=1, T=1),
    "a stack in one launch": Case(L=3, H=32, B=3, T=3),
    "a fifth row": Case(L=1, H=32, B=5, T=2),
    "eight rows, H no power of two": Case(L=2, H=48, B=8, T=2),
    "groups of rows": Case(L=2, H=32, B=17, T=2),
    "33 rows": Case(L=1, H=32, B=33, T=2),
    "70 rows": Case(L=1, H=32, B=70, T=2),
    "rounded": Case(L=2, H=64, B=1, T=2, split=False),
    "rounded, five rows": Case(L=2, H=64, B=5, T=2, split=False),
    "rounded, 33 rows": Case(L=1, H=48, B=33, T=2, split=False),
    "float16": Case(L=2, H=32, B=2, T=2, dtype=FLOAT16),
    "float16, rounded": Case(L=1, H=32, B=9, T=2, dtype=FLOAT16, split=False),
    "groups of layers": Case(L=3, H=32, B=2, T=2, programs=4),
    "narrow input": Case(L=2, H=32, B=2, T=2, I=7),
    "wide input": Case(L=2, H=32, B=2, T=2, I=70),
    "residual": Case(L=3, H=32, B=2, T=3, residual=True),
    "residual, windows that overlap": Case(L=2, H=48, B=5, T=2, residual=True),
    "residual, rounded": Case(L=2, H=64, B=1, T=2, residual=True, split=False),
    "residual, rounded, 9 rows": Case(L=2, H=48, B=9, T=2, residual=True, split=False),
    "residual, 17 rows": Case(L=2, H=32, B=17, T=2, residual=True),
    "residual, float16": Case(L=2, H=32, B=3, T=2, dtype=FLOAT16, residual=True),
    "residual in groups": Case(L=3, H=32, B=2, T=2, residual=True, programs=4),
    "H = 512": Case(L=1, H=512, B=3, T=2, programs=32),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_kernel_follows_the_gate_equations(case):
    x, state = case.input()
    case.check(*case.run(x, state), x, state)


@pytest.fixture
def eight_units(monkeypatch):
    """Let a program hold a fourth of what it can: it owns 8 units, as for H = 1024."""
    monkeypatch.setattr(planning, "MOST_IN_REGISTERS", 32 * KIB)
    planning.make_plan.cache_clear()
    yield
    planning.make_plan.cache_clear()


@pytest.mark.parametrize(
    "case",
    [
        Case(L=1, H=32, B=3, T=2),
        Case(L=1, H=32, B=9, T=2),
        Case(L=1, H=48, B=1, T=2, split=False),
        Case(L=1, H=32, B=17, T=2, split=False),
        Case(L=2, H=32, B=5, T=2, residual=True),
        Case(L=2, H=32, B=3, T=2, residual=True, split=False),
    ],
    ids=str,
)
def test_programs_of_eight_units_follow_the_gate_equations(case, eight_units):
    assert [one.units for one in case.plan.launches] == [8] * len(case.plan.launches)
    x, state = case.input()
    case.check(*case.run(x, state), x, state)


@pytest.mark.parametrize("words", ["one tile of h", "taking turns"])
def test_few_words_a_thread_give_the_same(words, eight_units, monkeypatch):
    """As H = 1024 with h in two halves: one tile of h, of which half of the threads have rows."""
    monkeypatch.setattr(planning, "MOST_WORDS", 8)
    case = Case(L=1, H=32, B=4 if words == "one tile of h" else 6, T=2)
    assert case.plan.launches[0].N == 8
    x, state = case.input()
    case.check(*case.run(x, state), x, state)


@pytest.mark.parametrize("seed", range(3))
def test_any_schedule_gives_the_same_bits(seed):
    case = replace(CASES["residual"], T=2)
    x, state = case.input()
    y, last = case.run(x, state, fuzz=0.0)
    with scheduled(seed=100 + seed, fuzz=0.4) as schedule:
        again, last_again = run_plan(case.plan, x, case.weights(), state)
    assert schedule.switches > 10
    assert torch.equal(y, again)
    assert torch.equal(last.h, last_again.h)
    assert torch.equal(last.C, last_again.C)


@pytest.mark.parametrize("name", ["a stack in one launch", "groups of rows", "residual, rounded"])
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


def test_a_hundred_timesteps_lose_no_accuracy():
    case = Case(L=1, H=32, B=1, T=100)
    x, state = case.input()
    y, last = case.run(x, state, fuzz=0.0)
    case.check(y, last, x, state)


def test_more_rows_than_a_launch_takes_run_in_several(monkeypatch):
    monkeypatch.setattr(planning, "MOST_ROWS", 4)
    planning.make_plan.cache_clear()
    case = Case(L=2, H=32, B=6, T=2, split=False)
    x, state = case.input()
    assert case.plan.row_groups(case.plan.launches[0]) == 2
    case.check(*case.run(x, state), x, state)
    planning.make_plan.cache_clear()


@pytest.mark.parametrize("name", ["a stack in one launch", "groups of rows", "residual, rounded"])
def test_rows_of_different_lengths(name):
    case = replace(CASES[name], T=3, B=max(3, CASES[name].B))
    x, state = case.input()
    lengths = torch.tensor([3, 0, 2, 1] * 5, dtype=torch.int32)[: case.B]
    y, last = case.run(x, state, lengths=lengths)
    for row, length in enumerate(lengths.tolist()):
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


@pytest.mark.parametrize("name", ["a stack in one launch", "groups of rows", "residual, 17 rows"])
@pytest.mark.parametrize("where", ["input", "h", "C"])
def test_a_nan_stays_in_its_row(name, where):
    case = replace(CASES[name], L=2, B=min(CASES[name].B, 9))
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
    raise_pending_error(CPU)


def test_huge_inputs_saturate_the_gates():
    case = CASES["one step"]
    x, state = case.input()
    x *= 1e30
    y, last = case.run(x, state)
    assert y.isfinite().all()
    case.check(y, last, x, state)


def test_a_missing_program_is_a_deadlock():
    case = CASES["a stack in one launch"]
    x, state = case.input()
    with pytest.raises(Deadlock, match="no program stored anything"):
        case.run(x, state, dropped=[1])


@pytest.mark.parametrize("name", ["a stack in one launch", "groups of rows", "residual"])
def test_a_wait_in_vain_ends_with_an_error_and_the_state_as_it_was(name, monkeypatch):
    case = CASES[name]
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


def test_long_inputs_run_in_pieces(monkeypatch):
    case = Case(L=2, H=32, B=2, T=5)
    x, state = case.input()
    whole, last = case.run(x, state)
    monkeypatch.setattr(persistent_lstm._launch, "BUFFER_BYTES", 2 * 2 * 32 * 2 * 8)
    lengths = torch.tensor([5, 3], dtype=torch.int32)
    pieces, last_of_pieces = case.run(x, state)
    assert torch.equal(pieces, whole)
    assert torch.equal(last_of_pieces.C, last.C)
    ragged, _ = case.run(x, state, lengths=lengths)
    assert torch.equal(ragged[:3, 1], whole[:3, 1])


def test_weights_are_packed_once_for_any_number_of_rows(monkeypatch):
    calls = []
    pack = persistent_lstm._launch.pack_launch
    monkeypatch.setattr(
        persistent_lstm._launch, "pack_launch", lambda *given: calls.append(1) or pack(*given)
    )
    case = Case(L=1, H=32, B=1, T=1)
    weights = case.weights()
    for rows in (1, 2, 3, 9, 2):
        x, state = replace(case, B=rows).input()
        with scheduled():
            run_plan(replace(case, B=rows).plan, x, weights, state)
    assert len(calls) == len(case.plan.launches)


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


@pytest.mark.parametrize("rows", [1, 9])
def test_programs_record_when_they_wait(rows):
    case = Case(L=2, H=32, B=rows, T=3)
    x, state = case.input()
    with scheduled(fuzz=0.1):
        layers = by_layer(record(case.plan, x, case.weights(), state))
    assert [one.layer for one in layers] == [0, 1]
    assert all(one.step.p50 > 0 for one in layers)
