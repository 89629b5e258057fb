"""Profile all backends over all sizes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from persistent_lstm import DEVICES, Device, LSTMError, Plan
from persistent_lstm.comparison import Comparison, compare, model_nanoseconds
from persistent_lstm.devices import device_of
from persistent_lstm.timing import LaunchTimes, LayerTimes, Spread, by_layer, record

from ..errors import ProfileError
from . import backends
from .backends import BACKENDS, Backend, CannotRun, backends_here
from .cells import Cell, Problem
from .floor import Floor, Limits
from .measure import Measured, measure

__all__ = ["Inside", "Profile", "Row", "Settings", "plans", "profile"]


@dataclass(frozen=True)
class Settings:
    """What to profile.

    Args:
        repeat: chunks sampled for each row, at most.
        seconds: spent on the samples of each row, about.
        target: the GPU of ``DEVICES`` that plans are made for besides; empty for none.
        target_dtype: of those plans.
        trace: insist on the times from inside the first cell's kernels.
    """

    cells: list[Cell]
    backends: list[str]
    repeat: int
    seconds: float
    target: str = ""
    target_dtype: str = ""
    trace: bool = False

    def check(self) -> None:
        """Raise ProfileError for what is unknown or cannot be done here."""
        here = backends_here()
        for name in self.backends:
            if name not in BACKENDS:
                raise ProfileError(f"unknown backend {name!r}: choose of {', '.join(here)}")
            if name not in here:
                raise ProfileError(
                    f"backend {name} needs an NVIDIA GPU, and torch sees none; "
                    f"here: {', '.join(here)}"
                )
        if self.target and self.target not in DEVICES:
            raise ProfileError(f"unknown GPU {self.target!r}: choose of {', '.join(DEVICES)}")
        if not self.trace:
            return
        device = _device_here()
        if device is None or not self.kernels:
            raise ProfileError(
                "a trace is of a triton backend: it needs an NVIDIA GPU, and triton among "
                "the backends"
            )
        plan = self.cells[0].plan(device, self.kernels[0])
        if not plan.fits:
            raise ProfileError(f"{self.cells[0]}: no trace of it: {plan.reason}")

    @property
    def kernels(self) -> list[str]:
        """The plans of the persistent kernels among the backends, in their order."""
        known = (BACKENDS[name].kernels for name in self.backends)
        return list(dict.fromkeys(filter(None, known)))


@dataclass(frozen=True)
class Row:
    """One backend on one cell; with ``reason``, it could not run and nothing was measured."""

    backend: Backend
    cell: Cell
    measured: Measured | None
    floor: Floor | None = None
    reason: str = ""

    def as_dict(self) -> dict[str, object]:
        """Return it for JSON: microseconds per timestep (``us``), milliseconds (``ms``)."""
        values: dict[str, object] = {"backend": self.backend.name, **self.cell.as_dict()}
        if self.measured is None:
            return {**values, "not_run": self.reason}
        m, steps = self.measured, self.cell.timesteps
        values |= {
            "samples": m.samples,
            "us": _spread(m.chunk, steps),
            "waited_us": _spread(m.waited, steps),
            "first_ms": round(m.first, 3),
            "warm_up_ms": round(m.warm_up, 3),
            "kernels_per_chunk": m.kernels,
        }
        if self.floor is not None:
            values["floor_us"] = self.floor.chunk / steps
            values["floor_reload_us"] = self.floor.reload / steps
            values["floor_exchanges_us"] = self.floor.exchanges / steps
            values["floor_share"] = self.floor_share
        return values

    @property
    def floor_share(self) -> float | None:
        """The floor's part of the median chunk: 1 is as fast as can be."""
        if self.floor is None or self.measured is None:
            return None
        return self.floor.chunk / self.measured.chunk.p50


class Inside(NamedTuple):
    """What the layers of a cell did inside the kernels of one plan."""

    cell: Cell
    kernels: str
    layers: list[LayerTimes]
    compared: Sequence[Comparison] = ()  # with the model, where there is one


@dataclass
class Profile:
    """Results: ``inside`` is of the cells whose kernels recorded times, ``times`` all that was
    recorded of the first of these."""

    rows: list[Row] = field(default_factory=list)
    plans: list[Plan] = field(default_factory=list)
    inside: list[Inside] = field(default_factory=list)
    limits: dict[str, object] | None = None
    times: list[LaunchTimes] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, object]:
        """Return it for JSON."""
        return {
            "rows": [row.as_dict() for row in self.rows],
            "floor": self.limits,
            "inside": [
                {
                    **one.cell.as_dict(),
                    "kernels": one.kernels,
                    "layers": [_layer(layer) for layer in one.layers],
                    "compared_ns": [part._asdict() for part in one.compared],
                }
                for one in self.inside
            ],
            "plans": [str(plan) for plan in self.plans],
        }


def _spread(values: Spread, divisor: float = 1) -> dict[str, float | None]:
    """Divide percentiles; JSON has no NaN."""
    return {
        k: None if math.isnan(v) else round(v / divisor, 3) for k, v in values._asdict().items()
    }


def _layer(times: LayerTimes) -> dict[str, object]:
    spreads = ("start_up", "step", "wait_input", "wait_h", "cell", "timesteps", "programs")
    shares = [None if math.isnan(share) else round(share, 4) for share in times.shares]
    return {
        "layer": times.layer,
        "source": times.source,
        **{f"{name}_ns": _spread(getattr(times, name)) for name in spreads},
        **dict(zip(("wait_input_share", "wait_h_share", "cell_share"), shares, strict=True)),
    }


def profile(settings: Settings, report: Callable[[str], None]) -> Profile:
    """Measure each backend on each cell; ``report`` is called with a row before it begins."""
    settings.check()
    result = Profile(plans=plans(settings))
    gpu = backends.gpu()
    limits = Limits(gpu) if gpu else None
    for cell in settings.cells:
        for name in settings.backends:
            backend = BACKENDS[name]
            report(f"{cell}: {name}")
            row = _row(backend, backend.cell(cell), settings)
            if limits and row.measured and backend.on != "cpu":
                row = replace(row, floor=_floor(row, limits, result.notes))
            result.rows.append(row)
        for kernels in settings.kernels:
            _look_inside(cell, kernels, result)
    result.limits = limits.as_dict() if limits else None
    return result


def plans(settings: Settings) -> list[Plan]:
    """Plan the cells for the GPU here, if there is one, and for the target."""
    here = _device_here()
    versions = settings.kernels or ["triton"]
    found = [cell.plan(here, one) for cell in settings.cells for one in versions] if here else []
    if settings.target:
        cells = [replace(cell, dtype=settings.target_dtype) for cell in settings.cells]
        found += [cell.plan(DEVICES[settings.target], one) for cell in cells for one in versions]
    return list(dict.fromkeys(found))


def _device_here() -> Device | None:
    gpu = backends.gpu()
    return device_of(gpu.index) if gpu else None


def _row(backend: Backend, cell: Cell, settings: Settings) -> Row:
    device = backend.device()
    try:
        call = backend.build(Problem(cell, device))
        measured = measure(
            call, device, repeat=settings.repeat, seconds=settings.seconds, graph=backend.graph
        )
    except Exception as error:
        # Too little memory, a dtype that torch lacks on a device, any of Triton's errors, which
        # have no common base: the other rows go on.
        return Row(backend, cell, None, reason=_line(error))
    return Row(backend, cell, measured)


def _floor(row: Row, limits: Limits, notes: list[str]) -> Floor | None:
    device = _device_here()
    plan = row.cell.plan(device, row.backend.kernels or "triton") if device else None
    if plan is None or not plan.fits:
        return None
    try:
        return limits.floor(plan, row.cell.timesteps)
    except Exception as error:
        notes.append(f"{row.cell}: no floor: {_line(error)}")
        return None


def _look_inside(cell: Cell, kernels: str, result: Profile) -> None:
    gpu, device = backends.gpu(), _device_here()
    plan = cell.plan(device, kernels) if device else None
    if gpu is None or plan is None or not plan.fits:
        return
    try:
        problem = Problem(cell, gpu)
        with torch.inference_mode():
            times = record(plan, problem.x, problem.weights, problem.state)
    except Exception as error:
        result.notes.append(f"{cell}: no times from inside: {_line(error)}")
        return
    result.times = result.times or times
    layers = by_layer(times)
    compared: list[Comparison] = []
    if cell.timesteps > 1:  # of a single one there is a start, and no step
        try:
            compared = compare(model_nanoseconds(plan), layers)
        except Exception as error:
            result.notes.append(f"{cell}: no model: {_line(error)}")
    result.inside.append(Inside(cell, kernels, layers, compared))


def _line(error: Exception) -> str:
    """The first line of what went wrong, with the error's type where it is not one of ours."""
    lines = str(error).strip().splitlines()
    if lines and isinstance(error, CannotRun | LSTMError):
        return lines[0]
    return ": ".join([type(error).__name__, *lines[:1]])
