"""What a launch passes to its kernel, made once for running it and for compiling it ahead."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import torch

from .plan import Launch, Plan
from .planning import launch_geometry, launch_width, tile_columns
from .types import NORM_EPSILON

__all__ = ["HALVES", "POINTER", "argument_types", "constants", "options"]

HALVES = {torch.bfloat16: "bf16", torch.float16: "f16"}

POINTER = {
    torch.float32: "*fp32",
    torch.bfloat16: "*bf16",
    torch.float16: "*fp16",
    torch.int32: "*i32",
    torch.int64: "*i64",
}
PTX_FILES = ("_ptx.py", "_counters.py")


def constants(
    plan: Plan, launch: Launch, rows: int, *, ragged: bool, timed: bool, gather: bool = False
) -> dict[str, Any]:
    """Return the values of the kernel's ``constexpr`` parameters for a launch of ``rows`` rows.

    ``gather``: the rows of the state lie anywhere.
    """
    shared = {
        "EPSILON": NORM_EPSILON,
        "L": launch.depth,
        "B": rows,
        "H": launch.hidden,
        "I": launch_width(plan, launch),
        "U": launch.units,
        "SPLIT": plan.split,
        "RESIDUAL": plan.residual,
        "RAGGED": ragged,
        "TIMED": timed,
        "PTX": ptx_digest(),
    }
    if launch.kernel == "wide":
        return {**shared, "N": launch.N, "KT": tile_columns(launch, split=plan.split)}
    cut = launch_geometry(plan, launch)
    return {
        **shared,
        "KI": cut.input_tiles,
        "KT": cut.tiles,
        "TILES": cut.row_tiles,
        "HALF": HALVES[plan.dtype],
        "ONCE": plan.once,
        "GATHER": gather,
        "INPUTS": plan.inputs if launch.layers[0] == 0 else plan.hidden,
    }


@cache
def ptx_digest() -> str:
    """Return a digest of the inline PTX: a kernel compiled from other is not taken for it."""
    folder = Path(__file__).parent
    return hashlib.sha256(b"".join((folder / name).read_bytes() for name in PTX_FILES)).hexdigest()


def argument_types(
    plan: Plan, launch: Launch, *, ragged: bool, gather: bool = False
) -> dict[str, str]:
    """Return Triton's names for the types of the arguments, in the order of the kernel's."""
    wide = launch.kernel == "wide"
    weights = POINTER[plan.dtype] if wide else "*i32"
    crosses = POINTER[plan.dtype] if wide and not plan.split else "*i32"
    values = "*fp32" if wide else "*i32"
    return {
        "x": crosses,
        "x_values": values,
        "w_ih": weights,
        "w_hh": weights,
        "bias": "*fp32",
        "row_sums": "*fp32",
        "h_0": "*i64" if gather else crosses,
        "C_0": "*fp32",
        "lengths": "*i32" if ragged else "*fp32",  # x stands in for what is not read
        "hs": crosses,
        "rs": crosses,
        "sums": values,
        **({"done": "*i32"} if wide else {}),
        "y": values,
        "h_T": "*fp32",
        "C_T": "*fp32",
        "error": "*i32",
        "stamps": "*i64",
        "T": "i32",
        "limit": "i32",
        **({} if wide else {"capacity": "i32"}),
    }


def options(launch: Launch) -> dict[str, Any]:
    """Return the compiler's options."""
    # Cooperative: a grid that cannot be resident as a whole is refused, and does not hang.
    found = {"num_warps": launch.warps, "launch_cooperative_grid": True}
    # No pipelining: it moves loads of h ahead of the wait for them.
    return found | ({"num_stages": 1} if launch.kernel == "wide" else {})
