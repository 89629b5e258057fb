"""Lower bound of a plan's latency: weights loaded once a chunk, and exchanges of ``h``."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from persistent_lstm import Launch, Plan
from persistent_lstm.exchange import exchange_nanoseconds

from . import cuda

__all__ = ["Floor", "Limits", "floor_of", "reload_bytes"]


@dataclass(frozen=True)
class Floor:
    """The floor of one chunk, in microseconds: loading the weights, then exchanging."""

    reload: float
    exchanges: float

    @property
    def chunk(self) -> float:
        """Both, one after the other: the first exchange needs the weights."""
        return self.reload + self.exchanges


def reload_bytes(plan: Plan) -> int:
    """Bytes of W_ih and W_hh that the launches of a chunk read, each launch its own.

    Input size H, as in all profiles.
    """
    layer = 8 * plan.hidden**2 * plan.dtype.itemsize
    return sum(plan.row_groups(one) * one.depth * layer for one in plan.launches)


def floor_of(
    plan: Plan, timesteps: int, bandwidth: float, exchange_ns: dict[Launch, float]
) -> Floor:
    """Return the floor of ``plan`` from what was measured.

    Args:
        bandwidth: of reading memory, bytes a second.
        exchange_ns: of one exchange, by ``shape_of`` the launch.
    """
    exchanges = sum(
        plan.row_groups(one) * one.exchanges(timesteps) * exchange_ns[shape_of(one)]
        for one in plan.launches
    )
    return Floor(1e6 * reload_bytes(plan) / bandwidth, 1e-3 * exchanges)


def shape_of(launch: Launch) -> Launch:
    """Return ``launch`` as if of the first layers: what exchanges alike is equal."""
    return replace(launch, layers=(0, launch.depth))


class Limits:
    """Limits of this GPU, measured on first use."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._bandwidth: float | None = None
        self._exchange_ns: dict[Launch, float] = {}

    def floor(self, plan: Plan, timesteps: int) -> Floor:
        """Return the floor of ``plan`` on this GPU."""
        if self._bandwidth is None:
            self._bandwidth = cuda.read_bandwidth(self._device)
        for one in plan.launches:
            shape = shape_of(one)
            if shape not in self._exchange_ns:
                self._exchange_ns[shape] = exchange_nanoseconds(shape, self._device)
        return floor_of(plan, timesteps, self._bandwidth, self._exchange_ns)

    def as_dict(self) -> dict[str, object] | None:
        """Return what has been measured, for JSON; None if nothing has."""
        if self._bandwidth is None:
            return None
        return {
            "read_bytes_per_s": self._bandwidth,
            "exchanges": [
                {
                    "kernel": shape.kernel,
                    "layers": shape.depth,
                    "hidden": shape.hidden,
                    "rows": shape.rows,
                    "programs": shape.programs,
                    "us": 1e-3 * ns,
                }
                for shape, ns in self._exchange_ns.items()
            ],
        }
