"""What the GPU check says of the kernels, with this machine standing in for a GPU."""

from __future__ import annotations

import json
import sys
from concurrent.futures import Future
from dataclasses import replace

import persistent_lstm.functional
import pytest
import torch
from persistent_lstm import lstm
from persistent_lstm._fragment_parts import ptx
from persistent_lstm._wide import counters

from benchmarks.gpu_check import __main__ as command
from benchmarks.gpu_check import chunk, correctness, parts, soak, timings
from benchmarks.gpu_check.pieces import pieces

from .persistent_lstm.cogrid import scheduled

CPU = torch.device("cpu")


@pytest.fixture
def here(monkeypatch, toy_gpu):
    for module in (correctness, parts):
        monkeypatch.setattr(module, "GPU", CPU)
    for module in (correctness, timings):
        monkeypatch.setattr(module, "plan_for", persistent_lstm.functional.plan_for)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    with scheduled(fuzz=0.0):
        yield


PIECES = dict(pieces(CPU))


@pytest.mark.parametrize("name", PIECES)
def test_each_piece_is_compared_with_its_stand_in(name):
    with scheduled():
        found = PIECES[name]()
    assert found["ok"], found
    json.dumps(found)


def test_a_counter_that_tells_too_early_is_found(monkeypatch):
    monkeypatch.setattr(counters, "wait_for", lambda _, __, limit: limit)
    with scheduled():
        assert not PIECES["wait_for and arrive"]()["ok"]


def tripled(function):
    """Return what computes something else."""

    def wrong(*given):
        found = function(*given)
        found = found if isinstance(found, tuple) else (found,)
        return tuple(one * 3 + 1 for one in found)

    return wrong


@pytest.mark.parametrize(
    ("piece", "name"),
    [
        ("exp2", "exp2 bf16"),
        ("reciprocal", "reciprocal bf16"),
        ("quad", "quad bf16"),
        ("half_columns", "half_columns bf16"),
        ("split_word", "split_word f16"),
        ("pair_word", "pair_word bf16"),
        ("word_values", "word_values f16"),
        ("mma", "mma bf16"),
        ("sum_over_warps", "sum_over_warps, 8 units"),
        ("moments_over_warps", "moments_over_warps, rounded"),
        ("poll", "poll"),
        ("settle", "settle, a word that never comes"),
    ],
)
def test_a_wrong_piece_is_found(piece, name, monkeypatch):
    wrong = tripled(getattr(ptx, piece))
    single = piece in ("exp2", "reciprocal", "half_columns", "split_word", "pair_word")
    monkeypatch.setattr(ptx, piece, (lambda *given: wrong(*given)[0]) if single else wrong)
    with scheduled():
        assert not PIECES[name]()["ok"]


def test_what_a_gpu_takes_is_known(here):
    assert correctness.fits(correctness.Case(2, 32, 3, 3), "triton")
    assert not correctness.fits(correctness.Case(2, 24, 3, 3), "triton")
    assert ("triton", False) in timings.Timing(1, 32, 1, 2).variants()


def test_times_stand_beside_each_other(here, monkeypatch):
    def microseconds(run, seconds):
        run()
        return {"p50": 4.0, "p90": 6.0, "least": 2.0}

    monkeypatch.setattr(timings, "graph_microseconds", microseconds)
    found = timings.measure(timings.Timing(1, 32, 1, 2))
    rows = found["us_per_timestep"]
    assert rows["triton"] == {"p50": 2.0, "p90": 3.0, "least": 1.0}
    assert rows.keys() >= {"triton", "triton, rounded", "cuDNN"}
    assert found["ok"]
    monkeypatch.setattr(timings.Timing, "cudnn", lambda _: lambda: 1 / 0)
    assert not timings.measure(timings.Timing(1, 32, 1, 2))["ok"]


def test_a_timestep_is_looked_into(here, monkeypatch):
    monkeypatch.setattr("persistent_lstm.exchange.FEWEST_EXCHANGES", 3)
    monkeypatch.setattr("persistent_lstm.exchange.MOST_EXCHANGES", 3)
    small = correctness.Case(1, 32, 2, 4)
    monkeypatch.setattr(timings, "Case", lambda *_, **__: small)
    found = timings.inside(2)
    assert found["ns"][0]["step"] > 0
    assert timings.exchange(2)["ns"] > 0


def small_soak(monkeypatch):
    monkeypatch.setattr(soak, "CHUNK", 2)
    monkeypatch.setattr(soak, "Case", lambda _, __, B, T: correctness.Case(1, 32, B, T))


def test_a_soak_wants_the_same_bits_each_time(here, monkeypatch):
    small_soak(monkeypatch)
    found = soak.soak(2, 8, "triton")
    assert found["ok"], found
    assert found["timesteps"] == 8
    assert found["wrong"] == 0
    calls = []

    def now_and_then(*given, **options):
        calls.append(1)
        y, state = lstm(*given, **options)
        if len(calls) == 11:  # after a first run and its check of each chunk
            y[1, 0, 3] += 1e-6
        return y, state

    monkeypatch.setattr(soak, "lstm", now_and_then)
    found = soak.soak(2, 8, "triton")
    assert found["wrong"] == 1
    assert not found["ok"]


class Here:
    """Runs in this process what a pool would."""

    def __init__(self, *_):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def submit(self, run, *given):
        done = Future()
        done.set_result(run(*given))
        return done


def test_the_whole_check_runs_and_writes_each_part_as_it_ends(here, monkeypatch, tmp_path):
    """A dry run of every part, sizes aside: only graphs and their clock are a GPU's alone."""
    small_soak(monkeypatch)
    small = correctness.Case(1, 32, 1, 2)
    for module in (correctness, timings, parts.correctness):
        monkeypatch.setattr(module, "Case", lambda *_, **__: small)
    monkeypatch.setattr(timings, "TIMINGS", [timings.Timing(1, 32, 1, 2)])
    monkeypatch.setattr(timings.Timing, "case", lambda _, split: replace(small, split=split))
    monkeypatch.setattr(correctness, "CASES", [small, replace(small, H=24)])
    monkeypatch.setattr(parts, "FIRST", [small])
    monkeypatch.setattr(parts, "SOAKED", (1,))
    monkeypatch.setattr(parts, "LOOKED_INTO", (1,))
    monkeypatch.setattr(parts, "_pool", Here)
    monkeypatch.setattr(parts, "pieces", lambda _: [("quad", PIECES["quad bf16"])])
    monkeypatch.setattr(correctness, "reference_speaks_for_cudnn", lambda: {"ok": True})
    monkeypatch.setattr(correctness, "graph", lambda *_: {"ok": True})
    monkeypatch.setattr(correctness, "failures", lambda _: iter([("x", {"ok": True})]))
    monkeypatch.setattr(timings, "graph_microseconds", lambda run, _: run() and {"p50": 1.0})
    monkeypatch.setattr("persistent_lstm.exchange.FEWEST_EXCHANGES", 3)
    monkeypatch.setattr("persistent_lstm.exchange.MOST_EXCHANGES", 3)
    monkeypatch.setattr(chunk, "chunk_latency", lambda *_, **named: {"texts": "a", **named})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA Toy")
    monkeypatch.setattr(command, "_environment", lambda: {"commit": "abc", "device": "toy"})
    written = []
    write = command.write
    monkeypatch.setattr(
        command,
        "write",
        lambda results, path: written.append(list(results)) or write(results, path),
    )
    monkeypatch.setattr(sys, "argv", ["gpu_check", "--soak", "8", "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        command.main()
    (path,) = tmp_path.glob("toy-*.json")
    found = json.loads(path.read_text())
    assert ended.value.code == 0, found
    assert [name for name in found if name in parts.PARTS] == parts.PARTS
    assert len(written) == len(parts.PARTS) + 1
    assert found["pieces"]["quad"]["wrong"] == 0
    assert [one["timesteps"] for one in found["soak"]] == [8] * len(found["soak"])
    assert {one["backend"] for one in found["correctness"]} >= {"triton"}
    assert not any("not_run" in one for name in parts.PARTS for one in listed(found[name]))


def listed(part):
    return part if isinstance(part, list) else []


def test_what_there_is_no_time_for_is_named(here, monkeypatch):
    monkeypatch.setattr(timings, "TIMINGS", [timings.Timing(1, 32, 1, 2)])
    monkeypatch.setattr(parts, "_pool", Here)
    monkeypatch.setattr(timings, "warm", lambda *_: {"ok": True})
    monkeypatch.setattr(correctness, "fits", lambda *_: True)
    wanted = ["timings", "soak", "inside"]
    left = parts.Clock(0)
    found = dict(parts.kernel_parts(wanted, left, command.attempt, jobs=1, steps=1000))
    assert found["timings"] == [{"not_run": str(timings.TIMINGS[0])}]
    assert {"not_run": "soak, triton, 64 rows"} in found["soak"]
    assert {"not_run": "exchange, 1 rows"} in found["inside"]
