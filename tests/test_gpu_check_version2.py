"""What the GPU check says of version 2 of the kernels, with this machine standing in for a GPU."""

from __future__ import annotations

import json
import sys

import persistent_lstm.functional
import pytest
import torch
from persistent_lstm._fragment import ptx

from benchmarks.gpu_check import __main__ as command
from benchmarks.gpu_check import correctness, version2
from benchmarks.gpu_check.pieces import pieces

from .persistent_lstm.cogrid import scheduled

CPU = torch.device("cpu")


@pytest.fixture
def here(monkeypatch, toy_gpu):
    for module in (correctness, version2):
        monkeypatch.setattr(module, "GPU", CPU)
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


def test_cases_are_checked_and_their_times_looked_into(here):
    found = version2.check(correctness.Case(2, 32, 3, 3, residual=True, ragged=True))
    assert found["ok"], found
    assert found["kernels"] == ["fragment"]


def small(monkeypatch):
    """Let every part be one of a small stack, and the clock of a GPU be a constant."""
    timing = version2.Timing(1, 32, 1, 2)
    monkeypatch.setattr(version2, "TIMINGS", [timing])
    monkeypatch.setattr(version2, "CASES", [correctness.Case(1, 32, 1, 2)])

    def microseconds(run, seconds):
        run()
        return {"p50": 4.0, "p90": 6.0, "least": 2.0}

    monkeypatch.setattr(version2, "graph_microseconds", microseconds)
    monkeypatch.setattr(version2, "inside", lambda rows: {"rows": rows, "ns": [], "ok": True})
    monkeypatch.setattr(version2, "_cases", lambda *_: [version2.check(version2.CASES[0])])
    monkeypatch.setattr(correctness, "graph", lambda _: {"ok": True})
    monkeypatch.setattr(correctness, "failures", lambda _: [("x", {"ok": True})])
    monkeypatch.setattr(version2.soak, "soak", lambda *given: {"given": given[:3], "ok": True})
    monkeypatch.setattr(version2, "pieces", lambda _: [("quad", PIECES["quad bf16"])])
    monkeypatch.setattr(version2, "Case", lambda *_, **__: correctness.Case(1, 32, 1, 2))


def test_times_stand_beside_each_other(here, monkeypatch):
    small(monkeypatch)
    found = version2.measure(version2.TIMINGS[0])
    rows = found["us_per_timestep"]
    assert rows["version 2"] == {"p50": 2.0, "p90": 3.0, "least": 1.0}
    assert rows.keys() == {"version 2", "version 2, rounded", "version 1", "cuDNN"}


def test_the_command_writes_each_part_as_it_ends(here, monkeypatch, tmp_path):
    small(monkeypatch)
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
    arguments = ["--only", "version2", "--minutes", "1", "--soak", "1000", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["gpu_check", *arguments])
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 0
    (path,) = tmp_path.glob("toy-*.json")
    found = json.loads(path.read_text())
    parts = ("pieces", "first", "graph", "timings", "inside", "correctness", "failures", "soak")
    assert [name for name in found if name.startswith("version2_")] == [
        f"version2_{part}" for part in parts
    ]
    assert len(written) == len(parts) + 1
    assert found["version2_pieces"]["quad"]["wrong"] == 0
    assert [one["given"] for one in found["version2_soak"]] == [
        [rows, 1000, "triton2"] for rows in (1, 8, 64)
    ]


def test_what_there_is_no_time_for_is_named(here, monkeypatch):
    small(monkeypatch)
    found = dict(version2.parts(version2.Clock(0), command.attempt, jobs=1, steps=1000))
    assert found["timings"] == [{"not_run": str(version2.TIMINGS[0])}]
    assert {"not_run": "soak, 64 rows"} in found["soak"]
    assert found["pieces"]["quad"]["ok"]
