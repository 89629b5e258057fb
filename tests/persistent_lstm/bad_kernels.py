"""Compiles small kernels that do and do not keep their weights, and prints what is found.

Run as a program, without ``TRITON_INTERPRET``; ``test_residency`` reads its JSON.
"""

import json
import sys
from dataclasses import replace

import torch
import triton
import triton.language as tl
from persistent_lstm import DEVICES, make_plan
from persistent_lstm.residency import compile_ahead, problems

PARTS, ROWS, WIDTH, COLUMNS = 8, 64, 64, 8


@triton.jit
def recur(
    w,
    x,
    y,
    T,
    RELOAD: tl.constexpr,
    COUNTED: tl.constexpr,
    KB: tl.constexpr,
    R: tl.constexpr,
    KW: tl.constexpr,
    N: tl.constexpr,
):
    kb = tl.arange(0, KB)[:, None, None]
    r = tl.arange(0, R)
    k = tl.arange(0, KW)
    n = tl.arange(0, N)
    tile = w + kb * (R * KW) + r[None, :, None] * KW + k[None, None, :]
    vector = x + kb * (KW * N) + k[None, :, None] * N + n[None, None, :]
    out = y + r[:, None] * N + n[None, :]
    weights = tl.load(tile)
    if COUNTED:
        for t in range(T):
            v = tl.load(vector + t * (KB * KW * N), volatile=True)
            tl.store(out + t * (R * N), tl.sum(tl.dot(weights, v), 0))
    else:
        t = 0
        while t < T:
            if RELOAD:
                weights = tl.load(tile)
            v = tl.load(vector + t * (KB * KW * N), volatile=True)
            tl.store(out + t * (R * N), tl.sum(tl.dot(weights, v), 0))
            t += 1


def main() -> None:
    plan = make_plan(1, 512, 1, torch.bfloat16, DEVICES["h200"])
    tile = PARTS * ROWS * WIDTH * 2
    launch = replace(plan.launches[0], weight_bytes=tile, shared=2 * tile)
    found = {}
    for name in ("keeps", "reloads", "counts"):
        code = compile_ahead(
            recur,
            {"w": "*bf16", "x": "*bf16", "y": "*fp32", "T": "i32"},
            {
                "RELOAD": name == "reloads",
                "COUNTED": name == "counts",
                **{"KB": PARTS, "R": ROWS, "KW": WIDTH, "N": COLUMNS},
            },
            {"num_warps": PARTS},
            90,
        )
        found[name] = problems(code, launch, plan.device)
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
