"""``streamasr evaluate --live`` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path

from streamasr.manifest import read_manifest, write_manifest


def test_live_prints_latencies(run, samples_folder: Path, tmp_path: Path):
    manifest = tmp_path / "one.tsv"
    chosen = [u for u in read_manifest(samples_folder / "samples.tsv") if "belly" in u.path.name]
    write_manifest(manifest, chosen)
    done = run("evaluate", "--live", "--json", "--quiet", manifest)
    assert done.code == 0
    summary = json.loads(done.out)
    assert summary["final"]["count"] == 1
    assert summary["final"]["p50_ms"] <= summary["final"]["p90_ms"]
    assert (summary["endpoint_silence_ms"], summary["chunk_ms"]) == (800, 80)
    assert {"first_partial", "word", "changed_partial_words", "cpu", "lost_seconds"} <= set(summary)
