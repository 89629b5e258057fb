"""``python -m persistent_lstm.inspect``: compile plans ahead of time and show where weights live.

Exits with 1 when anything is not proven, with 2 when it cannot look. It needs Triton, no GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch

from ._kernels import require_triton
from ._model_table import GHZ, model_lines, model_notes
from .devices import DEVICES
from .plan import Plan
from .planning import PLANNERS
from .residency import Residency, residencies
from .types import LSTMError

__all__ = ["main"]

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
COLUMNS = "{:<8}{:<9}{:<44}{:<24}{:>5}{:>6}{:>9}{:>7}{:>5}  {}"


class Case(NamedTuple):
    """What to plan and compile."""

    device: str
    layers: int
    hidden: int
    batch: int
    dtype: torch.dtype = torch.bfloat16
    residual: bool = False
    split: bool = True
    ragged: bool = True
    backend: str = "triton"

    @property
    def plan(self) -> Plan:
        """The plan for it."""
        return PLANNERS[self.backend](
            self.layers,
            self.hidden,
            self.batch,
            self.dtype,
            DEVICES[self.device],
            residual=self.residual,
            split=self.split,
        )

    def __str__(self) -> str:
        words = [
            f"{self.layers}x{self.hidden} B={self.batch}",
            str(self.dtype).removeprefix("torch."),
            *(["residual"] if self.residual else []),
            *([] if self.split else ["rounded"]),
            *(["ragged"] if self.ragged else []),
        ]
        return " ".join(words)


def standard_cases(device: str, *, quick: bool = False) -> Iterator[Case]:
    """Yield what a release must show for a device; ``quick``: what every change must."""
    switches = (True, False)
    if quick:
        yield Case(device, 4, 512, 1, ragged=False)
        yield Case(device, 4, 512, 16, residual=True)
        yield Case(device, 1, 1024, 8, ragged=False)
        yield Case(device, 1, 1024, 64)
        return
    for batch in (1, 8, 16):
        for residual in switches:
            for split in switches:
                for ragged in switches:
                    yield Case(
                        device,
                        4,
                        512,
                        batch,
                        residual=residual,
                        split=split,
                        ragged=ragged,
                    )
        yield Case(device, 4, 512, batch, torch.float16, residual=True)
        yield Case(device, 3, 512, batch, residual=True)
        for split in switches:
            yield Case(device, 1, 1024, batch, split=split)
        yield Case(device, 1, 1024, batch, torch.float16)
    for batch in (32, 64):
        for split in switches:
            yield Case(device, 4, 512, batch, split=split)
            yield Case(device, 1, 1024, batch, split=split)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = _parser().parse_args(arguments)
    # The interpreter's kernels cannot be compiled; it must go before Triton is imported.
    os.environ.pop("TRITON_INTERPRET", None)
    try:
        require_triton()
        cases = list(_cases(options))
        if options.sass:
            return _show_sass(cases)
        if options.model:
            return _show_model(cases, options.ghz)
        return _show_table(cases, as_json=options.json)
    except LSTMError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    def numbers(text: str) -> list[int]:
        values = [int(part) for part in text.split(",")]
        if min(values) < 1:
            raise ValueError
        return values

    parser = argparse.ArgumentParser(
        prog="python -m persistent_lstm.inspect",
        description="Compile plans ahead of time and show whether the weights stay on chip.",
        epilog="Without sizes it goes through the standard set. Lists are separated by commas.",
    )
    parser.add_argument(
        "--for",
        dest="devices",
        default="h200,a100,rtx4090,b200",
        metavar="DEVICES",
        help=f"GPUs to compile for, of {', '.join(DEVICES)} (default: %(default)s)",
    )
    sizes = parser.add_argument_group("sizes")
    for name, meaning in (("L", "layers"), ("H", "hidden sizes"), ("B", "batch sizes")):
        sizes.add_argument(f"-{name}", type=numbers, help=meaning)
    sizes.add_argument("--dtype", choices=DTYPES, default="bfloat16", help="of the weights")
    kind = sizes.add_mutually_exclusive_group()
    kind.add_argument("--residual", action="store_true", help="a residual stack")
    kind.add_argument("--plain", action="store_true", help="a plain stack (default)")
    sizes.add_argument("--rounded", action="store_true", help="h rounded to 16 bits in products")
    sizes.add_argument("--ragged", action="store_true", help="rows of different lengths")
    parser.add_argument(
        "--backend",
        choices=tuple(PLANNERS),
        default="triton",
        help="whose plan (default: %(default)s)",
    )
    parser.add_argument("--quick", action="store_true", help="a few cells of the standard set")
    show = parser.add_mutually_exclusive_group()
    show.add_argument("--sass", action="store_true", help="print the time loop's machine code")
    show.add_argument("--json", action="store_true", help="print one JSON list")
    show.add_argument(
        "--model", action="store_true", help="show where the cycles of a timestep go, modelled"
    )
    parser.add_argument(
        "--ghz", type=float, default=GHZ, help="clock of the model's nanoseconds [%(default)s]"
    )
    return parser


def _cases(options: argparse.Namespace) -> Iterator[Case]:
    devices = options.devices.lower().split(",")
    for device in devices:
        if device not in DEVICES:
            raise LSTMError(f"unknown device {device!r}: choose from {', '.join(DEVICES)}")
    sized = options.L or options.H or options.B or options.sass
    for device in devices[:1] if options.sass else devices:
        if not sized:
            for case in standard_cases(device, quick=options.quick):
                yield case._replace(backend=options.backend)
            continue
        for layers in options.L or [4]:
            for hidden in options.H or [512]:
                for batch in options.B or [1]:
                    yield Case(
                        device,
                        layers,
                        hidden,
                        batch,
                        DTYPES[options.dtype],
                        residual=options.residual,
                        split=not options.rounded,
                        ragged=options.ragged,
                        backend=options.backend,
                    )


def _show_table(cases: Iterable[Case], *, as_json: bool) -> int:
    rows: list[dict[str, Any]] = []
    failed = 0
    if not as_json:
        print(
            COLUMNS.format(
                "target",
                "GPU",
                "case",
                "kernel",
                "regs",
                "spill",
                "shared",
                "loads",
                "ways",
                "weights a program",
            )
        )
    for case in cases:
        plan = case.plan
        if not plan.fits and not as_json:
            print(
                f"{f'sm_{plan.device.capability}':<8}{case.device:<9}{case!s:<44}"
                f"does not fit, torch runs it: {plan.reason}"
            )
        for found in residencies(case.plan, ragged=case.ragged):
            failed += bool(found.problems)
            rows.append(_row(case, found))
            if not as_json:
                print(_line(case, found), flush=True)
    if as_json:
        print(json.dumps(rows, indent=1))
    else:
        version = f", Triton {rows[0]['triton']}" if rows else ""
        print(f"{len(rows)} kernels{version}: {failed or 'none'} not proven")
        print(
            "loads: of weights, inside the time loop; ways: worst conflict of banks there, ? if "
            "not known;\nspill and shared: bytes"
        )
    return int(failed > 0)


def _line(case: Case, found: Residency) -> str:
    launch, code = found.launch, found.code
    kernel = f"{launch.kernel} U={launch.units} rows={launch.rows}"
    where = "shared memory" if launch.kernel == "wide" else "registers"
    proof = "; ".join(found.problems) or f"{launch.weight_bytes} in {where}, resident"
    return COLUMNS.format(
        f"sm_{code.target}",
        case.device,
        str(case),
        kernel,
        code.registers,
        code.spill,
        code.shared,
        code.weight_loads_in_loop,
        "?" if code.unknown_accesses else f"{code.ways:g}",
        proof,
    )


def _row(case: Case, found: Residency) -> dict[str, Any]:
    code, launch = found.code, found.launch
    return {
        "case": str(case),
        "device": case.device,
        "target": code.target,
        "triton": code.triton,
        "kernel": launch.kernel,
        "units": launch.units,
        "rows": launch.rows,
        "registers": code.registers,
        "spill": code.spill,
        "shared": code.shared,
        "shared_planned": launch.shared,
        "weight_bytes": launch.weight_bytes,
        "weight_loads_in_loop": code.weight_loads_in_loop,
        "ways": None if code.unknown_accesses else code.ways,
        "loaded_before": code.loaded_before,
        "kept": code.kept,
        "counts": code.counts,
        "problems": list(found.problems),
    }


def _show_model(cases: Iterable[Case], ghz: float) -> int:
    for case in cases:
        plan = case.plan
        print(f"{case} on {plan.device.name}", flush=True)
        if not plan.fits:
            print(f"  does not fit, torch runs it: {plan.reason}")
        for line in model_lines(plan, ragged=case.ragged, ghz=ghz):
            print(line, flush=True)
    print(model_notes(ghz))
    return 0


def _show_sass(cases: list[Case]) -> int:
    case = cases[0]
    print(case.plan)
    if not case.plan.fits:
        return 1
    found = residencies(case.plan, ragged=case.ragged)[0]
    print(f"\ntime loop of launch 1 on sm_{found.code.target}, Triton {found.code.triton}:")
    for one in found.code.loop:
        note = one.note
        print(f"  {one.text:<64}{'; ' + note if note else ''}".rstrip())
    counts = ", ".join(f"{count} {name}" for name, count in found.code.counts.items())
    print(f"\n{counts}\n{_line(case, found)}")
    return int(bool(found.problems))


if __name__ == "__main__":
    sys.exit(main())
