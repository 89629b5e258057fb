"""Live for a long time: does a chunk take as long, and the process as much memory, as at first?

    python benchmarks/soak.py samples/*.flac --minutes 30

The recordings are played over and over, at the pace they were spoken, into the queue that a
microphone fills; what reads it is the path of ``streamasr mic``. A line a minute; the last line
on stdout is JSON.
"""

from __future__ import annotations

import itertools
import json
import resource
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray

from streamasr import Recognizer
from streamasr.api import Listener
from streamasr.audio import SAMPLE_RATE, open_audio
from streamasr.audio.live import BlockQueue, blocks_of

BLOCK = SAMPLE_RATE // 100
PAUSE_SECONDS = 1.5


def play(recordings: Sequence[NDArray[np.float32]], minutes: float, queue: BlockQueue) -> None:
    """Put the recordings, a pause behind each, into ``queue`` in real time."""
    began, sent = time.monotonic(), 0
    for recording in itertools.cycle(recordings):
        for start in range(0, len(recording), BLOCK):
            if sent >= minutes * 60 * SAMPLE_RATE:
                return
            block = recording[start : start + BLOCK]
            sent += len(block)
            due = began + sent / SAMPLE_RATE
            time.sleep(max(0.0, due - time.monotonic()))
            queue.put(block[:, None], due)


def memory_mb() -> int:
    """Return what this process has in memory (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() // 2**20


def main(
    files: list[Path],
    minutes: Annotated[float, typer.Option(help="How long.")] = 30.0,
    decoder: Annotated[str, typer.Option(help="auto, beam or greedy.")] = "auto",
    threads: Annotated[int, typer.Option(help="Threads for torch.")] = 1,
) -> None:
    """Listen for ``minutes``."""
    torch.set_num_threads(threads)
    recordings = []
    for path in files:
        with open_audio(path) as audio:
            pause = np.zeros(round(PAUSE_SECONDS * SAMPLE_RATE), np.float32)
            recordings.append(np.concatenate([*audio.blocks(), pause]))
    listener = Listener(Recognizer.from_pretrained(decoder=decoder))
    queue = BlockQueue(SAMPLE_RATE)
    player = threading.Thread(target=play, args=(recordings, minutes, queue), daemon=True)
    rows: list[dict[str, Any]] = []
    spent: list[float] = []
    lost, words, cpu = 0.0, 0, time.process_time()
    player.start()
    for block in blocks_of(queue, lambda: not player.is_alive()):
        lost += block.lost_seconds
        heard, began = listener.state.heard, time.perf_counter()
        events = listener.accept(block)
        if listener.state.heard > heard:  # a chunk has gone through the model
            spent.append(1000 * (time.perf_counter() - began))
        words += sum(len(event.words) for event in events if event.type == "final")
        if listener.seconds >= 60 * (len(rows) + 1):
            now = time.process_time()
            p50, p90 = np.percentile(spent, [50, 90])
            rows.append(
                {
                    "minute": len(rows) + 1,
                    "chunk_ms_p50": round(float(p50), 2),
                    "chunk_ms_p90": round(float(p90), 2),
                    "memory_mb": memory_mb(),
                    "waiting_s": round(queue.waiting_seconds, 2),
                    "lost_s": round(lost, 2),
                    "words": words,
                    "cpu": round((now - cpu) / 60, 3),
                }
            )
            print("  ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
            spent, cpu = [], now
    print(json.dumps({"decoder": decoder, "threads": threads, "minutes": rows}))


if __name__ == "__main__":
    typer.run(main)
