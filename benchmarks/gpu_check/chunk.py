"""Samples in, words out: what a caller waits for, the whole way, with the bundled model."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

KINDS = [("greedy", 80), ("greedy", 320), ("beam", 320)]
SAMPLES = Path(__file__).parents[2] / "samples"


def chunk_latency(
    backend: str, chunk_ms: int, rounds: int, *, samples: int = 5, decoder: str = "auto"
) -> dict[str, Any]:
    """Stream shipped samples ``rounds`` times; milliseconds for a chunk, and the words."""
    from streamasr import Recognizer
    from streamasr.audio import open_audio
    from streamasr.samples import rechunk

    recognizer = Recognizer.from_pretrained(backend=backend, decoder=decoder)
    size = recognizer.chunk_samples(chunk_ms)
    times: list[float] = []
    texts = {}
    for turn in range(rounds + 1):
        for path in sorted(SAMPLES.glob("*.flac"), key=lambda one: one.stat().st_size)[:samples]:
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
        "decoder": decoder,
        "chunk_ms": chunk_ms,
        "chunks": len(times),
        "ms": {"p50": p50, "p90": p90, "p99": p99},
        "texts": texts,
    }


def whole_chunks(kind: tuple[str, int], *, samples: int = 2) -> dict[str, Any]:
    """What ``auto`` takes beside torch, by decoder and chunk size; the texts must be the same."""
    decoder, chunk_ms = kind
    rows = [
        chunk_latency(backend, chunk_ms, 1, samples=samples, decoder=decoder)
        for backend in ("auto", "torch")
    ]
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return {"rows": rows, "ok": rows[0]["texts"] == rows[1]["texts"]}
