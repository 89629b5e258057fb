"""Write the tables of docs/results.md and README.md from benchmarks/results.

    python -m benchmarks.report

A document holds its tables between ``<!-- table: NAME -->`` and ``<!-- end -->``. Each comes from
the newest file of its kind, ``KIND-YYYY-MM-DD.json``: what a benchmark printed, as ``results``,
and beside it the ``commit``, the ``machine`` and the ``command``. ``--check`` changes nothing, and
fails where a document differs from its data.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
DOCUMENTS = (ROOT / "docs" / "results.md", ROOT / "README.md")

_BLOCK = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_SETS = {
    "dev.tsv": "read English (LibriSpeech dev-clean readers)",
    "dev-accented.tsv": "strong accents, children (speechocean762)",
}


def newest(kind: str) -> dict[str, Any]:
    """Return the newest results of this kind."""
    paths = sorted(RESULTS.glob(f"{kind}-[0-9]*-[0-9][0-9].json"))
    found: dict[str, Any] = json.loads(paths[-1].read_text(encoding="utf-8"))
    return found


def table(head: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    """Return a Markdown table."""
    names = list(head)
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines) + "\n"


def source(found: dict[str, Any]) -> str:
    """Return the line that says where figures come from."""
    return f"\n`{found['command']}` at commit {found['commit'][:7]}; {found['machine']}.\n"


def percent(value: float) -> str:
    """Return a share as error rates are written."""
    return f"{100 * value:.2f} %"


def accuracy() -> str:
    """Error rates of each set and decoder, by ``evaluate``."""
    found = newest("accuracy")
    rows = [
        (
            _SETS[run["manifest"]],
            f"{run['utterances']} utterances, {run['hours']:.2f} h",
            run["decoder"],
            percent(run["wer"]),
            percent(run["cer"]),
            f"{run['substitutions']} / {run['deletions']} / {run['insertions']}",
            f"{run['rtf']:.3f}" if "rtf" in run else "",
        )
        for run in found["results"]
    ]
    head = ("set", "size", "decoder", "WER", "CER", "sub / del / ins", "RTF")
    return table(head, rows) + source(found)


def live() -> str:
    """Latencies of a live session, by ``evaluate --live``."""
    found = newest("live")
    run = found["results"]
    names = {
        "first_partial": "first word's end to the first partial",
        "word": "word's end to the word",
        "final": f"end of speech to final ({run['endpoint_silence_ms'] / 1000:g} s of it silence)",
    }
    rows: list[tuple[object, ...]] = [
        (name, round(run[key]["p50_ms"]), round(run[key]["p90_ms"])) for key, name in names.items()
    ]
    rows.append(("partial words changed later", f"{100 * run['changed_partial_words']:.1f} %", ""))
    rows.append(("CPU, of a core", f"{100 * run['cpu']:.0f} %", ""))
    rows.append(("audio lost", f"{run['lost_seconds']:g} s", ""))
    return table((f"{run['utterances']} recordings", "p50, ms", "p90, ms"), rows) + source(found)


def batch() -> str:
    """Throughput of many recordings, by ``benchmarks/batch.py``."""
    found = newest("batch")
    run = found["results"]
    rows = [
        (name, f"{own['rtfx']:.1f}", percent(own["wer"]), f"{own['start_up_s']:.1f}")
        for name, own in run["results"].items()
    ]
    head = (f"{run['recordings']} recordings, {60 * run['hours']:.0f} min", "RTFx", "WER")
    return table((*head, "start-up, s"), rows) + source(found)


def peers() -> str:
    """Other recognizers on the same recordings, by ``benchmarks/peer.py``."""
    found = newest("peers")
    run = found["results"]
    rows = [
        (
            name,
            percent(own["wer"]),
            f"{own['rtf']:.3f}",
            f"{own['start_up_s']:.1f}",
            round(own["peak_mb"]),
        )
        for name, own in run["results"].items()
    ]
    head = (f"{run['utterances']} recordings, {60 * run['hours']:.0f} min, one core", "WER", "RTF")
    return table((*head, "start-up, s", "peak, MB"), rows) + source(found)


def serving() -> str:
    """Word latencies by the number of callers, by ``benchmarks/load.py``."""
    found = newest("serving")
    run = found["results"]
    rows: list[tuple[object, ...]] = [
        ("alone, computing taking no time", run["own_p50"], run["own_p95"], "")
    ]
    rows += [
        (trial["streams"], trial["word_p50"], trial["word_p95"], trial["added_p95"])
        for trial in run["trials"]
    ]
    head = ("callers", "word, p50, ms", "p95, ms", "added by the server, p95, ms")
    return table(head, rows) + source(found)


def kernels() -> str:
    """Microseconds per timestep of the LSTM on a GPU, by ``scripts/gpu_check``."""
    found = newest("h100")
    columns = ("version 2", "version 2, rounded", "version 1", "cuDNN")
    rows = []
    timings = [each for each in found["version2_timings"] if "timing" in each]
    for each in sorted(
        timings, key=lambda each: [each["timing"][k] for k in ("H", "residual", "B")]
    ):
        case, us = each["timing"], each["us_per_timestep"]
        if case["T"] == 32:
            stack = f"{case['L']} x {case['H']} {'residual' if case['residual'] else 'plain'}"
            cells = [f"{us[name]['p50']:.2f}" if name in us else "" for name in columns]
            rows.append((stack, case["B"], *cells))
    head = (
        "stack",
        "rows",
        "`h` in two halves",
        "`h` rounded",
        "first version, gone since",
        "cuDNN",
    )
    versions = found["versions"]
    return table(head, rows) + (
        f"\n`scripts/gpu_check --only version2` at commit {found['commit'][:7]}; "
        f"{found['device']}, torch {versions['torch']}, Triton {versions['triton']}.\n"
    )


def figures() -> str:
    """The README's few."""
    runs = newest("accuracy")["results"]
    wer = {(run["manifest"], run["decoder"]): run["wer"] for run in runs}
    final, many = newest("live")["results"]["final"], newest("batch")
    timing = next(
        each["us_per_timestep"]
        for each in newest("h100")["version2_timings"]
        if each.get("timing") == {"L": 4, "H": 512, "B": 1, "T": 32, "residual": False}
    )
    rows = [
        *((f"WER, {name}", percent(wer[manifest, "beam"])) for manifest, name in _SETS.items()),
        ("live: end of speech to final, p90", f"{final['p90_ms'] / 1000:.2f} s"),
        (
            f"many recordings, two CPU cores{many.get('note', '')}",
            f"{many['results']['results']['batch, beam']['rtfx']:.0f} times real time",
        ),
        (
            "a timestep of 4 x 512 on an H100, one row",
            f"{timing['version 2']['p50']:.2f} µs (cuDNN {timing['cuDNN']['p50']:.1f})",
        ),
    ]
    return table(("", ""), rows)


TABLES: dict[str, Callable[[], str]] = {
    each.__name__: each for each in (accuracy, peers, live, batch, serving, kernels, figures)
}


def filled(text: str) -> str:
    """Return a document with its tables as the data has them."""
    return _BLOCK.sub(lambda m: f"{m[1]}{TABLES[m[2]]()}{m[3]}", text)


def main(arguments: list[str]) -> int:
    """Fill, or check; return the exit code."""
    stale = []
    for path in DOCUMENTS:
        before = path.read_text(encoding="utf-8")
        after = filled(before)
        if after != before:
            stale.append(path)
            if arguments != ["--check"]:
                path.write_text(after, encoding="utf-8")
    if arguments == ["--check"] and stale:
        names = ", ".join(path.name for path in stale)
        print(
            f"{names}: not as benchmarks/results says: python -m benchmarks.report", file=sys.stderr
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
