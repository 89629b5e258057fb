"""How many live callers a server carries: word latency by the number of streams, in real time.

    streamasr serve --max-streams 256 &
    python benchmarks/load.py samples/*.flac --streams 8,16,24,32
    # and again with: streamasr serve --one-by-one

Each stream plays the recordings over and over, 100 ms a message, begun at a random moment. The
latency of a word is the time from the sending of its last sound to the first event that has it.
The last line on stdout is JSON.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
import websockets

from streamasr.audio import open_audio

RATE = 16_000
MESSAGE = RATE // 10


def samples_of(paths: list[Path]) -> bytes:
    """Return all recordings, a second of silence behind each, as 16-bit PCM."""
    parts = []
    for path in paths:
        with open_audio(path) as audio:
            parts += [*audio.blocks(), np.zeros(RATE, np.float32)]
    return (np.concatenate(parts) * 32767).astype("<i2").tobytes()


async def caller(address: str, pcm: bytes, seconds: float, latencies: list[float]) -> int:
    """Talk for ``seconds``; append the latencies, in seconds, of words; return their number."""
    async with websockets.connect(address, max_queue=None) as socket:
        await socket.send(json.dumps({"type": "start", "sample_rate": RATE}))
        began = time.monotonic()

        async def talk() -> None:
            size = 2 * MESSAGE
            position = random.randrange(len(pcm) // size) * size
            for number in range(int(seconds * RATE / MESSAGE)):
                due = began + (number + 1) * MESSAGE / RATE
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                await socket.send(pcm[position : position + size])
                position = (position + size) % (len(pcm) // size * size)
            await socket.send(json.dumps({"type": "end"}))

        talking = asyncio.create_task(talk())
        shown: dict[int, int] = {}
        words = 0
        async for message in socket:
            event = json.loads(message)
            if event["type"] == "error":
                raise RuntimeError(event["message"])
            if event["type"] not in ("partial", "final"):
                continue
            now = time.monotonic() - began
            known = shown.get(event["segment"], 0)
            for word in event["words"][known:]:
                latencies.append(now - word["end"])
                words += 1
            shown[event["segment"]] = max(known, len(event["words"]))
        await talking
        return words


async def measure(address: str, pcm: bytes, streams: int, seconds: float) -> dict[str, float]:
    """Run ``streams`` callers at once."""
    latencies: list[float] = []

    async def late() -> int:
        await asyncio.sleep(random.random())
        return await caller(address, pcm, seconds, latencies)

    words = sum(await asyncio.gather(*(late() for _ in range(streams))))
    p50, p95, p99 = (float(1000 * np.percentile(latencies, p)) for p in (50, 95, 99))
    return {"streams": streams, "words": words, "p50_ms": p50, "p95_ms": p95, "p99_ms": p99}


def main(
    recordings: list[Path],
    streams: Annotated[str, typer.Option(help="Numbers of callers to try, in turn.")] = "8,16,24",
    seconds: Annotated[float, typer.Option(help="Of each trial.")] = 30.0,
    address: str = "ws://127.0.0.1:2700/v1/stream",
) -> None:
    """Measure, from few callers to many."""
    random.seed(0)
    pcm = samples_of(recordings)
    results = []
    for count in map(int, streams.split(",")):
        results.append(asyncio.run(measure(address, pcm, count, seconds)))
        print(results[-1], flush=True)
    print(json.dumps(results))


if __name__ == "__main__":
    typer.run(main)
