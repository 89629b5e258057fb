"""Which stacks the kernels can run, and how: arithmetic on sizes.

Legend: L layers, B rows, H hidden size, I input size, U units of a layer that one program owns.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Protocol

import torch

from ._layout import COLUMNS, K_TILE, WARPS, k_tiles
from .devices import KIB, Device
from .plan import Launch, Plan, positive
from .types import LSTMError

__all__ = [
    "PLANNERS",
    "Geometry",
    "Planner",
    "geometry",
    "launch_geometry",
    "launch_width",
    "make_once_plan",
    "make_plan",
    "make_wide_plan",
    "tile_columns",
]

MOST_ROWS = 128
MOST_IN_REGISTERS = 128 * KIB  # of weights: half of a multiprocessor's, the rest is the work's
MOST_WORDS = 32  # of h that a thread holds at once
MOST_SUMS_NORMED = 2  # with a residual input: two buffers of sums side by side
FEWEST_UNITS = 2 * K_TILE  # a warp's window is as wide
STATIC_SHARED = 48 * KIB  # what a program may declare
SCRATCH = 2 * KIB  # of shared memory, beside what is counted
# Of the wide kernel: measured with 32 and 64 rows, and fastest with 4 warps.
WIDE_FROM = 32
MOST_ROWS_WIDE = 64
WIDE_UNITS = 16
WIDE_WARPS = 4
MOST_COLUMNS, WIDE_COLUMNS = 128, 64  # of a tile
WIDE_CAPABILITY = 90  # whose tensor cores read weights from shared memory, and on which it ran


class Planner(Protocol):
    """What plans for a backend of kernels; arguments as of ``make_plan``."""

    def __call__(
        self,
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
        """Return the plan, with a reason where none fits."""


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
        return Plan(layers, hidden, inputs, batch, dtype, residual, split, device, launches, reason)

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


def tile_columns(launch: Launch, *, split: bool) -> int:
    """Return how many columns a tile of the wide kernel has.

    As measured, 128, where that leaves registers enough: two tiles of h are at hand at a time.
    """
    narrow = split or launch.N > WIDE_FROM or launch.hidden % MOST_COLUMNS != 0
    return WIDE_COLUMNS if narrow else MOST_COLUMNS


def wide_width(inputs: int, hidden: int) -> int:
    """Return the columns of W_ih in the wide kernel, filled up."""
    columns = WIDE_COLUMNS if hidden % MOST_COLUMNS else MOST_COLUMNS
    return max(-(-inputs // columns) * columns, hidden)


def launch_width(plan: Plan, launch: Launch) -> int:
    """Return the columns of W_ih in ``launch``, filled up."""
    if launch.kernel == "fragment":
        return launch_geometry(plan, launch).width
    return wide_width(plan.inputs if launch.layers[0] == 0 else plan.hidden, plan.hidden)


@lru_cache(maxsize=1024)
def make_wide_plan(
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
    """Plan a stack for the wide kernel where there are rows enough for it and it fits.

    Otherwise, the plan is that of ``make_plan``, whose arguments these are.
    """
    plan = make_plan(
        layers, hidden, batch, dtype, device, inputs=inputs, residual=residual, split=split
    )
    if batch < WIDE_FROM or hidden % WIDE_COLUMNS or device.capability != WIDE_CAPABILITY:
        return plan
    if not plan.fits:
        return plan
    # In two halves, 64 rows of a residual stack spill: 424 bytes a thread (Triton 3.8).
    most_rows = WIDE_FROM if split and residual else MOST_ROWS_WIDE
    launches: list[Launch] = []
    first = 0
    while first < layers:
        width = wide_width(plan.inputs if first == 0 else hidden, hidden)
        # A wider input takes a launch of its own; narrower ones are filled up.
        most = 1 if width > hidden else device.multiprocessors * WIDE_UNITS // hidden
        if most == 0:
            return plan
        groups = -(-(layers - first) // most)
        depth = 1 if width > hidden else -(-(layers - first) // groups)
        launch = _wide(hidden, width, min(batch, most_rows), (first, first + depth))
        if launch.programs > device.multiprocessors or launch.shared > device.shared:
            return plan
        launches.append(launch)
        first += depth
    return replace(plan, launches=tuple(launches), reason="")


def _wide(hidden: int, width: int, rows: int, layers: tuple[int, int]) -> Launch:
    N = WIDE_FROM if rows <= WIDE_FROM else MOST_ROWS_WIDE
    weights = 4 * WIDE_UNITS * (width + hidden) * 2
    # Beside the weights: tiles of h on their way to the tensor cores, and sums on theirs.
    staging = 2 * N * MOST_COLUMNS * 2
    return Launch(
        kernel="wide",
        layers=layers,
        hidden=hidden,
        rows=rows,
        N=N,
        units=WIDE_UNITS,
        K=hidden,
        warps=WIDE_WARPS,
        weight_bytes=weights,
        shared=weights + staging + SCRATCH,
    )


def make_once_plan(
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
    """Plan as ``make_plan`` does, with one launch where that takes two, if registers suffice."""
    plan = make_plan(
        layers, hidden, batch, dtype, device, inputs=inputs, residual=residual, split=split
    )
    turns = any(one.rows > launch_geometry(plan, one).group for one in plan.launches)
    # 8 bytes a thread spill on sm_90, and on sm_80 in two halves (Triton 3.8).
    spills = turns and residual and (not split or device.capability < 89)
    return replace(plan, once=plan.fits and not spills)


PLANNERS: dict[str, Planner] = {
    "triton": make_plan,
    "triton-wide": make_wide_plan,
    "triton-once": make_once_plan,
}
"""What plans for each backend of kernels; ``auto`` asks ``triton``, which a GPU has run. The others
are to be measured; of ``triton-wide`` a prototype was (benchmarks/results)."""
