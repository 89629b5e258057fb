"""Reading the times that kernels record, against times that are known."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from persistent_lstm import (
    Device,
    LSTMError,
    LSTMState,
    PersistentLSTM,
    Plan,
    make_plan,
)
from persistent_lstm.timing import Spread, by_layer, decode, record, trace_events, write_trace

from .cogrid import scheduled

EPOCH = 1_790_000_000_123_456_789  # nanoseconds since 1970: too many for float64


def toy_plan(layers=3, hidden=32, batch=1, programs=6) -> Plan:
    device = Device("toy", 90, programs, 227 * 1024)
    return make_plan(layers, hidden, batch, torch.bfloat16, device)


def stamps_of(starts, spans, *, cycles_per_ns=2):
    """Times (P, T, 3) of waits and work in ns, after each other, as programs would record them."""
    starts, spans = torch.tensor(starts), torch.tensor(spans)
    programs, steps = spans.shape[:2]
    ends = spans.flatten(1).cumsum(1).view_as(spans)
    found = torch.zeros(programs, steps + 2, 3, dtype=torch.int64)
    # Cycle counters of different multiprocessors are unrelated.
    counters = 10**15 + 10**9 * torch.arange(programs)
    found[:, 0] = torch.stack([EPOCH + starts, counters, torch.arange(programs) + 40], 1)
    found[:, 1:-1] = counters[:, None, None] + cycles_per_ns * ends
    last = ends[:, -1, -1] + 100
    found[:, -1] = torch.stack(
        [EPOCH + starts + last, counters + cycles_per_ns * last, torch.arange(programs) + 40], 1
    )
    return found


@given(st.data(), st.integers(1, 5), st.sampled_from([1, 2, 3]))
def test_times_come_back_on_one_clock(data, steps, cycles_per_ns):
    plan = toy_plan()
    programs = plan.launches[0].programs
    span = st.integers(0, 10**6)
    starts = data.draw(st.lists(span, min_size=programs, max_size=programs))
    row = st.lists(st.tuples(span, span, span), min_size=steps, max_size=steps)
    spans = data.draw(st.lists(row, min_size=programs, max_size=programs))
    (one,) = decode(plan, [stamps_of(starts, spans, cycles_per_ns=cycles_per_ns)])
    first = min(starts)
    assert one.start.tolist() == [start - first for start in starts]
    durations = torch.stack(
        [one.input - one.before, one.state - one.input, one.published - one.state], dim=2
    )
    torch.testing.assert_close(durations, torch.tensor(spans).double(), atol=1e-3, rtol=0)


def test_layers_say_what_they_waited_for():
    plan = toy_plan()
    parts = plan.launches[0].programs // 3
    spans = []
    for layer in range(3):
        # Layer 1 mostly waits for layer 0, the others for themselves; the first step loads weights.
        later = (70, 20, 10) if layer == 1 else (5, 85, 10)
        spans += [[(9000, 1, 1)] + [later] * 4] * parts
    layers = by_layer(decode(plan, [stamps_of([0] * len(spans), spans)]))
    assert [one.layer for one in layers] == [0, 1, 2]
    assert [one.source for one in layers] == ["x", "layer 0", "layer 1"]
    for one in layers:
        assert one.step == pytest.approx((100,) * 4)
        assert one.timesteps == pytest.approx((100,) * 4)
        assert one.start_up == pytest.approx((9002,) * 4)
        assert sum(one.shares) == pytest.approx(1)
    assert layers[1].shares == pytest.approx((0.7, 0.2, 0.1))
    assert layers[2].wait_h.p50 == pytest.approx(85)
    assert "70% of a timestep for layer 0" in str(layers[1])


def test_the_slowest_program_sets_the_pace_of_its_layer():
    plan = toy_plan(layers=1, programs=2)
    spans = [[(0, 0, 10)] * 3, [(0, 0, 10), (0, 40, 10), (0, 0, 10)]]
    (layer,) = by_layer(decode(plan, [stamps_of([0, 5], spans)]))
    # The second program is done at 15, 65 and 75.
    assert layer.timesteps.max == pytest.approx(50)
    assert layer.timesteps.p50 == pytest.approx(10)
    assert layer.programs.p50 == pytest.approx(0)
    assert layer.programs.max == pytest.approx(20)


def test_row_groups_and_pieces_are_told_apart():
    plan = toy_plan(layers=1, batch=130, programs=2)
    assert plan.row_groups(plan.launches[0]) == 2
    pieces = [stamps_of([n * 1000] * 2, [[(1, 2, 3)] * T] * 2) for n, T in enumerate((3, 3, 2, 2))]
    times = decode(plan, pieces)
    assert [one.first_timestep for one in times] == [0, 0, 3, 3]
    (layer,) = by_layer(times)
    assert layer.step == pytest.approx((6,) * 4)
    with pytest.raises(LSTMError, match="do not fit a plan of 2"):
        decode(plan, pieces[:3])


def test_one_timestep_has_a_start_and_no_steps():
    plan = toy_plan(layers=1, programs=2)
    (layer,) = by_layer(decode(plan, [stamps_of([0, 0], [[(7, 2, 1)]] * 2)]))
    assert layer.start_up.max == pytest.approx(10)
    assert all(map(math.isnan, (*layer.step, *layer.timesteps, *layer.programs, *layer.shares)))


def test_a_program_that_gave_up_has_no_times():
    stamps = stamps_of([0, 0], [[(1, 1, 1)] * 3] * 2)
    stamps[1, 2:4] = 0
    with pytest.raises(LSTMError, match="program 1 are not in order: it gave up"):
        decode(toy_plan(layers=1, programs=2), [stamps])


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=300))
def test_percentiles_are_values_by_nearest_rank(values):
    spread = Spread.of(torch.tensor(values, dtype=torch.float64))
    ordered = sorted(values)
    for q, found in ((50, spread.p50), (90, spread.p90), (99, spread.p99)):
        assert found in values
        assert sum(value <= found for value in ordered) >= q * len(values) / 100
        assert sum(value < found for value in ordered) < q * len(values) / 100
    assert spread.max == ordered[-1]


@pytest.mark.parametrize("layers", [1, 3])
def test_kernels_record_times_end_to_end(layers, tmp_path):
    torch.manual_seed(0)
    plan = toy_plan(layers)
    weights = [
        type(w)(*(t.detach().bfloat16() for t in w)) for w in PersistentLSTM(32, 32, layers).weights
    ]
    zeros = torch.zeros(layers, 1, 32)
    with scheduled(fuzz=0.1):
        times = record(plan, torch.randn(4, 1, 32), weights, LSTMState(zeros, zeros))
    found = by_layer(times)
    assert [one.layer for one in found] == list(range(layers))
    assert all(one.step.p50 > 0 for one in found)
    write_trace(times, tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert events == trace_events(times)
    check_trace(events, programs=plan.launches[0].programs, layers=layers, steps=4)


def check_trace(events, *, programs, layers, steps):
    """Against the Trace Event Format: keys of complete and metadata events, spans in order."""
    spans = [event for event in events if event["ph"] == "X"]
    names = [event for event in events if event["ph"] == "M"]
    assert len(events) == len(spans) + len(names)
    assert len(spans) == programs * steps * 3
    assert all({"ph", "ts", "dur", "pid", "tid", "name"} <= event.keys() for event in spans)
    assert all(event["dur"] >= 0 and event["ts"] >= 0 for event in spans)
    assert {event["name"] for event in spans} == {"load weights", "wait input", "wait h", "cell"}
    processes = {e["pid"]: e["args"]["name"] for e in names if e["name"] == "process_name"}
    assert processes == {layer + 1: f"layer {layer}" for layer in range(layers)}
    tracks = {(event["pid"], event["tid"]) for event in spans}
    assert tracks == {(e["pid"], e["tid"]) for e in names if e["name"] == "thread_name"}
    assert len(tracks) == programs
    for track in tracks:
        own = [event for event in spans if (event["pid"], event["tid"]) == track]
        for one, following in pairwise(own):
            assert following["ts"] == pytest.approx(one["ts"] + one["dur"], abs=1e-3)
        assert [event["args"]["timestep"] for event in own[::3]] == list(range(steps))
