"""All that a GPU can say about the kernels, in one command of three and a half minutes.

    scripts/gpu_check
    scripts/gpu_check --only timings,soak --soak 10000000 --minutes 10
    scripts/gpu_check --only benchmark,search

Each piece of inline PTX beside its stand-in, correctness against float64 at real sizes, times
beside cuDNN, a soak, provoked failures, samples to text, and what a timestep does inside: by each
plan of the kernels. Asked for by name: the profile at the sizes of the README, and the beam search
beside the CPU's. The results go to ``benchmarks/results/<gpu>-<date>.json`` with commit and
versions, each part as it ends. Exit code 1 if anything was wrong.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from . import correctness
from .parts import PARTS, Clock, kernel_parts

ASKED_FOR = ["benchmark", "search"]
TOLD = ("errors", "said", "error", "kernels", "wrong", "us_per_timestep", "ns", "worst_chunk_error")
RESULTS = Path(__file__).parents[1] / "results"


def say(line: str) -> None:
    """To stderr at once: a long run shows where it is."""
    print(line, file=sys.stderr, flush=True)


def attempt(name: str, act: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Run one part; its failure is part of the results and stops no other part."""
    began = time.perf_counter()
    try:
        found = act()
    except Exception as error:
        traceback.print_exc()
        found = {"ok": False, "error": f"{type(error).__name__}: {error}"}
    found["seconds"] = time.perf_counter() - began
    verdict = "ok" if found["ok"] else "WRONG"
    details = {k: v for k, v in found.items() if k in TOLD}
    say(f"{verdict:5} {found['seconds']:6.1f} s  {name}  {details or ''}")
    return found


def benchmark(seconds: float, picture: Path) -> dict[str, Any]:
    """The sizes that the README speaks of, every backend in one run."""
    from streamasr.profiling import Cell, Settings, backends_here, profile
    from streamasr.profiling.plot import plot_latency

    cells = [
        *(Cell(4, 512, 1, T, "bfloat16", r) for T in (1, 4, 8, 16, 32) for r in (True, False)),
        *(Cell(4, 512, B, 32, "bfloat16", r) for B in (8, 16, 32, 64) for r in (True, False)),
        *(Cell(1, H, B, 32, "bfloat16", False) for H in (512, 1024) for B in (1, 8)),
        Cell(5, 512, 1, 32, "bfloat16", False),
    ]
    backends = [name for name in backends_here() if "cpu" not in name]
    found = profile(Settings(cells, backends, repeat=2000, seconds=seconds), say)
    plot_latency(found, cells, picture)
    return {**found.as_dict(), "ok": True}


def main() -> None:
    """Run the parts asked for, write the results, exit 1 if anything was wrong."""
    parser = argparse.ArgumentParser(prog="scripts/gpu_check", description=__doc__.split("\n")[0])
    parser.add_argument("--soak", type=int, default=1_000_000, help="timesteps [%(default)s]")
    parser.add_argument("--jobs", type=int, default=12, help="processes that compile [%(default)s]")
    parser.add_argument("--seconds", type=float, default=1.0, help="of benchmark, a row")
    parser.add_argument(
        "--only",
        type=lambda words: words.split(","),
        default=PARTS,
        help=f"parts, separated by commas [{','.join(PARTS)}]; also {', '.join(ASKED_FOR)}",
    )
    parser.add_argument(
        "--minutes", type=float, default=3.5, help="the rest is left out [%(default)s]"
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the results")
    options = parser.parse_args()
    known = [*PARTS, *ASKED_FOR]
    unknown = set(options.only) - set(known)
    if unknown:
        parser.error(f"--only: no part {', '.join(sorted(unknown))}: choose of {', '.join(known)}")
    if not torch.cuda.is_available():
        sys.exit("scripts/gpu_check needs an NVIDIA GPU, and torch sees none here")
    correctness.forbid_tf32()
    gpu = torch.cuda.get_device_name().removeprefix("NVIDIA ").replace(" ", "-").lower()
    now = datetime.now(UTC)
    options.out.mkdir(parents=True, exist_ok=True)
    stem = options.out / f"{gpu}-{now:%Y-%m-%d}"
    results: dict[str, Any] = {"time": now.isoformat(), **_environment()}
    say(json.dumps(results))

    path = stem.with_suffix(".json")
    clock = Clock(options.minutes)
    for name, part in kernel_parts(
        options.only, clock, attempt, jobs=options.jobs, steps=options.soak
    ):
        results[name] = part
        write(results, path)
    if "benchmark" in options.only:
        picture = stem.with_suffix(".png")
        results["benchmark"] = attempt("benchmark", lambda: benchmark(options.seconds, picture))
    if "search" in options.only:
        results["search"] = attempt("beam search", _search)
    results = write(results, path)
    say(f"wrote {path}")
    parts = [part for value in results.values() for part in _parts(value)]
    sys.exit(0 if all(part["ok"] for part in parts) else 1)


def write(results: dict[str, Any], path: Path) -> dict[str, Any]:
    """Write the results; parts of the same day and commit add up. Return all there are."""
    if path.exists():
        before = json.loads(path.read_text())
        if before["commit"] == results["commit"]:
            results = {**before, **results}
    path.write_text(json.dumps(results, indent=1) + "\n")
    return results


def _environment() -> dict[str, Any]:
    """Device, versions and commit; less of it where only the kernels' own needs are installed."""
    try:
        from streamasr.profiling.environment import environment
    except ModuleNotFoundError as error:
        say(f"{error}: benchmark, chunks and search need streamasr's dependencies (pip install .)")
        versions = {"torch": torch.__version__, "python": sys.version.split()[0]}
        return {"device": torch.cuda.get_device_name(), "versions": versions, "commit": None}
    return environment()


def _search() -> dict[str, Any]:
    from .search import Problem, search

    found = search(Problem(), correctness.GPU)
    _all_ok(found["parts"])
    for row in found["rows"]:
        say(f"      {json.dumps(row)}")
    say(f"      one core of the CPU: {json.dumps(found['cpu'])}")
    return found


def _all_ok(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    for name, one in found.items():
        say(f"      {'ok' if one['ok'] else 'WRONG'}: {name}: {one.get('said', '')}")
    return {"parts": found, "ok": all(one["ok"] for one in found.values())}


def _parts(value: object) -> list[dict[str, Any]]:
    found = value if isinstance(value, list) else [value]
    if isinstance(value, dict) and "ok" not in value:
        found = list(value.values())
    return [one for one in found if isinstance(one, dict) and "ok" in one]


if __name__ == "__main__":
    main()
