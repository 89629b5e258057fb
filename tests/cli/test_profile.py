"""``streamasr profile`` on a machine without a GPU."""

from __future__ import annotations

import json

import pytest
import torch

QUICK = ("-L", 1, "-H", 16, "-T", "1,2", "--repeat", 3, "--seconds", 0)


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_the_last_line_is_one_object_and_tables_go_to_stderr(run):
    done = run("profile", *QUICK, "--plain")
    assert done.code == 0
    assert len(done.out.splitlines()) == 1
    found = json.loads(done.out)
    assert {"device", "versions", "commit", "settings", "rows", "floor", "plans"} <= found.keys()
    assert found["settings"]["timesteps"] == [1, 2]
    assert found["settings"]["dtype"] == "float32"
    backends = ["torch-eager", "torch-cpu", "int8-cpu", "stacked-cpu"]
    assert [row["backend"] for row in found["rows"]] == backends * 2
    assert all(row["us"]["p50"] > 0 for row in found["rows"])
    assert not any(row["residual"] for row in found["rows"])
    assert "µs per timestep" in " ".join(done.err.split())
    assert "1 x 16 plain float32, 1 row, 2 timesteps a chunk" in " ".join(done.err.split())


def test_quiet_leaves_only_the_object(run):
    done = run("profile", *QUICK, "--quiet", "--backends", "torch-cpu", "--for", "h200")
    assert done.err == ""
    assert "on H200" in json.loads(done.out)["plans"][0]


def test_the_plan_of_a_named_gpu(run):
    done = run("profile", *QUICK, "--for", "A100", "--backends", "torch-cpu", "-H", 512)
    assert "1 x 512 residual LSTM, bfloat16, batch 1, on A100" in done.err
    assert "not compiled: kernels cannot be compiled while TRITON_INTERPRET is set" in done.err
    done = run("profile", *QUICK, "--for", "l4", "--backends", "torch-cpu", "-H", 24)
    assert "does not fit: H = 24 is no multiple of 16" in done.err


def test_a_plot(run, tmp_path):
    done = run("profile", *QUICK, "--plot", tmp_path / "latency.svg")
    assert done.code == 0
    assert "<svg" in (tmp_path / "latency.svg").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--for", "h900"), "unknown GPU 'h900': choose of h200, h100, a100"),
        (("-T", "0"), "--timesteps: '0' is not a whole number from 1 on"),
        (("-B", "1,x"), "--batch: 'x' is not a whole number"),
        (("-H", ""), "--hidden: there is an empty item"),
        (("--backends", "jax"), "unknown backend 'jax': choose of torch-eager, torch-cpu"),
        (("--backends", "triton"), "backend triton needs an NVIDIA GPU, and torch sees none"),
        (("--trace", "trace.json"), "it needs an NVIDIA GPU, and triton among"),
        (("--plot", "none/latency.png"), "there is no folder none"),
        (("--plot", "latency.gif"), "a plot is one of .png, .svg, .pdf"),
    ],
)
def test_wrong_usage_is_one_line(run, arguments, message):
    done = run("profile", *arguments)
    assert done.code == 2
    assert done.out == ""
    assert len(done.err.splitlines()) == 1
    assert message in done.err


@pytest.mark.parametrize("option", ["--repeat", "--seconds"])
def test_numbers_that_make_no_sense(run, option):
    assert run("profile", option, "-1").code == 2
