"""The GPU check's verdicts, with this machine standing in for a small GPU."""

from __future__ import annotations

import persistent_lstm._launch
import persistent_lstm.functional
import pytest
import torch

from benchmarks.gpu_check import correctness

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
    correctness.Case(1, 32, 2, 6, dtype="float32", I=20, chunks=3),
    correctness.Case(1, 16, 32, 2, split=False),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_right_kernels_pass(here, case):
    found = correctness.check(case)
    assert found["ok"], found
    assert max(found["errors"].values()) > 0


@pytest.mark.parametrize("case", CASES, ids=str)
def test_wrong_kernels_fail(here, case, monkeypatch):
    pack = persistent_lstm._launch._pack

    def spoiled(launch, weights):
        packed = pack(launch, weights)
        return packed._replace(w_hh=packed.w_hh * 1.1)

    monkeypatch.setattr(persistent_lstm._launch, "_pack", spoiled)
    assert not correctness.check(case)["ok"]


def test_nan_never_passes():
    nan = torch.tensor([float("nan"), 1.0])
    assert correctness.relative_error(nan, torch.ones(2)) == float("inf")
