"""Batch beside pocketsphinx and beside one file at a time: RTFx and WER, same files, one run.

    pip install pocketsphinx
    python benchmarks/batch.py dev.tsv --every 6

Everyone gets the same worker processes, a core each; start-up (loading models, starting
processes) is apart. "one at a time" is what ``streamasr transcribe`` does with a single file:
streamed in chunks of 320 ms, with as many threads as there are workers. The last line on stdout
is JSON.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from streamasr import Recognizer, RecognizerOptions
from streamasr.audio import open_audio
from streamasr.cores import cores
from streamasr.jobs.local import LocalPool
from streamasr.jobs.tasks import Settings, Task
from streamasr.manifest import Utterance, read_manifest
from streamasr.wer import count_errors

_peer: Any = None


def _load_peer() -> None:
    from peer import pocketsphinx

    global _peer  # noqa: PLW0603 (a process of a pool keeps its decoder so)
    _peer = pocketsphinx()


def _ask_peer(path: str) -> str:
    with open_audio(path) as source:
        text: str = _peer(np.concatenate([*source.blocks()]))
    return text


def pocketsphinx(paths: list[str], workers: int) -> tuple[list[str], float, float]:
    """Return texts, and seconds of start-up and of work."""
    began = time.perf_counter()
    with multiprocessing.get_context("spawn").Pool(workers, _load_peer) as pool:
        pool.map(_ask_peer, paths[:workers], chunksize=1)
        ready = time.perf_counter()
        texts = pool.map(_ask_peer, paths, chunksize=1)
        return texts, ready - began, time.perf_counter() - ready


def batch(paths: list[str], workers: int, decoder: str) -> tuple[list[str], float, float]:
    """Return texts, and seconds of start-up and of work."""
    began = time.perf_counter()
    pool = LocalPool(Settings(RecognizerOptions(decoder=decoder)), workers)
    try:
        pool.open()
        while not all(hand.ready for hand in pool._hands):
            list(pool._replies())
        ready = time.perf_counter()
        tasks = [Task(number, path) for number, path in enumerate(paths)]
        texts = [""] * len(paths)
        for outcomes in pool.run(sorted(tasks, key=lambda task: -Path(task.path).stat().st_size)):
            for outcome in outcomes or ():
                assert outcome.transcript is not None, outcome.problem
                texts[outcome.task.id] = outcome.transcript.plain_text
        return texts, ready - began, time.perf_counter() - ready
    finally:
        pool.close()


def one_at_a_time(paths: list[str], workers: int, decoder: str) -> tuple[list[str], float, float]:
    """Return texts, and seconds of start-up and of work."""
    torch.set_num_threads(workers)
    began = time.perf_counter()
    recognizer = Recognizer.from_pretrained(decoder=decoder)
    ready = time.perf_counter()
    texts = [recognizer.transcribe(path).plain_text for path in paths]
    return texts, ready - began, time.perf_counter() - ready


def main(
    manifest: Path,
    every: Annotated[int, typer.Option(help="Take each N-th recording only.")] = 1,
    workers: Annotated[int, typer.Option(help="Processes; 0: a core each.")] = 0,
    peer: Annotated[bool, typer.Option(help="Measure pocketsphinx, too.")] = True,
    only: Annotated[str, typer.Option(help="One of them, such as 'batch, beam'.")] = "",
) -> None:
    """Measure everyone on the same recordings, one after the other."""
    workers = workers or cores()
    utterances: list[Utterance] = read_manifest(manifest)[::every]
    paths = [str(utterance.path) for utterance in utterances]
    seconds = 0.0
    for path in paths:
        with open_audio(path) as audio:
            seconds += sum(map(len, audio.blocks())) / 16_000
    runs = {
        "batch, greedy": lambda: batch(paths, workers, "greedy"),
        "batch, beam": lambda: batch(paths, workers, "beam"),
        "one at a time, greedy": lambda: one_at_a_time(paths, workers, "greedy"),
        "one at a time, beam": lambda: one_at_a_time(paths, workers, "beam"),
    }
    if peer:
        runs["pocketsphinx"] = lambda: pocketsphinx(paths, workers)
    if only:
        runs = {only: runs[only]}
    results: dict[str, dict[str, float]] = {}
    for name, run in runs.items():
        texts, start_up, spent = run()
        counts = count_errors([utterance.transcript for utterance in utterances], texts)
        results[name] = {
            "rtfx": seconds / spent,
            "start_up_s": start_up,
            "wer": counts.wer,
            "cer": counts.cer,
            "substitutions": counts.substitutions,
            "deletions": counts.deletions,
            "insertions": counts.insertions,
        }
        print(f"{name:22} " + "  ".join(f"{k} {v:.4f}" for k, v in results[name].items()))
    about = {
        "manifest": manifest.name,
        "recordings": len(paths),
        "hours": seconds / 3600,
        "workers": workers,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }
    print(json.dumps({**about, "results": results}))


if __name__ == "__main__":
    typer.run(main)
