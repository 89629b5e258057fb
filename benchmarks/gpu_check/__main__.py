"""All that a GPU can say about the kernels, in one command.

    scripts/gpu_check
    scripts/gpu_check --only correctness,soak --soak 10000000
    scripts/gpu_check --only search
    scripts/gpu_check --only version2 --minutes 3

Correctness against float64 at real sizes, provoked failures, a soak beside cuDNN, the benchmark
beside its baselines, the latency of whole chunks, and the beam search beside the CPU's; and, when
asked for, all of this for version 2 of the kernels. The results go to
``benchmarks/results/<gpu>-<date>.json`` with commit and versions, with a plot beside it. Exit code
1 if anything was wrong.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from . import correctness, soak

PARTS = ["correctness", "soak", "benchmark", "chunks", "search"]
ASKED_FOR = ["version2"]
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


def all_cases(jobs: int) -> list[dict[str, Any]]:
    """Run every case, ``jobs`` at once: most of the time is the compiler's, on the CPU."""
    context = get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=correctness.forbid_tf32) as pool:
        cases = [(case, pool.submit(correctness.check, case)) for case in correctness.CASES]
        return [attempt(str(case), future.result) for case, future in cases]


def benchmark(seconds: float, picture: Path) -> dict[str, Any]:
    """The sizes that the README speaks of, every backend in one run."""
    from streamasr.profiling import Cell, Settings, backends_here, profile
    from streamasr.profiling.plot import plot_latency

    cells = [
        *(Cell(4, 512, 1, T, "bfloat16", r) for T in (1, 4, 8, 16, 32) for r in (True, False)),
        *(Cell(4, 512, B, 32, "bfloat16", r) for B in (8, 16, 32, 64) for r in (True, False)),
        *(Cell(1, H, B, 32, "bfloat16", False) for H in (512, 1024) for B in (1, 8)),
        Cell(5, 512, 1, 32, "bfloat16", False),
        Cell(4, 512, 1, 32, "float32", False),
    ]
    backends = [name for name in backends_here() if "cpu" not in name]
    found = profile(Settings(cells, backends, repeat=2000, seconds=seconds), say)
    plot_latency(found, cells, picture)
    return {**found.as_dict(), "ok": True}


def main() -> None:
    """Run the parts asked for, write the results, exit 1 if anything was wrong."""
    parser = argparse.ArgumentParser(prog="scripts/gpu_check", description=__doc__.split("\n")[0])
    parser.add_argument("--soak", type=int, default=1_000_000, help="timesteps [%(default)s]")
    parser.add_argument("--jobs", type=int, default=4, help="cases checked at once [%(default)s]")
    parser.add_argument("--seconds", type=float, default=1.0, help="a backend and size")
    parser.add_argument(
        "--only",
        type=lambda words: words.split(","),
        default=PARTS,
        help=f"parts, separated by commas [{','.join(PARTS)}]; also {', '.join(ASKED_FOR)}",
    )
    parser.add_argument(
        "--minutes", type=float, default=10.0, help="for version2: the rest is left out [10]"
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

    if "correctness" in options.only:
        results["oracle"] = attempt("oracle", correctness.reference_speaks_for_cudnn)
        results["correctness"] = all_cases(options.jobs)
        results["failures"] = attempt("failures", lambda: _all_ok(dict(correctness.failures())))
        results["graph"] = attempt("CUDA graph", correctness.graph)
    if "soak" in options.only:
        results["soak"] = [
            attempt(f"soak, batch {batch}", lambda batch=batch: soak.soak(batch, options.soak))
            for batch in (1, 8, 32)
        ]
    if "benchmark" in options.only:
        picture = stem.with_suffix(".png")
        results["benchmark"] = attempt("benchmark", lambda: benchmark(options.seconds, picture))
    if "chunks" in options.only:
        results["whole_chunks"] = attempt("whole chunks", _whole_chunks)
    if "search" in options.only:
        results["search"] = attempt("beam search", _search)
    path = stem.with_suffix(".json")
    if "version2" in options.only:
        _version2(options, results, path)
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


def _version2(options: argparse.Namespace, results: dict[str, Any], path: Path) -> None:
    """Run what there is time for; what is known by then is on disk after each part."""
    from . import version2

    clock = version2.Clock(options.minutes)
    found = version2.parts(clock, attempt, jobs=options.jobs, steps=options.soak)
    for name, part in found:
        results[f"version2_{name}"] = part
        write(results, path)


def _environment() -> dict[str, Any]:
    """Device, versions and commit; less of it where only the kernels' own needs are installed."""
    try:
        from streamasr.profiling.environment import environment
    except ModuleNotFoundError as error:
        say(f"{error}: benchmark, chunks and search need streamasr's dependencies (pip install .)")
        versions = {"torch": torch.__version__, "python": sys.version.split()[0]}
        return {"device": torch.cuda.get_device_name(), "versions": versions, "commit": None}
    return environment()


def _whole_chunks() -> dict[str, Any]:
    from .chunk import whole_chunks

    return whole_chunks(rounds=2)


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
