"""One launch a chunk: the kernel makes its words, keeps its memory and gathers states itself."""

from __future__ import annotations

from dataclasses import replace

import persistent_lstm._launch
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from persistent_lstm import LaunchMemory, LSTMError, LSTMState, lstm, raise_pending_error
from persistent_lstm._launch import run_plan
from persistent_lstm._rows import fits_a_table, joined
from persistent_lstm.memory import HEADER, own_memory
from persistent_lstm.timing import by_layer, record

from ..conftest import relative_error
from .cases import CPU, FLOAT16, Case
from .cogrid import Deadlock, scheduled


def once(**sizes):
    return Case(**{"L": 2, "H": 32, "B": 2, "T": 2, "kernels": "triton-once", **sizes})


CASES = {
    "one step": once(B=1, T=1),
    "one layer, one step": once(L=1, B=1, T=1),
    "a stack": once(L=3, B=3, T=3),
    "four steps": once(L=1, B=1, T=4),
    "eight steps": once(L=1, B=1, T=8),
    "groups of rows": once(B=9),
    "rounded": once(H=64, B=1, split=False),
    "rounded, 17 rows, windows that overlap": once(L=1, H=48, B=17, split=False),
    "float16": once(dtype=FLOAT16, B=9, split=False),
    "groups of layers": once(L=3, programs=4),
    "narrow input": once(I=7),
    "narrow input, rounded": once(I=7, split=False),
    "wide input": once(I=70),
    "residual": once(L=3, T=3, residual=True),
    "residual, 9 rows": once(B=9, residual=True),
    "residual, rounded": once(H=48, B=8, residual=True, split=False),
    "residual in groups": once(L=3, residual=True, programs=4),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_it_gives_the_bits_of_two_launches(case):
    x, state = case.input()
    y, last = case.run(x, state)
    case.check(y, last, x, state)
    before, last_before = replace(case, kernels="triton").run(x, state)
    assert torch.equal(y, before)
    assert torch.equal(last.h, last_before.h)
    assert torch.equal(last.C, last_before.C)


def test_nothing_else_is_launched(monkeypatch):
    def launch(*_, **__):
        raise AssertionError("another kernel was launched")

    monkeypatch.setattr(persistent_lstm._launch, "prepare", launch)
    case = CASES["a stack"]
    x, state = case.input()
    case.check(*case.run(x, state), x, state)


@settings(max_examples=4)
@given(st.lists(st.sampled_from(["one step", "a stack", "narrow input"]), min_size=2, max_size=3))
def test_launches_of_any_sizes_share_a_memory(names):
    memory = LaunchMemory()
    for name in names:
        case = CASES[name]
        x, state = case.input()
        case.check(*case.run(x, state, memory=memory), x, state)
    words = memory.words(1, CPU)
    assert words[0] == len(names)
    # What the next launch works in is as good as new.
    capacity, turn = memory.capacity, len(names) % 2
    mine = words[HEADER + turn * capacity : HEADER + (turn + 1) * capacity]
    assert mine.eq(-1).all()


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", ["one layer, one step", "residual"])
def test_any_schedule_gives_the_same_bits(name, seed):
    case = CASES[name]
    x, state = case.input()
    y, last = case.run(x, state, fuzz=0.0)
    memory = LaunchMemory()
    for turn in range(2):
        with scheduled(seed=100 * turn + seed, fuzz=0.4):
            again, last_again = run_plan(case.plan, x, case.weights(), state, memory=memory)
        assert torch.equal(y, again)
        assert torch.equal(last.h, last_again.h)
        assert torch.equal(last.C, last_again.C)


def states_apart(state: LSTMState) -> list[LSTMState]:
    """The rows of a state: one of its own, one a part of others' memory."""
    rows = [
        LSTMState(state.h[:, b : b + 1], state.C[:, b : b + 1]) for b in range(state.h.shape[1])
    ]
    rows[0] = LSTMState(*(part.clone() for part in rows[0]))
    return rows


@pytest.mark.parametrize(
    "name", ["a stack", "groups of rows", "residual, rounded", "residual in groups"]
)
def test_states_of_rows_are_read_where_they_are(name, monkeypatch):
    case = CASES[name]
    x, state = case.input()
    y, last = case.run(x, state)
    lengths = torch.arange(case.B, dtype=torch.int32) % (case.T + 1)
    ragged, ragged_last = case.run(x, state, lengths=lengths)
    monkeypatch.setattr(persistent_lstm._launch, "joined", None)  # nothing is copied together
    rows = states_apart(state)
    again, last_again = case.run(x, rows)
    assert torch.equal(again, y)
    assert torch.equal(last_again.h, last.h)
    assert torch.equal(last_again.C, last.C)
    again, last_again = case.run(x, rows, lengths=lengths)
    for row, length in enumerate(lengths.tolist()):
        assert torch.equal(again[:length, row], ragged[:length, row])
    assert torch.equal(last_again.h, ragged_last.h)
    assert torch.equal(last_again.C, ragged_last.C)


def test_states_that_no_table_can_hold_are_copied():
    case = CASES["a stack"]
    x, state = case.input()
    y, _ = case.run(x, state)
    rows = states_apart(state)
    rows[1] = LSTMState(rows[1].h.double(), rows[1].C.double())
    assert not fits_a_table(rows)
    assert torch.equal(case.run(x, rows)[0], y)


@pytest.mark.parametrize("backend", ["triton-once", "triton", "torch", "reference"])
def test_every_backend_takes_rows_apart(toy_gpu, backend):
    case = once(residual=True)
    x, state = case.input()
    with torch.inference_mode(), scheduled():
        y, last = lstm(x, case.weights(), states_apart(state), residual=True, backend=backend)
        expected, expected_last = lstm(x, case.weights(), state, residual=True, backend=backend)
        nothing, same = lstm(
            x[:0], case.weights(), states_apart(state), residual=True, backend=backend
        )
    assert relative_error(y, expected) < 1e-6
    assert relative_error(last.h, expected_last.h) < 1e-6
    assert relative_error(last.C, expected_last.C) < 1e-6
    assert nothing.shape == (0, 2, 32)
    assert torch.equal(same.h, joined(states_apart(state)).h)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda rows: rows[:1], "1 states of rows, x has 2 rows"),
        (
            lambda rows: [*rows[:1], LSTMState(rows[0].h[:1], rows[0].C)],
            r"row 1: state h has shape",
        ),
    ],
)
def test_wrong_rows_are_named(spoil, message):
    case = once()
    x, state = case.input()
    with pytest.raises(LSTMError, match=message):
        lstm(x, case.weights(), spoil(states_apart(state)), backend="torch")


def test_rows_of_different_lengths_are_those_of_two_launches():
    for name in ("a stack", "residual, rounded"):
        case = replace(CASES[name], T=2, B=4)
        x, state = case.input()
        lengths = torch.tensor([2, 0, 1, 2], dtype=torch.int32)
        y, last = case.run(x, state, lengths=lengths)
        before, last_before = replace(case, kernels="triton").run(x, state, lengths=lengths)
        for row, length in enumerate(lengths.tolist()):
            assert torch.equal(y[:length, row], before[:length, row])
        assert torch.equal(last.h, last_before.h)
        assert torch.equal(last.C, last_before.C)


@pytest.mark.parametrize("where", ["input", "h", "C"])
@pytest.mark.parametrize("name", ["a stack"])
def test_a_nan_stays_in_its_row(name, where):
    case = replace(CASES[name], L=2)
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


def test_long_inputs_run_in_pieces(monkeypatch):
    case = once(T=5)
    x, state = case.input()
    whole, last = case.run(x, state)
    monkeypatch.setattr(persistent_lstm._launch, "BUFFER_BYTES", 2 * 2 * 32 * 2 * 8)
    pieces, last_of_pieces = case.run(x, states_apart(state))
    assert torch.equal(pieces, whole)
    assert torch.equal(last_of_pieces.C, last.C)


def test_a_missing_program_is_a_deadlock():
    case = CASES["a stack"]
    x, state = case.input()
    with pytest.raises(Deadlock, match="no program stored anything"):
        case.run(x, state, dropped=[1], memory=LaunchMemory())


@pytest.mark.parametrize("dropped", [1, 5])
def test_after_a_wait_in_vain_the_memory_is_made_anew(monkeypatch, dropped):
    case = CASES["a stack"]
    x, state = case.input()
    memory = LaunchMemory()
    case.run(x, state, memory=memory)
    used = memory.words(1, CPU)
    with monkeypatch.context() as patch:
        patch.setattr(persistent_lstm._launch, "POLL_LIMIT", 20)
        y, _ = case.run(x, state, dropped=[dropped], memory=memory)
    assert y.isnan().any()
    with pytest.raises(LSTMError, match="gave up: at timestep"):
        raise_pending_error(CPU)
    for _ in range(2):
        case.check(*case.run(x, state, memory=memory), x, state)
    assert memory.words(1, CPU) is not used


def test_a_stream_keeps_its_memory_and_a_graph_wants_its_own_ready(monkeypatch):
    assert own_memory(CPU) is own_memory(CPU)
    memory = LaunchMemory()
    before = memory.words(100, CPU)
    assert memory.words(memory.capacity, CPU) is before
    monkeypatch.setattr("persistent_lstm.memory._capturing", lambda _: True)
    assert own_memory(CPU) is not own_memory(CPU)
    assert memory.words(memory.capacity, CPU) is before
    with pytest.raises(LSTMError, match="run it once with that memory before it is captured"):
        memory.words(memory.capacity + 1, CPU)


def test_programs_record_when_they_wait():
    case = once(T=3)
    x, state = case.input()
    with scheduled(fuzz=0.1):
        layers = by_layer(record(case.plan, x, case.weights(), state))
    assert [one.layer for one in layers] == [0, 1]
    assert all(one.step.p50 > 0 for one in layers)
