"""Compiles small kernels that do and do not keep their weights, or the banks apart; prints what is
found.

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


@triton.jit
def turn(w, x, y, T, ASM: tl.constexpr):
    thread = tl.arange(0, 256)
    weight = tl.load(w + thread)
    t = 0
    while t < T:
        value = tl.load(x + t * 256 + thread, volatile=True) * weight
        value = tl.inline_asm_elementwise(
            ASM, "=r,r,r", [value, thread], dtype=tl.float32, is_pure=False, pack=1
        )
        tl.store(y + t * 256 + thread, value)
        t += 1


def through_shared(words: int, place: str) -> str:
    """Pass a value through shared memory, threads ``words`` words apart."""
    return f"""{{
        .shared .align 16 .b8 buffer[{4 * 256 * words}]; .reg .b32 a;
        mov.b32 a, buffer; mad.lo.u32 a, {place}, {4 * words}, a;
        st.shared.b32 [a], $1; bar.sync 0; ld.shared.b32 $0, [a];
    }}"""


def conflicts() -> dict[str, list[str]]:
    """What is found of kernels whose threads lie closer or further apart in shared memory."""
    plan = make_plan(1, 512, 1, torch.bfloat16, DEVICES["h200"])
    launch = replace(plan.launches[0], weight_bytes=0)
    found = {}
    for name, words, place in (
        ("1 word", 1, "$2"),
        ("2 words", 2, "$2"),
        ("8 words", 8, "$2"),
        ("by what was loaded", 1, "$1"),
    ):
        code = compile_ahead(
            turn,
            {"w": "*fp32", "x": "*fp32", "y": "*fp32", "T": "i32"},
            {"ASM": through_shared(words, place)},
            {"num_warps": 8},
            90,
        )
        found[name] = problems(code, launch, plan.device)
    return found


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
    json.dump(found | {"conflicts": conflicts()}, sys.stdout)


if __name__ == "__main__":
    main()
