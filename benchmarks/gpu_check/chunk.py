"""Samples in, words out: what a caller waits for, the whole way, with the bundled model."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

SAMPLES = Path(__file__).parents[2] / "samples"


def chunk_latency(backend: str, chunk_ms: int, rounds: int) -> dict[str, Any]:
    """Stream the shipped samples ``rounds`` times; milliseconds for a chunk, and the words."""
    from streamasr import Recognizer
    from streamasr.audio import open_audio
    from streamasr.samples import rechunk

    recognizer = Recognizer.from_pretrained(backend=backend)
    size = recognizer.chunk_samples(chunk_ms)
    times: list[float] = []
    texts = {}
    for turn in range(rounds + 1):
        for path in sorted(SAMPLES.glob("*.flac")):
            stream = recognizer.stream()
            with open_audio(path) as audio:
                for piece in rechunk(audio.blocks(), size):
                    began = time.perf_counter()
                    stream.accept(piece)
                    if turn and len(piece) == size:  # the first turn compiles
                        times.append(1e3 * (time.perf_counter() - began))
            texts[path.stem] = stream.finish().text
    p50, p90, p99 = np.percentile(times, [50, 90, 99])
    return {
        "backend": recognizer.backend,
        "reason": recognizer.backend_reason,
        "chunk_ms": chunk_ms,
        "chunks": len(times),
        "ms": {"p50": p50, "p90": p90, "p99": p99},
        "texts": texts,
    }


def whole_chunks(rounds: int) -> dict[str, Any]:
    """Both backends at two chunk sizes; the text of all must be the same."""
    rows = [
        chunk_latency(backend, chunk_ms, rounds)
        for backend in ("triton2", "torch")
        for chunk_ms in (80, 320)
    ]
    torch.cuda.synchronize()
    return {"rows": rows, "ok": len({str(row["texts"]) for row in rows}) == 1}
