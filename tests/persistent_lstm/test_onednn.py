"""oneDNN's layouts of packed weights: the right one for the number of rows, and the same bits."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest
import torch
from persistent_lstm import LSTMState, PersistentLSTM, _onednn

from ..conftest import REPOSITORY

# Every size twice: the first call packs the weights, and the second shall find them as it wants.
CALLS = """
import torch
from persistent_lstm import PersistentLSTM
torch.manual_seed(0)
module = PersistentLSTM(64, 64, 2, residual=True)
with torch.inference_mode():
    for rows in (1, 2, 5, 16):
        for timesteps in (1, 3, 10):
            x = torch.randn(timesteps, rows, 64)
            module(x)
            print("call with rows:", rows, flush=True)
            y, _ = module(x)
            print("called", flush=True)
"""


@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="instruction sets of x86 processors"
)
@pytest.mark.parametrize("instructions", ["ALL", "AVX2"])
def test_no_call_reorders_weights_that_are_packed(instructions):
    # A processor with AVX-512 has one layout for any number of rows, one with AVX2 only has two.
    environment = os.environ | {"ONEDNN_MAX_CPU_ISA": instructions, "ONEDNN_VERBOSE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", CALLS],
        env=environment,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    reorders: dict[str, int] = {}
    rows = ""
    for line in done.stdout.splitlines():
        if line.startswith("call with rows: "):
            rows = line.removeprefix("call with rows: ")
            reorders.setdefault(rows, 0)
        elif line == "called":
            rows = ""
        elif rows and ",exec,cpu,reorder," in line:
            reorders[rows] += 1
    assert ",exec,cpu,rnn," in done.stdout
    assert reorders == {"1": 0, "2": 0, "5": 0, "16": 0}


BITS = """
import torch
from tests.persistent_lstm.test_onednn import layouts_differ
torch.set_num_threads(1)
print(layouts_differ())
"""


def layouts_differ() -> list[tuple[int, int, int, int]]:
    """Return the sizes (L, T, I, H) for which one row's bits depend on the layout of weights."""
    found = []
    for L, T, I, H in [(1, 1, 1, 9), (2, 3, 11, 13), (4, 10, 512, 512), (4, 33, 320, 100)]:
        torch.manual_seed(L)
        weights = PersistentLSTM(I, H, L).weights
        x, state = torch.randn(T, 1, I), LSTMState(torch.randn(L, 1, H), torch.randn(L, 1, H))
        with torch.inference_mode():
            y, last = _onednn.run(x, weights, state)
            for index, layer in enumerate(weights):
                own = slice(index, index + 1)
                x, h, C, _ = torch.ops.aten.mkldnn_rnn_layer(
                    x, *_onednn._pack(layer, one_row=False), state.h[own], state.C[own],
                    reverse=False, batch_sizes=[], mode=_onednn.LSTM_MODE, hidden_size=H,
                    num_layers=1, has_biases=True, bidirectional=False, batch_first=False,
                    train=False,
                )  # fmt: skip
                same = torch.equal(h, last.h[own]) and torch.equal(C, last.C[own])
                if not same or (index == L - 1 and not torch.equal(x, y)):
                    found.append((L, T, I, H))
    return found


@pytest.mark.parametrize("instructions", ["ALL", "AVX2"])
def test_one_row_has_the_same_bits_in_either_layout(instructions):
    environment = os.environ | {"ONEDNN_MAX_CPU_ISA": instructions}
    done = subprocess.run(
        [sys.executable, "-c", BITS],
        env=environment,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
