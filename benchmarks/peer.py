"""WER and RTF beside pocketsphinx, on the same recordings, in one run, one after the other.

    pip install pocketsphinx
    python benchmarks/peer.py dev.tsv --limit 60

pocketsphinx decodes whole utterances with its own US English models and a trigram language model;
streamasr streams in chunks. Start-up is apart for both. The last line on
stdout is JSON.
"""

from __future__ import annotations

import json
import os
import platform
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from streamasr import Recognizer
from streamasr.audio import open_audio
from streamasr.evaluation import evaluate
from streamasr.manifest import Utterance, read_manifest
from streamasr.wer import count_errors


def pocketsphinx(utterances: list[Utterance]) -> dict[str, float]:
    """Return error rates and RTF of pocketsphinx, start-up apart."""
    from pocketsphinx import Decoder

    decoder = Decoder(samprate=16_000)
    texts, seconds, audio = [], 0.0, 0.0
    for utterance in utterances:
        began = time.perf_counter()
        with open_audio(utterance.path) as source:
            samples = np.concatenate([*source.blocks()])
        decoder.start_utt()
        decoder.process_raw((samples * 32767).astype("<i2").tobytes(), full_utt=True)
        decoder.end_utt()
        result = decoder.hyp()
        seconds += time.perf_counter() - began
        audio += len(samples) / 16_000
        texts.append(result.hypstr if result else "")
    counts = count_errors([u.transcript for u in utterances], texts)
    return {"wer": counts.wer, "cer": counts.cer, "rtf": seconds / audio}


def main(
    manifest: Path,
    limit: Annotated[int, typer.Option(help="The first N utterances.")] = 60,
    chunk_ms: int = 320,
    threads: Annotated[int, typer.Option(help="Threads for torch.")] = 2,
) -> None:
    """Measure both on the same utterances."""
    torch.set_num_threads(threads)
    utterances = read_manifest(manifest)[:limit]
    recognizer = Recognizer.from_pretrained()
    ours = evaluate(recognizer, utterances, chunk_ms=chunk_ms)
    results: dict[str, Any] = {
        "streamasr": {"wer": ours.counts.wer, "cer": ours.counts.cer, "rtf": ours.rtf},
        "pocketsphinx": pocketsphinx(utterances),
    }
    for name, figures in results.items():
        print(f"{name:14} " + "  ".join(f"{k} {v:.4f}" for k, v in figures.items()))
    ratios = {
        key: results["streamasr"][key] / results["pocketsphinx"][key] for key in ("wer", "rtf")
    }
    about = {
        "manifest": manifest.name,
        "utterances": len(utterances),
        "hours": ours.hours,
        "chunk_ms": chunk_ms,
        "model": recognizer.fingerprint,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }
    print(json.dumps({**about, **results, "ratios": ratios}))


if __name__ == "__main__":
    typer.run(main)
