"""The model beside what an H100 recorded (benchmarks/results/h100-2026-11-28.json)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from persistent_lstm import DEVICES, LSTMError, make_plan
from persistent_lstm.comparison import Comparison, compare, model_nanoseconds
from persistent_lstm.planning import make_wide_plan
from persistent_lstm.timing import LayerTimes, Spread

from .test_residency import run_python

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "h100-2026-11-28.json"
PARTS = ("wait_input", "wait_h", "cell")


def recorded(rows: int) -> list[LayerTimes]:
    """The layers as the GPU check recorded them: medians."""
    (found,) = [
        one
        for one in json.loads(RESULTS.read_text())["version2_inside"]
        if one["rows"] == rows and not one["residual"]
    ]
    layers = []
    for number, ns in enumerate(found["ns"]):
        spreads = {name: Spread(*(float(ns[name]),) * 4) for name in ("start_up", "step", *PARTS)}
        shares = tuple(ns[name] / ns["step"] for name in PARTS)
        layers.append(
            LayerTimes(
                layer=number,
                source="x",
                timesteps=spreads["step"],
                programs=spreads["wait_h"],
                shares=(shares[0], shares[1], shares[2]),
                **spreads,
            )
        )
    return layers


def test_parts_stand_beside_each_other():
    assert compare((200.0, 190.0, 380.0), recorded(1)) == [
        Comparison("wait input", 200.0, 204.5),
        Comparison("wait h", 190.0, 253.0),
        Comparison("cell", 380.0, 418.5),
        Comparison("timestep", 770.0, 901.5),
    ]


COMPILE = """
import json, sys, torch
from persistent_lstm import DEVICES, make_plan
from persistent_lstm.comparison import model_nanoseconds
sizes = [(4, 512, rows, torch.bfloat16, DEVICES["h100"]) for rows in (1, 8, 32)]
json.dump([model_nanoseconds(make_plan(*one)) for one in sizes], sys.stdout)
"""


def test_the_model_is_near_what_was_recorded():
    code, output, errors = run_python("-c", COMPILE)
    assert (code, errors) == (0, "")
    for rows, modelled in zip((1, 8, 32), json.loads(output), strict=True):
        parts = compare(modelled, recorded(rows))
        whole = parts[-1]
        assert sum(part.modelled for part in parts[:-1]) == pytest.approx(whole.modelled)
        # Programs that wait for each other are later than the model, which knows one.
        assert 0.6 * whole.measured < whole.modelled < whole.measured
        # With rows that take turns nearly all is the other turns'.
        assert (parts[2].modelled > 0.8 * whole.modelled) == (rows == 32)


def test_what_has_no_model_says_so():
    sizes = (4, 512, 64, torch.bfloat16, DEVICES["h100"])
    with pytest.raises(LSTMError, match="the wide kernel has no model"):
        model_nanoseconds(make_wide_plan(*sizes))
    with pytest.raises(LSTMError, match="cannot be compiled while TRITON_INTERPRET"):
        model_nanoseconds(make_plan(*sizes))
    none = make_plan(4, 2048, 1, torch.bfloat16, DEVICES["h100"])
    with pytest.raises(LSTMError, match="the torch kernel has no model"):
        model_nanoseconds(none)
