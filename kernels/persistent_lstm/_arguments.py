"""What a launch passes to its kernel, made once for running it and for compiling it ahead."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import torch

from .plan import Launch, Plan
from .planning import launch_geometry
from .types import NORM_EPSILON

__all__ = ["HALVES", "POINTER", "argument_types", "constants", "options"]

HALVES = {torch.bfloat16: "bf16", torch.float16: "f16"}

POINTER = {torch.float32: "*fp32", torch.int32: "*i32", torch.int64: "*i64"}


def constants(
    plan: Plan, launch: Launch, rows: int, *, ragged: bool, timed: bool
) -> dict[str, Any]:
    """Return the values of the kernel's ``constexpr`` parameters for a launch of ``rows`` rows."""
    cut = launch_geometry(plan, launch)
    return {
        "EPSILON": NORM_EPSILON,
        "L": launch.depth,
        "B": rows,
        "H": launch.hidden,
        "I": cut.width,
        "U": launch.units,
        "KI": cut.input_tiles,
        "KT": cut.tiles,
        "TILES": cut.row_tiles,
        "HALF": HALVES[plan.dtype],
        "SPLIT": plan.split,
        "RESIDUAL": plan.residual,
        "RAGGED": ragged,
        "TIMED": timed,
        "PTX": ptx_digest(),
    }


@cache
def ptx_digest() -> str:
    """Return a digest of ``_ptx.py``: a kernel compiled from another one is not taken for it."""
    return hashlib.sha256(Path(__file__).with_name("_ptx.py").read_bytes()).hexdigest()


def argument_types(*, ragged: bool) -> dict[str, str]:
    """Return Triton's names for the types of the arguments, in the order of the kernel's."""
    return {
        "x": "*i32",
        "x_values": "*i32",
        "w_ih": "*i32",
        "w_hh": "*i32",
        "bias": "*fp32",
        "row_sums": "*fp32",
        "h_0": "*i32",
        "C_0": "*fp32",
        "lengths": "*i32" if ragged else "*fp32",  # x stands in for what is not read
        "hs": "*i32",
        "rs": "*i32",
        "sums": "*i32",
        "y": "*i32",
        "h_T": "*fp32",
        "C_T": "*fp32",
        "error": "*i32",
        "stamps": "*i64",
        "T": "i32",
        "limit": "i32",
    }


def options(launch: Launch) -> dict[str, Any]:
    """Return the compiler's options."""
    # Cooperative: a grid that cannot be resident as a whole is refused, and does not hang.
    return {"num_warps": launch.warps, "launch_cooperative_grid": True}
