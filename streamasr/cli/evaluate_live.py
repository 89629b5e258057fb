"""``streamasr evaluate --live``: how soon words stand there, and whether they stay."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from rich.table import Table

from . import console, failed

if TYPE_CHECKING:
    from ..api import Recognizer
    from ..failures import Failure
    from ..live_evaluation import LiveEvaluation
    from ..manifest import Utterance

__all__ = ["run_live"]

_NAMES = {
    "first_partial": "first word's end to first partial",
    "word": "word's end to word",
    "final": "end of speech to final",
}


def run_live(
    recognizer: Recognizer,
    utterances: Sequence[Utterance],
    chunk_ms: int,
    as_json: bool,
    advance: Callable[[], None],
) -> Sequence[Failure]:
    """Replay ``utterances`` and print the figures; return the recordings that failed."""
    from ..live_evaluation import evaluate_live

    evaluation = evaluate_live(
        recognizer, utterances, chunk_ms=chunk_ms, report=lambda _: advance()
    )
    summary = _summary(evaluation, recognizer, chunk_ms)
    if as_json:
        print(json.dumps(summary))
    else:
        _print(evaluation, summary)
    return evaluation.failed


def _summary(
    evaluation: LiveEvaluation, recognizer: Recognizer, chunk_ms: int
) -> dict[str, object]:
    from ..wer import count_errors

    results = evaluation.results
    latencies = {
        name: {
            "count": len(values),
            "p50_ms": _percentile(values, 50),
            "p90_ms": _percentile(values, 90),
        }
        for name, values in evaluation.figures().items()
    }
    return {
        **latencies,
        "endpoint_silence_ms": evaluation.silence_ms,
        "changed_partial_words": evaluation.changed_share,
        "cpu": evaluation.cpu,
        "lost_seconds": sum(r.lost_seconds for r in results),
        "wer": count_errors(
            [r.utterance.transcript for r in results], [r.text for r in results]
        ).wer
        if results
        else None,
        "utterances": len(results),
        "chunk_ms": chunk_ms,
        "decoder": recognizer.decoder,
        "backend": recognizer.backend,
        "model": recognizer.fingerprint,
        "failed": failed.as_json(evaluation.failed),
    }


def _percentile(values: list[float], percent: float) -> float | None:
    return round(float(np.percentile(values, percent)), 1) if values else None


def _print(evaluation: LiveEvaluation, summary: dict[str, object]) -> None:
    if not evaluation.results:
        print(f"nothing measured{failed.not_measured(evaluation)}")
        return
    table = Table("latency, ms", title=f"{len(evaluation.results)} recordings in real time")
    for column in ("n", "p50", "p90"):
        table.add_column(column, justify="right")
    for name, values in evaluation.figures().items():
        cells = [f"{np.percentile(values, p):.0f}" if values else "-" for p in (50, 90)]
        table.add_row(_NAMES[name], str(len(values)), *cells)
    console.stdout().print(table)
    print(
        f"endpoint silence {evaluation.silence_ms:.0f} ms  "
        f"partial words changed {100 * evaluation.changed_share:.1f} %  "
        f"CPU {100 * evaluation.cpu:.0f} % of a core  "
        f"WER {100 * float(str(summary['wer'])):.2f} %  lost {summary['lost_seconds']:.1f} s"
        f"{failed.not_measured(evaluation)}"
    )
