"""The model's parts of a timestep beside those that a GPU recorded."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from statistics import median
from typing import NamedTuple

from ._model import SEGMENTS, segments
from ._model_table import GHZ
from .plan import Plan
from .planning import launch_geometry
from .residency import residency
from .timing import LayerTimes
from .types import LSTMError

__all__ = ["Comparison", "compare", "model_nanoseconds"]


class Comparison(NamedTuple):
    """A part of a timestep, or all of it: nanoseconds, modelled and measured."""

    part: str
    modelled: float
    measured: float


@lru_cache(maxsize=64)
def model_nanoseconds(plan: Plan, ghz: float = GHZ) -> tuple[float, ...]:
    """Return what the model says of the parts of a timestep, as ``timing`` divides it.

    The clocks of rows that take turns are those of the first group's waits and of the last group's
    ``h``: the work of all other turns is in ``cell``. It compiles the kernel for the plan's device.

    Raises LSTMError for kernels without a model, and where nothing can be compiled.
    """
    kernels = {one.kernel for one in plan.launches}
    if kernels != {"fragment"}:
        names = " and ".join(sorted(kernels)) or "torch"
        raise LSTMError(f"the {names} kernel has no model")
    launch = plan.launches[0]
    parts = [part.cycles / ghz for part in segments(residency(plan, launch, timed=True).code)]
    turns = -(-launch.rows // launch_geometry(plan, launch).group)
    return (*parts[:-1], parts[-1] + (turns - 1) * sum(parts))


def compare(modelled: Sequence[float], layers: Sequence[LayerTimes]) -> list[Comparison]:
    """Put what ``model_nanoseconds`` gives beside medians of what ``layers`` recorded."""
    recorded = ("wait_input", "wait_h", "cell")
    found = [
        Comparison(part, ns, median(getattr(one, name).p50 for one in layers))
        for part, ns, name in zip(SEGMENTS, modelled, recorded, strict=True)
    ]
    step = median(one.step.p50 for one in layers)
    return [*found, Comparison("timestep", sum(modelled), step)]
