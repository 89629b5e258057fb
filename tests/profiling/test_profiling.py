"""What is measured, and the arithmetic on it."""

from __future__ import annotations

import json
import math
import subprocess
from dataclasses import replace

import pytest
import torch
from persistent_lstm import DEVICES, lstm
from persistent_lstm.comparison import Comparison
from persistent_lstm.timing import Spread
from rich.console import Console

from streamasr.errors import ProfileError
from streamasr.profiling import (
    BACKENDS,
    Cell,
    Problem,
    Profile,
    Row,
    Settings,
    cells_of,
    floor_of,
    profile,
)
from streamasr.profiling.backends import CannotRun
from streamasr.profiling.environment import environment
from streamasr.profiling.floor import reload_bytes, shape_of
from streamasr.profiling.measure import Measured, measure
from streamasr.profiling.plot import check_plot, plot_latency
from streamasr.profiling.report import comparison_table, inside_table, notes, number, tables
from streamasr.profiling.sweep import Inside, plans

from ..conftest import relative_error

CPU = torch.device("cpu")
SMALL = Cell(2, 16, 1, 3, "float32", residual=True)
H200 = DEVICES["h200"]


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_all_combinations_timesteps_fastest():
    cells = cells_of([[1, 2], [16], [1], [4, 8]], "float32", False)
    assert [(c.layers, c.timesteps) for c in cells] == [(1, 4), (1, 8), (2, 4), (2, 8)]


@pytest.mark.parametrize("residual", [True, False])
def test_backends_compute_the_same(residual):
    problem = Problem(replace(SMALL, residual=residual, batch=2), CPU)
    y, _ = lstm(problem.x, problem.weights, problem.state, residual=residual, backend="reference")
    with torch.inference_mode():
        assert relative_error(BACKENDS["torch-eager"].build(problem)(), y) < 1e-5
        assert relative_error(BACKENDS["torch-cpu"].build(problem)()[0], y) < 1e-5
        stacked = BACKENDS["stacked-cpu"]
        assert stacked.cell(problem.cell).residual is False
        if not residual:
            assert relative_error(stacked.build(problem)()[0], y) < 1e-5


def test_a_layer_each_is_the_plain_stack_in_float16():
    backend = BACKENDS["cudnn-per-layer"]
    cell = backend.cell(Cell(2, 128, 8, 3, "bfloat16", residual=True))
    assert (cell.dtype, cell.residual) == ("float16", False)
    problem = Problem(cell, CPU)
    y, _ = lstm(problem.x, problem.weights, problem.state, backend="reference")
    with torch.inference_mode():
        assert relative_error(backend.build(problem)(), y) < 5e-3
    for wrong in (replace(cell, batch=4), replace(cell, hidden=64), replace(cell, hidden=2048)):
        with pytest.raises(CannotRun, match="cuDNN's persistent kernels need"):
            backend.build(Problem(replace(wrong, layers=1), CPU))


def test_measuring_takes_samples_until_the_budget_is_spent():
    calls = []
    measured = measure(lambda: calls.append(1), CPU, repeat=150, seconds=60)
    assert measured.samples == 150
    assert len(calls) == 150 + 11
    assert measured.chunk == measured.waited
    assert measured.chunk.p50 <= measured.chunk.p99 <= measured.chunk.max
    assert measured.kernels is None
    few = measure(lambda: None, CPU, repeat=150, seconds=0)
    assert few.samples == 10
    assert math.isnan(few.chunk.p99)


def test_the_floor_is_weights_once_and_exchanges():
    plan = Cell(4, 512, 1, 32, "bfloat16", residual=True).plan(H200, "triton")
    (launch,) = plan.launches
    # Four layers of W_ih and W_hh, 2048 x 512, two bytes each.
    assert reload_bytes(plan) == 4 * 2 * 2048 * 512 * 2
    floor = floor_of(plan, 32, 4e12, {shape_of(launch): 1000.0})
    assert floor.reload == pytest.approx(4.194304)
    assert floor.exchanges == pytest.approx(35.0)
    assert floor.chunk == pytest.approx(39.194304)


def test_the_floor_of_layers_one_by_one():
    plan = Cell(3, 1024, 64, 10, "bfloat16", residual=False).plan(H200)
    assert [one.layers for one in plan.launches] == [(0, 1), (1, 2), (2, 3)]
    # All three exchange alike: one latency serves them.
    assert len({shape_of(one) for one in plan.launches}) == 1
    floor = floor_of(plan, 10, 1e12, {shape_of(plan.launches[0]): 2000.0})
    assert floor.exchanges == pytest.approx(3 * 10 * 2.0)
    assert floor.reload == pytest.approx(3 * 2 * 4096 * 1024 * 2 / 1e6)


@pytest.mark.smoke
def test_a_profile_is_json_and_tables():
    cells = [SMALL, replace(SMALL, timesteps=1)]
    settings = Settings(cells, ["torch-cpu", "stacked-cpu"], 5, 0, "h200", "bfloat16")
    told = []
    result = profile(settings, told.append)
    assert len(told) == len(result.rows) == 4
    rows = json.loads(json.dumps(result.as_dict(), allow_nan=False))["rows"]
    assert [(row["backend"], row["timesteps"]) for row in rows] == [
        ("torch-cpu", 3),
        ("stacked-cpu", 3),
        ("torch-cpu", 1),
        ("stacked-cpu", 1),
    ]
    measured = result.rows[0].measured
    assert measured is not None
    assert rows[0]["us"]["p50"] == pytest.approx(measured.chunk.p50 / 3, abs=1e-3)
    assert rows[0]["us"]["p99"] is None
    assert [plan.dtype for plan in result.plans] == [torch.bfloat16]
    shown = "".join(map(text, tables(result, cells)))
    assert "2 x 16 residual float32, 1 row, 3 timesteps a chunk" in shown
    assert "stacked-cpu (plain)" in shown
    assert "too few for a p99" in "".join(notes(result))


def text(table) -> str:
    console = Console(width=100)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_a_backend_that_fails_does_not_stop_the_others(monkeypatch):
    def fail(problem):
        raise RuntimeError("CUDA out of memory.\nand much more")

    monkeypatch.setitem(BACKENDS, "torch-cpu", replace(BACKENDS["torch-cpu"], build=fail))
    result = profile(Settings([SMALL], ["torch-cpu", "stacked-cpu"], 3, 0), lambda _: None)
    assert result.rows[0].as_dict()["not_run"] == "RuntimeError: CUDA out of memory."
    assert result.rows[1].measured is not None
    assert "torch-cpu: RuntimeError: CUDA out of memory." in list(notes(result))


def test_the_share_of_the_floor():
    plan = Cell(4, 512, 1, 32, "bfloat16", residual=True).plan(H200, "triton")
    floor = floor_of(plan, 32, 4e12, {shape_of(plan.launches[0]): 1000.0})
    chunk = Spread(2 * floor.chunk, *(3 * floor.chunk,) * 3)
    measured = Measured(900.0, 5.0, chunk, chunk, 100, 2)
    cell = Cell(4, 512, 1, 32, "bfloat16", residual=True)
    row = Row(BACKENDS["triton"], cell, measured, floor)
    assert row.as_dict()["floor_share"] == pytest.approx(0.5)
    assert row.as_dict()["floor_us"] == pytest.approx(floor.chunk / 32, abs=1e-3)
    assert row.as_dict()["kernels_per_chunk"] == 2


def test_a_plan_for_several_chunk_lengths_is_shown_once():
    cells = cells_of([[4], [512], [1], [1, 8, 32]], "bfloat16", True)
    (plan,) = plans(Settings(cells, [], 1, 0, "h200", "bfloat16"))
    assert plan.device == H200


@pytest.mark.parametrize(
    ("value", "shown"),
    [(1234.5, "1234"), (99.96, "100"), (12.34, "12.3"), (0.5, "0.50"), (math.nan, "–")],
)
def test_numbers(value, shown):
    assert number(value) == shown


def test_layers_inside_are_a_table():
    from ..persistent_lstm.test_timing import by_layer, decode, stamps_of, toy_plan

    plan = toy_plan(layers=1, programs=2)
    layers = by_layer(decode(plan, [stamps_of([0, 0], [[(700, 200, 100)] * 3] * 2)]))
    shown = text(inside_table(Inside(SMALL, "triton", layers)))
    assert all(value in shown for value in ("1.00", "70%", "20%", "10%"))
    inside = Profile(inside=[Inside(SMALL, "triton", layers)]).as_dict()["inside"]
    assert isinstance(inside, list)
    assert inside[0]["layers"][0]["step_ns"]["p50"] == pytest.approx(1000)
    assert inside[0]["layers"][0]["wait_h_share"] == pytest.approx(0.2)


def test_the_model_stands_beside_what_was_measured():
    compared = [Comparison("wait h", 100.0, 125.0), Comparison("timestep", 800.0, 1000.0)]
    inside = Inside(SMALL, "triton", [], compared)
    shown = text(comparison_table(inside))
    assert "ns by the model of its machine code and measured" in shown
    assert all(value in shown for value in ("wait h", "100", "125", "800", "1000", "1.25"))
    found = Profile(inside=[inside]).as_dict()["inside"]
    assert isinstance(found, list)
    assert found[0]["compared_ns"][0] == {"part": "wait h", "modelled": 100.0, "measured": 125.0}


def test_a_plot_with_and_without_p99(tmp_path):
    cells = [SMALL, replace(SMALL, timesteps=1)]
    result = profile(Settings(cells, ["torch-cpu"], 3, 0), lambda _: None)
    plot_latency(result, cells, tmp_path / "latency.png")
    assert (tmp_path / "latency.png").read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_a_line_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr("streamasr.profiling.plot.find_spec", lambda _: None)
    with pytest.raises(ProfileError, match=r'pip install "streamasr\[profile\]"'):
        check_plot(tmp_path / "latency.png")


def test_the_environment_names_versions_and_commit(monkeypatch):
    found = environment()
    assert found["versions"]["torch"] == torch.__version__
    assert found["device"]

    def no_git(*_, **__):
        raise FileNotFoundError("git")

    monkeypatch.setattr(subprocess, "run", no_git)
    assert environment()["commit"] is None
