"""The way through a profile where there is a GPU: kernels interpreted, a clock that counts."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import pytest
import torch
from persistent_lstm import Device
from persistent_lstm._launch import run_plan

from streamasr.profiling import BACKENDS, backends

from ..persistent_lstm.cogrid import scheduled

TOY = Device("toy", 90, 4, 227 * 1024)
SIZES = ("-L", 2, "-H", 32, "-T", "3,2", "--dtype", "bfloat16", "--repeat", 2, "--seconds", 0)


@pytest.fixture(autouse=True)
def toy_gpu(monkeypatch):
    """The CPU stands in for a GPU of four multiprocessors that reads 1 GB/s."""

    def build(problem, kernels):
        arguments = (problem.cell.plan(TOY, kernels), problem.x, problem.weights, problem.state)
        return lambda: run_plan(*arguments)

    monkeypatch.setattr(backends, "gpu", lambda: torch.device("cpu", 0))
    monkeypatch.setattr("streamasr.profiling.sweep.device_of", lambda _: TOY)
    monkeypatch.setattr("streamasr.profiling.cuda.read_bandwidth", lambda _: 1e9)
    monkeypatch.setattr("streamasr.profiling.measure.WARM_UP", 0)
    monkeypatch.setattr("streamasr.profiling.measure.FEWEST_SAMPLES", 1)
    monkeypatch.setattr("persistent_lstm.exchange.FEWEST_EXCHANGES", 3)
    monkeypatch.setattr("persistent_lstm.exchange.MOST_EXCHANGES", 3)
    found = replace(BACKENDS["triton"], build=partial(build, kernels="triton"))
    monkeypatch.setitem(BACKENDS, "triton", found)
    with scheduled():
        yield


def test_rows_floor_plan_and_a_look_inside(run, tmp_path):
    trace = tmp_path / "trace.json"
    done = run("profile", *SIZES, "--backends", "triton,torch-cpu", "--trace", trace)
    assert done.code == 0
    found = json.loads(done.out)
    ours, torch_cpu = found["rows"][:2]
    # Two layers of two matrices, 128 x 32, two bytes each, at 1 GB/s.
    assert ours["floor_reload_us"] == pytest.approx(2 * 2 * 128 * 32 * 2 / 1e3 / 3, abs=1e-3)
    (exchange,) = found["floor"]["exchanges"]
    assert ours["floor_exchanges_us"] == pytest.approx(exchange["us"] * (3 + 1) / 3, abs=1e-3)
    assert ours["floor_share"] > 0
    assert "floor_us" not in torch_cpu
    assert [(one["timesteps"], one["kernels"]) for one in found["inside"]] == [
        (3, "triton"),
        (2, "triton"),
    ]
    assert [one["source"] for one in found["inside"][0]["layers"]] == ["x", "layer 0"]
    assert "on toy" in found["plans"][0]
    # Here the kernels are interpreted: a GPU's profile has the model beside what it measured.
    assert "no model: kernels cannot be compiled while TRITON_INTERPRET" in done.err
    assert all(word in done.err for word in ("of floor", "waits for input", "for own h"))
    spans = [e for e in json.loads(trace.read_text())["traceEvents"] if e["ph"] == "X"]
    assert len(spans) == 4 * 3 * 3


def test_a_plot_shows_the_floor(run, tmp_path):
    picture = tmp_path / "latency.svg"
    done = run("profile", *SIZES, "--backends", "triton", "--plot", picture)
    assert done.code == 0
    assert "<svg" in picture.read_text()


def test_no_trace_of_what_does_not_fit(run):
    done = run("profile", *SIZES, "-H", 24, "--backends", "triton", "--trace", "trace.json")
    assert done.code == 2
    assert "no trace of it: H = 24 is no multiple of 16" in done.err


def test_kernels_that_give_up_leave_a_note(run, monkeypatch, tmp_path):
    def fail(*_):
        raise RuntimeError("out of memory")

    monkeypatch.setattr("streamasr.profiling.sweep.record", fail)
    monkeypatch.setattr("streamasr.profiling.floor.exchange_nanoseconds", fail)
    trace = tmp_path / "trace.json"
    done = run("profile", *SIZES, "-T", 1, "--backends", "triton", "--trace", trace)
    assert done.code == 1
    assert json.loads(done.out)["rows"][0]["us"]["p50"] > 0
    assert "no floor: RuntimeError: out of memory" in done.err
    assert "no times from inside: RuntimeError: out of memory" in done.err
    assert "not written, for no times were recorded" in done.err
