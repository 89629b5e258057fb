"""Which stacks the kernels can run, and how: arithmetic on sizes.

Legend: L layers, B rows, H hidden size, I input size, U units of a layer that one program owns.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch

from ._layout import COLUMNS, K_TILE, WARPS, k_tiles
from .devices import KIB, Device
from .plan import Launch, Plan, positive
from .types import LSTMError

__all__ = ["PLANNERS", "Geometry", "geometry", "launch_geometry", "make_plan"]

MOST_ROWS = 128
MOST_IN_REGISTERS = 128 * KIB  # of weights: half of a multiprocessor's, the rest is the work's
MOST_WORDS = 32  # of h that a thread holds at once
MOST_SUMS_NORMED = 2  # with a residual input: two buffers of sums side by side
FEWEST_UNITS = 2 * K_TILE  # a warp's window is as wide
STATIC_SHARED = 48 * KIB  # what a program may declare
SCRATCH = 2 * KIB  # of shared memory, beside what is counted


@dataclass(frozen=True)
class Geometry:
    """Sizes of a launch that follow from those of its plan.

    Args:
        width: columns of W_ih, filled up.
        input_tiles, tiles: k tiles of a warp, of W_ih and W_hh.
        row_tiles: tiles of 8 columns of h that a turn multiplies.
        group: rows of a turn; sums: sums over the warps that a thread takes part in.
    """

    width: int
    units: int
    input_tiles: int
    tiles: int
    row_tiles: int
    group: int
    sums: int

    @property
    def weight_bytes(self) -> int:
        """Bytes of weights of a program."""
        columns = WARPS * K_TILE * (self.input_tiles + self.tiles)
        return 4 * self.units * columns * 2

    @property
    def shared(self) -> int:
        """Bytes of shared memory of a program: two buffers of sums, or one where two are many."""
        stride, rows = 4 * self.units + 8, 4 if self.units == 16 else 8
        buffer = self.sums * WARPS * rows * stride * 4
        return (2 if 2 * buffer <= STATIC_SHARED else 1) * buffer + SCRATCH


def geometry(
    inputs: int, hidden: int, rows: int, *, residual: bool, split: bool
) -> Geometry | None:
    """Return how a launch is cut, None if its weights are too many for the registers."""
    # A narrower input is filled up, so that all layers are alike.
    width = max(-(-inputs // K_TILE) * K_TILE, hidden)
    input_tiles, tiles = k_tiles(width), k_tiles(hidden)
    words = (4 if split else 2) * max(input_tiles, tiles)
    of_tile = COLUMNS // 2 if split else COLUMNS
    columns = 1 if split or rows == 1 else 2
    for units in (16, 8):
        for row_tiles in (2, 1):
            sums = (row_tiles * columns * (units // 8) + 1) // 2
            found = Geometry(width, units, input_tiles, tiles, row_tiles, of_tile * row_tiles, sums)
            if found.weight_bytes > MOST_IN_REGISTERS or row_tiles * words > MOST_WORDS:
                continue
            if residual and sums > MOST_SUMS_NORMED:
                continue
            if row_tiles == 1 or rows > of_tile:
                return found
    return None


@lru_cache(maxsize=1024)
def make_plan(
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
    """Plan a stack of ``layers`` x ``hidden`` for ``batch`` rows and weights of ``dtype``.

    ``inputs`` is the first layer's input size (``hidden`` when None); ``residual`` and ``split``
    are those of ``lstm``.
    """
    inputs = hidden if inputs is None else inputs
    positive(layers, hidden, batch, inputs)

    def plan(launches: tuple[Launch, ...], reason: str = "") -> Plan:
        return Plan(
            *(layers, hidden, inputs, batch, dtype, residual, split, device, launches, reason)
        )

    problem = _unsuited(hidden, dtype, device)
    if problem:
        return plan((), problem)
    rows = min(batch, MOST_ROWS)
    launches: list[Launch] = []
    first = 0
    while first < layers:
        # A wider input takes a launch of its own; narrower ones are filled up.
        alone = first == 0 and inputs > hidden
        cut = geometry(
            inputs if first == 0 else hidden, hidden, rows, residual=residual, split=split
        )
        parts = hidden // cut.units if cut else device.multiprocessors + 1
        depth = 1 if alone else min(layers - first, device.multiprocessors // parts)
        if cut is None or device.multiprocessors < parts:
            return plan((), _too_large(inputs if alone else hidden, hidden, device))
        if _turns_spill(cut, device, residual=residual, split=split):
            rows = min(rows, cut.group)
        groups = -(-(layers - first) // depth)
        # Groups of even depth: 2 + 2 layers have fewer programs a launch than 3 + 1.
        last = first + (1 if alone else -(-(layers - first) // groups))
        launches.append(
            Launch(
                kernel="fragment",
                layers=(first, last),
                hidden=hidden,
                rows=rows,
                N=COLUMNS * cut.row_tiles,
                units=cut.units,
                K=WARPS * K_TILE * cut.tiles,
                warps=WARPS,
                weight_bytes=cut.weight_bytes,
                shared=cut.shared,
            )
        )
        first = last
    return plan(tuple(launches))


def _turns_spill(cut: Geometry, device: Device, *, residual: bool, split: bool) -> bool:
    """Whether rows that take turns leave too few registers: 40 bytes spill on sm_100."""
    return device.capability >= 100 and residual and not split and cut.units == 16


def launch_geometry(plan: Plan, launch: Launch) -> Geometry:
    """Return how a launch of ``plan`` is cut."""
    inputs = plan.inputs if launch.layers[0] == 0 else plan.hidden
    cut = geometry(inputs, plan.hidden, launch.rows, residual=plan.residual, split=plan.split)
    if cut is None:
        raise LSTMError(f"no launch of H = {plan.hidden} and I = {inputs} can run")
    return cut


def _unsuited(hidden: int, dtype: torch.dtype, device: Device) -> str:
    if dtype not in (torch.bfloat16, torch.float16):
        return f"weights are of {dtype}: bfloat16 and float16 can run"
    if hidden % K_TILE or hidden < FEWEST_UNITS:
        return f"H = {hidden} is no multiple of {K_TILE} from {FEWEST_UNITS} on"
    if device.capability < 80:
        return f"sm_{device.capability} is too old: sm_80 or newer can run"
    return ""


def _too_large(inputs: int, hidden: int, device: Device) -> str:
    cut = geometry(inputs, hidden, 1, residual=False, split=True)
    if cut is None:
        return (
            f"H = {hidden} with I = {inputs} takes more than {MOST_IN_REGISTERS // KIB} KiB of "
            "registers of each program"
        )
    return (
        f"a layer of H = {hidden} takes {hidden // cut.units} multiprocessors, and {device.name} "
        f"has {device.multiprocessors}"
    )


PLANNERS = {"triton": make_plan}
"""What plans for each backend of kernels; ``auto`` asks ``triton``."""
