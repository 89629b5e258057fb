"""The versions of the kernels, and which of them runs a stack where either may."""

from __future__ import annotations

import torch

from ._fragment_plan import make_fragment_plan
from .devices import Device
from .plan import Plan, make_plan

__all__ = ["PLANNERS", "best_plan"]

PLANNERS = {"triton2": make_fragment_plan, "triton": make_plan}
"""What plans for each triton backend, in the order in which ``auto`` asks them."""


def best_plan(
    layers: int,
    hidden: int,
    batch: int,
    dtype: torch.dtype,
    device: Device,
    *,
    inputs: int | None = None,
    residual: bool = False,
    split: bool = True,
) -> Plan:
    """Plan a stack as ``auto`` does: the first plan that fits; arguments as of ``make_plan``."""
    for make in PLANNERS.values():
        plan = make(
            *(layers, hidden, batch, dtype, device), inputs=inputs, residual=residual, split=split
        )
        if plan.fits:
            break
    return plan
