"""CPU time of the LSTM by its cpu backend and by oneDNN.

    python benchmarks/cpu_lstm.py

A timestep of one row multiplies each weight once: it lasts as long as weights take to arrive. The
backends run in turn, one call of each, in one thread whose CPU time is taken; a machine busy with
other work still slows both, through its caches. Medians, µs a timestep; the last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from persistent_lstm import Int8LayerWeights, Int8Matrix, LayerWeights, PersistentLSTM, lstm

LAYERS, HIDDEN = 4, 512


def int8(matrix: torch.Tensor) -> Int8Matrix:
    """Round a matrix to int8, each row with its scale."""
    scale = matrix.abs().amax(1) / 127
    return Int8Matrix((matrix / scale[:, None]).round().to(torch.int8), scale)


def in_turn(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the median CPU time of each call, in µs."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds + 2):
        for name, call in calls.items():
            call()  # what the others put out of the cache is back
            began = time.thread_time_ns()
            call()
            if number >= 2:
                times[name].append((time.thread_time_ns() - began) / 1000)
    return {name: statistics.median(values) for name, values in times.items()}


def processor() -> str:
    """Return what Linux calls the processor."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    wanted = ("cpu family", "model", "model name")
    facts = dict(line.split(":", 1) for line in lines if line.split("\t")[0] in wanted)
    return ", ".join(f"{name.strip()} {value.strip()}" for name, value in facts.items())


def main() -> None:
    """Measure all sizes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 2, 4, 8, 16, 24, 32])
    parser.add_argument("--timesteps", type=int, nargs="+", default=[1, 3, 10, 32])
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    narrow = [
        Int8LayerWeights(int8(w.w_ih.detach()), int8(w.w_hh.detach()), w.b_ih, w.b_hh)
        for w in PersistentLSTM(HIDDEN, HIDDEN, LAYERS, residual=True).requires_grad_(False).weights
    ]
    floats = [w.dequantise() for w in narrow]
    halves = [LayerWeights(*(t.half() for t in w)) for w in floats]
    found = []
    print(f"{processor()}; µs of CPU a timestep, {LAYERS} x {HIDDEN}, residual")
    with torch.inference_mode():
        for rows in options.rows:
            for timesteps in options.timesteps:
                x = torch.randn(timesteps, rows, HIDDEN)
                times = in_turn(
                    {
                        "int8": lambda x=x: lstm(x, narrow, residual=True, backend="cpu"),
                        "float16": lambda x=x: lstm(x, halves, residual=True, backend="cpu"),
                        "oneDNN": lambda x=x: lstm(x, floats, residual=True, backend="torch"),
                    },
                    options.rounds,
                )
                us = {name: round(value / timesteps, 1) for name, value in times.items()}
                found.append({"rows": rows, "timesteps": timesteps, **us})
                print(f"{rows} rows, {timesteps} timesteps: {us}", flush=True)
    print(json.dumps({"processor": processor(), "us": found}))


if __name__ == "__main__":
    main()
