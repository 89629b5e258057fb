"""Which program holds which weights where, or why a GPU cannot hold them.

A plan is arithmetic on sizes; nothing here needs a GPU. What the compiler makes of it is checked
by ``inspect``. Legend: L layers, B rows, T timesteps, H hidden size, I input size, U units of a
layer that one program owns.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch

from .devices import KIB, Device
from .types import LSTMError

__all__ = ["Launch", "Plan", "make_plan"]


@dataclass(frozen=True)
class Launch:
    """One launch, or one for each group of ``rows`` rows, and where its weights live.

    Args:
        kernel: ``stack`` (weights in registers, all ``layers`` pipelined), ``projected`` (one
            layer, only W_hh resident, the input's product taken outside), ``batched`` (the same
            in shared memory, for many rows), or ``fragment`` (version 2 of ``stack``, for any
            number of rows).
        layers: first layer and one past the last.
        rows: rows of a launch; N: columns of its product, rows rounded up.
        K: columns of a weight tile, H rounded up to a power of two.
        weight_bytes: resident weights of one program.
        shared: bytes of shared memory of one program, the staging of weights included.
    """

    kernel: str
    layers: tuple[int, int]
    hidden: int
    rows: int
    N: int
    units: int
    K: int
    warps: int
    weight_bytes: int
    shared: int

    @property
    def depth(self) -> int:
        """How many layers it runs."""
        return self.layers[1] - self.layers[0]

    @property
    def programs(self) -> int:
        """Programs, each on a multiprocessor of its own."""
        return self.depth * self.hidden // self.units

    def exchanges(self, timesteps: int) -> int:
        """Exchanges of ``h`` that follow each other."""
        return timesteps + self.depth - 1


@dataclass(frozen=True)
class Plan:
    """How a stack runs on a device; without launches it cannot, and ``reason`` says why."""

    layers: int
    hidden: int
    inputs: int
    batch: int
    dtype: torch.dtype
    residual: bool
    split: bool
    device: Device
    launches: tuple[Launch, ...]
    reason: str

    @property
    def fits(self) -> bool:
        """Whether the persistent kernels can run it."""
        return bool(self.launches)

    @property
    def times_itself(self) -> bool:
        """Whether any of its kernels can record times, see ``timing``: batched ones cannot."""
        return any(launch.kernel != "batched" for launch in self.launches)

    @property
    def weight_bytes(self) -> int:
        """Bytes of weights that all programs of all launches hold."""
        return sum(launch.weight_bytes * launch.programs for launch in self.launches)

    def row_groups(self, launch: Launch) -> int:
        """How many times ``launch`` runs to serve all rows."""
        return -(-self.batch // launch.rows)

    @property
    def loaded_bytes(self) -> int:
        """Bytes of weights that a chunk of any length loads from memory."""
        return sum(self.row_groups(one) * one.weight_bytes * one.programs for one in self.launches)

    def exchanges(self, timesteps: int) -> int:
        """Exchanges of ``h`` that follow each other in a chunk of ``timesteps``."""
        return sum(self.row_groups(one) * one.exchanges(timesteps) for one in self.launches)

    def __str__(self) -> str:
        kind = "residual LSTM" if self.residual else "LSTM"
        dtype = str(self.dtype).removeprefix("torch.")
        device = self.device
        lines = [
            f"{self.layers} x {self.hidden} {kind}, {dtype}, batch {self.batch}, on "
            f"{device.name} (sm_{device.capability}, {device.multiprocessors} multiprocessors)"
        ]
        for number, one in enumerate(self.launches, 1):
            lines += _describe(self, number, one)
        if self.fits:
            chunk = 32
            lines.append(
                f"  a chunk of {chunk} timesteps: {self.exchanges(chunk)} exchanges of h, and "
                f"{_size(self.loaded_bytes)} of weights to load{_floor(self)}"
            )
        else:
            lines.append(f"  does not fit: {self.reason}; torch (cuDNN) runs it")
        return "\n".join(lines)


def _floor(plan: Plan) -> str:
    bandwidth = plan.device.bandwidth
    if not bandwidth:
        return ""
    return f", at least {plan.loaded_bytes / bandwidth * 1e6:.1f} us at {bandwidth / 1e12:.2g} TB/s"


def _describe(plan: Plan, number: int, one: Launch) -> list[str]:
    first, last = one.layers[0], one.layers[1] - 1
    which = f"layer {first}" if first == last else f"layers {first}-{last}"
    groups = plan.row_groups(one)
    times = "" if groups == 1 else f", {groups} times for {one.rows} rows each"
    held = "each of W_ih and W_hh" if one.kernel in ("stack", "fragment") else "W_hh"
    shape = f"{4 * one.units} x {one.K}"
    place = "shared memory" if one.kernel == "batched" else "registers"
    share = one.weight_bytes / (
        plan.device.shared if one.kernel == "batched" else plan.device.registers
    )
    outside = {
        "stack": "nothing outside",
        "fragment": "nothing outside",
        "projected": "W_ih·x as one matrix product before it",
        "batched": "W_ih·x as one matrix product before it",
    }[one.kernel]
    return [
        f"  launch {number}: {which}, {one.kernel} kernel{times}",
        f"    {one.programs} programs of {one.warps} warps; "
        f"each owns {one.units} units of one layer",
        f"    a program holds {shape} of {held}: {_size(one.weight_bytes)}, {share:.0%} of a "
        f"multiprocessor's {place}",
        f"    it takes {_size(one.shared)} of {_size(plan.device.shared)} of shared memory",
        f"    T{'' if one.depth == 1 else f' + {one.depth - 1}'} exchanges of h; {outside}",
    ]


def _size(count: int) -> str:
    return f"{count / KIB**2:.1f} MiB" if count >= KIB**2 else f"{count / KIB:.0f} KiB"


# What compiles without spilling, with Triton 3.6 and 3.7: ``python -m persistent_lstm.inspect``.
MOST_IN_REGISTERS = 128 * KIB
WARPS = 8
FEWEST_COLUMNS = 8  # of the product: the tensor cores' shape
MOST_ROWS = 16
MOST_ROWS_TIGHT = 8  # see _most_rows
MOST_ROWS_FLOAT32 = 4  # each row is a product of its own
BATCHED_FROM = 32
MOST_ROWS_BATCHED = 64
SCRATCH = 2 * KIB  # of shared memory, beside what is estimated
TILE = 128  # columns of a weight tile of the batched kernel


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
    if batch >= BATCHED_FROM and dtype.itemsize == 2:
        one = _batched(hidden, batch, device, split)
        if one is not None:
            return plan(tuple(_at(one, layer, layer + 1) for layer in range(layers)))
    sizes = (hidden, batch, dtype, device, residual)
    launches: list[Launch] = []
    first = 0
    if inputs != hidden:
        projected = _in_registers("projected", 1, *sizes)
        if projected is None:
            return plan((), _too_small(hidden, dtype, device))
        launches.append(projected)
        first = 1
    rest = layers - first
    depth = next((d for d in range(rest, 0, -1) if _in_registers("stack", d, *sizes)), 0)
    kernel = "stack" if depth else "projected"
    groups = -(-rest // max(depth, 1))
    for group in range(groups):
        # Groups of even depth: 2 + 2 layers have fewer programs a launch than 3 + 1.
        last = first + (layers - first) // (groups - group)
        found = _in_registers(kernel, last - first, *sizes)
        if found is None:
            return plan((), _too_small(hidden, dtype, device))
        launches.append(_at(found, first, last))
        first = last
    return plan(tuple(launches))


def positive(layers: int, hidden: int, batch: int, inputs: int) -> None:
    """Raise LSTMError unless all sizes are positive."""
    if min(layers, hidden, batch, inputs) < 1:
        raise LSTMError(
            f"a plan needs positive sizes, got L = {layers}, H = {hidden}, B = {batch}, "
            f"I = {inputs}"
        )


def _unsuited(hidden: int, dtype: torch.dtype, device: Device) -> str:
    if dtype not in (torch.float32, torch.bfloat16, torch.float16):
        return f"weights are of {dtype}: float32, bfloat16 and float16 can run"
    if hidden % 16:
        return f"H = {hidden} is no multiple of 16"
    if device.capability < 80:
        return f"sm_{device.capability} is too old: sm_80 or newer can run"
    return ""


def _at(launch: Launch, first: int, last: int) -> Launch:
    fields = {**launch.__dict__, "layers": (first, last)}
    return Launch(**fields)


def _power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()


def _in_registers(
    kernel: str,
    depth: int,
    hidden: int,
    batch: int,
    dtype: torch.dtype,
    device: Device,
    residual: bool,
) -> Launch | None:
    """Spread ``depth`` layers over the device with the fewest weights a program."""
    warps = WARPS
    # A warp multiplies a slice of K, of 16 columns at least.
    K = max(_power_of_two(hidden), 16)
    warps = min(warps, K // 16) if dtype.itemsize == 2 else min(warps, K // 4)
    matrices = 2 if kernel == "stack" else 1
    norm = residual and kernel == "stack"
    rows = min(batch, _most_rows(K // warps, dtype, device, norm))
    N = _power_of_two(rows)
    if dtype.itemsize == 2:
        N = max(FEWEST_COLUMNS, N)
    for units in (4, 8, 16):
        tile = 4 * units * K * dtype.itemsize
        launch = Launch(
            kernel=kernel,
            layers=(0, depth),
            hidden=hidden,
            rows=rows,
            N=N,
            units=units,
            K=K,
            warps=warps,
            weight_bytes=matrices * tile,
            # h (as high and low halves) and the products of all warps pass through it too.
            shared=max(_staged(matrices * tile, dtype), 4 * N * (K + warps * 4 * units)) + SCRATCH,
        )
        if (
            hidden % units == 0
            and launch.programs <= device.multiprocessors
            and launch.weight_bytes <= MOST_IN_REGISTERS
            and launch.shared <= device.shared
        ):
            return launch
    return None


def _staged(weights: int, dtype: torch.dtype) -> int:
    """Bytes of shared memory through which ``weights`` bytes pass on their way to registers."""
    return weights if dtype.itemsize == 2 else weights // 2


def _most_rows(width: int, dtype: torch.dtype, device: Device, norm: bool) -> int:
    """Rows of a launch whose warps multiply slices of ``width`` columns, ``norm`` their input."""
    if dtype.itemsize == 4:
        return MOST_ROWS_FLOAT32
    # 16 rows spill: up to 160 bytes a thread for slices of 128 columns; on sm_80, 16 to 24 bytes
    # for residual stacks (Triton 3.6).
    tight = width > 64 or (norm and device.capability < 90)
    return MOST_ROWS_TIGHT if tight else MOST_ROWS


def _batched(hidden: int, batch: int, device: Device, split: bool) -> Launch | None:
    units = 16
    K = max(_power_of_two(hidden), TILE)
    tile = 4 * units * K * 2
    most, warps = MOST_ROWS_BATCHED, WARPS
    if split and K > 512 and device.capability < 100:
        # On sm_90, 64 rows spill 224 bytes a thread or more; 32 rows spill 56 bytes with 8 warps
        # (Triton 3.7) and none with 4.
        most, warps = 32, 4
    for limit in (most, BATCHED_FROM):
        rows = min(batch, limit)
        N = max(BATCHED_FROM, _power_of_two(rows))
        # Beside the weights, a tile of h on its way to the tensor cores, and the gates' sums.
        staging = N * TILE * 2 * (2 if split else 1) + N * TILE * 2
        launch = Launch("batched", (0, 1), hidden, rows, N, units, K, warps, tile, tile + staging)
        if launch.programs <= device.multiprocessors and launch.shared <= device.shared:
            return launch
    return None


def _too_small(hidden: int, dtype: torch.dtype, device: Device) -> str:
    K = _power_of_two(hidden)
    need = 4 * hidden * K * dtype.itemsize
    room = MOST_IN_REGISTERS
    while _staged(room, dtype) + SCRATCH > device.shared:
        room //= 2
    return (
        f"one layer's W_hh takes {_size(need)} of registers, and {device.name} has room for "
        f"{_size(device.multiprocessors * room)} ({device.multiprocessors} multiprocessors, "
        f"{_size(room)} each)"
    )
