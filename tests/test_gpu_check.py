"""The GPU check's verdicts, with this machine standing in for a small GPU."""

from __future__ import annotations

import json
import sys

import numpy as np
import persistent_lstm._launch
import persistent_lstm.functional
import pytest
import torch

import streamasr.profiling
from benchmarks.gpu_check import __main__ as command
from benchmarks.gpu_check import correctness, search
from benchmarks.gpu_check.chunk import chunk_latency
from streamasr.decoding.gpu import GpuSearch

from .persistent_lstm.cogrid import scheduled


@pytest.fixture
def here(monkeypatch, toy_gpu):
    monkeypatch.setattr(correctness, "GPU", torch.device("cpu"))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(correctness, "plan_for", persistent_lstm.functional.plan_for)
    with scheduled(fuzz=0.0):
        yield


CASES = [
    correctness.Case(2, 32, 3, 5, residual=True, ragged=True),
    correctness.Case(1, 32, 2, 6, I=20, chunks=3),
    correctness.Case(1, 32, 17, 2, split=False),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_right_kernels_pass(here, case):
    found = correctness.check(case)
    assert found["ok"], found
    assert max(found["errors"].values()) > 0


@pytest.mark.parametrize("case", CASES, ids=str)
def test_wrong_kernels_fail(here, case, monkeypatch):
    pack = persistent_lstm._launch.pack_launch

    def spoiled(plan, launch, weights):
        packed = pack(plan, launch, weights)
        return packed._replace(bias=packed.bias * 1.1)

    monkeypatch.setattr(persistent_lstm._launch, "pack_launch", spoiled)
    assert not correctness.check(case)["ok"]


def test_nan_never_passes():
    nan = torch.tensor([float("nan"), 1.0])
    assert correctness.relative_error(nan, torch.ones(2)) == float("inf")


def test_the_benchmark_and_its_plot(monkeypatch, tmp_path):
    cell = streamasr.profiling.Cell
    monkeypatch.setattr(streamasr.profiling, "Cell", lambda *sizes: cell(1, 16, 1, 1, *sizes[4:]))
    found = command.attempt("benchmark", lambda: command.benchmark(0.01, tmp_path / "a.png"))
    assert found["ok"], found
    assert {row["backend"] for row in found["rows"]} >= {"torch-eager"}
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_chunks_are_timed_and_say_the_same():
    found = chunk_latency("torch", 320, rounds=1, samples=3)
    assert found["chunks"] > 10
    assert 0 < found["ms"]["p50"] <= found["ms"]["p99"]
    assert len(found["texts"]) == 3
    assert all(found["texts"].values())


TINY = search.Problem(words=40, bigrams=80, beam=50, threshold=9.0, steps=12, streams=(1, 2))


def test_the_search_is_compared_with_the_cpus_and_not_timed_without_a_gpu():
    found = search.search(TINY, torch.device("cpu"))
    assert found["ok"], found
    assert found["parts"]["correctness"]["same_words"] == 8
    assert found["cpu"]["hypotheses_per_second"] > found["cpu"]["timesteps_per_second"]
    assert (found["device"], found["rows"]) == ("interpreter", [])
    assert found["parts"].keys() == {"correctness"}
    json.dumps(found)


class Launches:
    """Stands in for a captured timestep: launches its kernels one by one."""

    def __init__(self, ours, *_):
        self.step, self.compact = ours.step, ours.compact


class Nothing:
    """Stands in for a captured timestep that does nothing."""

    def __init__(self, *_):
        self.step = self.compact = lambda *_: None


def test_a_graph_is_compared_and_timed_as_on_a_gpu(monkeypatch):
    """The clock's figures are dropped: they are this machine's."""
    monkeypatch.setattr("streamasr.decoding.gpu.CapturedStep", Launches)
    for name in ("synchronize", "reset_peak_memory_stats", "max_memory_allocated"):
        monkeypatch.setattr(torch.cuda, name, lambda _: 0)
    graph, spelled = search.random_graph(TINY)
    ours = GpuSearch(graph, device="cpu", **TINY.limits)
    log_probs = np.stack([search.posteriors(TINY, spelled, seed)[:4] for seed in range(2)])
    assert search.capture(ours, log_probs) == {"said": "", "ok": True}
    row = search.rate(ours, log_probs, 3)
    assert row["streams"] == 3
    assert row["hypotheses_per_second"] > row["timesteps_per_second"] > 0
    assert row["state_bytes_per_stream"] < 50_000
    monkeypatch.setattr("streamasr.decoding.gpu.CapturedStep", Nothing)
    assert not search.capture(ours, log_probs)["ok"]


def test_a_wrong_search_is_found(monkeypatch):
    advance = GpuSearch.advance
    monkeypatch.setattr(
        GpuSearch, "advance", lambda self, x, *rest: advance(self, x.roll(1, dims=2), *rest)
    )
    found = search.search(TINY, torch.device("cpu"))
    assert not found["ok"]
    assert not found["parts"]["correctness"]["ok"]


def test_a_part_that_fails_is_part_of_the_results(capsys):
    found = command.attempt("broken", lambda: {}["nothing"])
    assert found["ok"] is False
    assert found["error"] == "KeyError: 'nothing'"
    assert "WRONG" in capsys.readouterr().err


def test_the_environment_is_known_even_without_streamasr(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA Toy")
    assert {"device", "versions", "commit"} == command._environment().keys()
    monkeypatch.setitem(sys.modules, "streamasr.profiling.environment", None)
    assert command._environment()["device"] == "NVIDIA Toy"
