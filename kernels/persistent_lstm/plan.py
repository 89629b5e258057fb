"""Which program holds which weights where, or why a GPU cannot hold them.

A plan is arithmetic on sizes; nothing here needs a GPU. What the compiler makes of it is checked
by ``inspect``; which plan a stack gets is in ``planning``. Legend: L layers, B rows, T timesteps,
H hidden size, I input size, U units of a layer that one program owns.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .devices import KIB, Device
from .types import LSTMError

__all__ = ["Launch", "Plan", "positive"]


@dataclass(frozen=True)
class Launch:
    """One launch, or one for each group of ``rows`` rows, and where its weights live.

    Args:
        kernel: ``fragment``: weights in registers; ``wide``: in shared memory, for many rows.
            Both pipeline all ``layers``.
        layers: first layer and one past the last.
        rows: rows of a launch; N: columns of its product, rows rounded up.
        K: columns of W_hh that the warps of a program hold, H rounded up.
        weight_bytes: resident weights of one program.
        shared: bytes of shared memory of one program.
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
    """How a stack runs on a device; without launches it cannot, and ``reason`` says why.

    ``once``: kernels make their words and keep their memory themselves, see ``_once``; otherwise a
    launch of another kernel comes before each of them.
    """

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
    once: bool = False

    @property
    def fits(self) -> bool:
        """Whether the persistent kernels can run it."""
        return bool(self.launches)

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
    wide = one.kernel == "wide"
    share = one.weight_bytes / (plan.device.shared if wide else plan.device.registers)
    place = "shared memory" if wide else "registers"
    return [
        f"  launch {number}: {which}, {one.kernel} kernel{times}",
        f"    {one.programs} programs of {one.warps} warps; "
        f"each owns {one.units} units of one layer",
        f"    a program holds {4 * one.units} x {one.K} of each of W_ih and W_hh: "
        f"{_size(one.weight_bytes)}, {share:.0%} of a multiprocessor's {place}",
        f"    it takes {_size(one.shared)} of {_size(plan.device.shared)} of shared memory",
        f"    T{'' if one.depth == 1 else f' + {one.depth - 1}'} exchanges of h; nothing outside",
    ]


def _size(count: int) -> str:
    return f"{count / KIB**2:.1f} MiB" if count >= KIB**2 else f"{count / KIB:.0f} KiB"


def positive(layers: int, hidden: int, batch: int, inputs: int) -> None:
    """Raise LSTMError unless all sizes are positive."""
    if min(layers, hidden, batch, inputs) < 1:
        raise LSTMError(
            f"a plan needs positive sizes, got L = {layers}, H = {hidden}, B = {batch}, "
            f"I = {inputs}"
        )
