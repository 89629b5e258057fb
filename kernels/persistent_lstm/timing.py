"""Where the time of a timestep goes inside the persistent kernels, and a trace of it.

Programs can record when their input was there, when
``h`` of their own layer was there, and when they published the next ``h``: in cycles of their own
multiprocessor, with one pair of (nanoseconds, cycles) at either end, which puts them all on one
clock. The GPU's nanosecond timer may advance in steps of up to a microsecond, so programs are
aligned no better than that.

Legend: P programs, T timesteps. All times are in nanoseconds.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .errors import raise_pending_error
from .plan import Launch, Plan
from .types import LayerWeights, LSTMError, LSTMState

__all__ = [
    "LaunchTimes",
    "LayerTimes",
    "Spread",
    "by_layer",
    "decode",
    "record",
    "trace_events",
    "write_trace",
]


class Spread(NamedTuple):
    """Percentiles by nearest rank, so that each is a value that occurred; NaN of no values."""

    p50: float
    p90: float
    p99: float
    max: float

    @classmethod
    def of(cls, values: Tensor) -> Spread:
        """Return the percentiles of all elements of ``values``."""
        ordered = values.double().flatten().sort().values.tolist()
        if not ordered:
            return cls(*(math.nan,) * 4)
        ranks = (math.ceil(q * len(ordered) / 100) - 1 for q in (50, 90, 99, 100))
        return cls(*(ordered[rank] for rank in ranks))


@dataclass(frozen=True)
class LaunchTimes:
    """What the programs of one launch did when; nanoseconds since the first program of all began.

    Program ``p`` runs part ``p % parts`` of layer ``first_layer + p // parts``, with ``parts``
    programs a layer.

    Args:
        start: ``(P,)``; from here to ``input[:, 0]`` the weights are loaded.
        input: ``(P, T)``, when the input of a timestep was there and multiplied by W_ih.
        state: ``(P, T)``, when all of ``h`` of the timestep before was there.
        published: ``(P, T)``, when the program had stored its own part of ``h``.
        multiprocessor: ``(P,)``, where it ran.
        first_timestep: of the chunk; long chunks run in several launches.
    """

    first_layer: int
    parts: int
    first_timestep: int
    start: Tensor
    input: Tensor
    state: Tensor
    published: Tensor
    end: Tensor
    multiprocessor: Tensor

    @property
    def depth(self) -> int:
        """How many layers it ran."""
        return len(self.start) // self.parts

    @property
    def before(self) -> Tensor:
        """When each timestep began, ``(P, T)``: as the one before was published."""
        return torch.cat([self.start[:, None], self.published[:, :-1]], dim=1)


def record(
    plan: Plan, x: Tensor, weights: Sequence[LayerWeights], state: LSTMState
) -> list[LaunchTimes]:
    """Run ``x (T, B, I)`` three times as ``plan`` says; return the times of the last."""
    from ._launch import run_plan

    if not plan.fits:
        raise LSTMError(plan.reason)
    stamps: list[Tensor] = []
    for _ in range(3):  # the first compiles, the second warms up
        stamps = []
        run_plan(plan, x, weights, state, stamps=stamps)
    stamps = [one.cpu() for one in stamps]
    raise_pending_error(x.device)
    return decode(plan, stamps)


def decode(plan: Plan, stamps: Sequence[Tensor]) -> list[LaunchTimes]:
    """Read ``stamps``, in the order in which ``run_plan`` made them: ``(P, T + 2, 3)``, int64.

    The first and last row are (nanoseconds, cycles, multiprocessor), those between (input there,
    h there, h published) in cycles.
    """
    timed = [launch for launch in plan.launches for _ in range(plan.row_groups(launch))]
    if not timed or not stamps or len(stamps) % len(timed):
        raise LSTMError(f"{len(stamps)} records of times do not fit a plan of {len(timed)}")
    origin = min(int(one[:, 0, 0].min()) for one in stamps)
    times: list[LaunchTimes] = []
    first_timestep = 0
    for number, one in enumerate(stamps):
        if number and number % len(timed) == 0:
            first_timestep += stamps[number - 1].shape[1] - 2
        times.append(_decode(timed[number % len(timed)], one, origin, first_timestep))
    return times


def _decode(launch: Launch, stamps: Tensor, origin: int, first_timestep: int) -> LaunchTimes:
    if len(stamps) != launch.programs:
        raise LSTMError(f"times of {len(stamps)} programs do not fit {launch.programs}")
    # Differences first: the counters themselves are too large for float64 to keep exactly.
    start = (stamps[:, 0, 0] - origin).double()
    end = (stamps[:, -1, 0] - origin).double()
    cycles = stamps[:, 1:-1] - stamps[:, :1, 1:2]
    last = stamps[:, -1, 1] - stamps[:, 0, 1]
    course = torch.cat([cycles.flatten(1), last[:, None]], dim=1)
    backwards = (course.diff(dim=1, prepend=torch.zeros_like(last)[:, None]) < 0).any(dim=1)
    if bool((backwards | (last <= 0)).any()):
        program = int((backwards | (last <= 0)).nonzero()[0, 0])
        raise LSTMError(f"the times of program {program} are not in order: it gave up waiting")
    rate = (end - start) / last
    ns = start[:, None, None] + cycles * rate[:, None, None]
    return LaunchTimes(
        first_layer=launch.layers[0],
        parts=launch.hidden // launch.units,
        first_timestep=first_timestep,
        start=start,
        input=ns[:, :, 0],
        state=ns[:, :, 1],
        published=ns[:, :, 2],
        end=end,
        multiprocessor=stamps[:, 0, 2],
    )


@dataclass(frozen=True)
class LayerTimes:
    """How one layer spent its timesteps. The first of a launch, which loads weights, is apart.

    Args:
        source: whose output its input is: ``x`` or ``layer 0``, and so on.
        start_up: from a program's start to its first ``h``, over programs.
        step: from one ``h`` of a program to its next, over programs and timesteps; it is the sum
            of ``wait_input`` (the product with W_ih included), ``wait_h`` and ``cell`` (the product
            with W_hh and the gates).
        timesteps: from the slowest program's ``h`` to the slowest one's next, over timesteps.
        programs: each program's mean ``wait_h``, over programs: others wait for those that wait
            least.
        shares: of ``wait_input``, ``wait_h`` and ``cell`` in all time.
    """

    layer: int
    source: str
    start_up: Spread
    step: Spread
    wait_input: Spread
    wait_h: Spread
    cell: Spread
    timesteps: Spread
    programs: Spread
    shares: tuple[float, float, float]

    def __str__(self) -> str:
        """Say what this layer waited for."""
        source, own, cell = (f"{share:.0%}" for share in self.shares)
        return (
            f"layer {self.layer}: {source} of a timestep for {self.source} and its product, "
            f"{own} waiting for its own h, {cell} computing"
        )


def by_layer(times: Sequence[LaunchTimes]) -> list[LayerTimes]:
    """Sum up each layer over all launches that ran it."""
    layers = sorted({one.first_layer + part for one in times for part in range(one.depth)})
    return [_layer(times, layer) for layer in layers]


def _layer(times: Sequence[LaunchTimes], layer: int) -> LayerTimes:
    start_up, waits, states, cells, frontier, programs = ([] for _ in range(6))
    for one in times:
        place = layer - one.first_layer
        if not 0 <= place < one.depth:
            continue
        own = slice(place * one.parts, (place + 1) * one.parts)
        start_up.append(one.published[own, 0] - one.start[own])
        later = slice(1, None)
        waits.append((one.input - one.before)[own, later].flatten())
        states.append((one.state - one.input)[own, later].flatten())
        cells.append((one.published - one.state)[own, later].flatten())
        frontier.append(one.published[own].amax(dim=0).diff())
        if one.input.shape[1] > 1:
            programs.append((one.state - one.input)[own, later].mean(dim=1))
    parts = [torch.cat(values) for values in (waits, states, cells)]
    step = torch.stack(parts).sum(dim=0)
    total = float(step.sum()) or math.nan
    wait_input, wait_h, cell = (float(part.sum()) / total for part in parts)
    return LayerTimes(
        layer=layer,
        source=f"layer {layer - 1}" if layer else "x",
        start_up=Spread.of(torch.cat(start_up)),
        step=Spread.of(step),
        wait_input=Spread.of(parts[0]),
        wait_h=Spread.of(parts[1]),
        cell=Spread.of(parts[2]),
        timesteps=Spread.of(torch.cat(frontier)),
        programs=Spread.of(torch.cat(programs) if programs else step[:0]),
        shares=(wait_input, wait_h, cell),
    )


def trace_events(times: Sequence[LaunchTimes]) -> list[dict[str, Any]]:
    """Return events of the Trace Event Format, with microseconds: a process per layer, a track
    per program, and the spans ``load weights``, ``wait input``, ``wait h`` and ``cell``."""
    events: list[dict[str, Any]] = []
    named = set()
    for one in times:
        for program in range(len(one.start)):
            layer = one.first_layer + program // one.parts
            # Numbers begin at 1: viewers take process 0 for an idle one.
            track = {"pid": layer + 1, "tid": program % one.parts + 1}
            if (layer, track["tid"]) not in named:
                named.add((layer, track["tid"]))
                place = f"program {program} on SM {int(one.multiprocessor[program])}"
                events.append(_name("process_name", f"layer {layer}", track))
                events.append(_name("thread_name", place, track))
            events += _spans(one, program, track)
    return events


def _name(kind: str, name: str, track: dict[str, int]) -> dict[str, Any]:
    return {"ph": "M", "name": kind, "ts": 0, **track, "args": {"name": name}}


def _spans(one: LaunchTimes, program: int, track: dict[str, int]) -> list[dict[str, Any]]:
    spans = []
    columns = (values[program].tolist() for values in (one.input, one.state, one.published))
    begin = float(one.start[program])
    for t, (there, state, published) in enumerate(zip(*columns, strict=True)):
        pieces = (
            ("wait input" if t else "load weights", begin, there),
            ("wait h", there, state),
            ("cell", state, published),
        )
        for name, start, end in pieces:
            spans.append(
                {
                    "ph": "X",
                    "name": name,
                    "cat": "lstm",
                    "ts": round(start / 1e3, 4),
                    "dur": round((end - start) / 1e3, 4),
                    **track,
                    "args": {"timestep": one.first_timestep + t},
                }
            )
        begin = published
    return spans


def write_trace(times: Sequence[LaunchTimes], path: Path) -> None:
    """Write a trace that Perfetto (ui.perfetto.dev) and ``chrome://tracing`` open."""
    document = {"traceEvents": trace_events(times), "displayTimeUnit": "ns"}
    path.write_text(json.dumps(document), encoding="utf-8")
