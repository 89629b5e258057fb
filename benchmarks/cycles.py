"""Memory of a server while callers come and go: connect, say a little, vanish.

    streamasr serve &
    python benchmarks/cycles.py samples/jfk.flac --cycles 10000

A third of them end as the protocol has it, a third close in the middle of a word, and a third drop
the connection. Reads ``process_resident_memory_bytes`` and ``streamasr_streams`` from /metrics,
which is there on Linux. The last line on stdout is JSON.
"""

from __future__ import annotations

import asyncio
import json
import re
import urllib.request
from pathlib import Path
from typing import Annotated

import typer
import websockets

from streamasr.audio import open_audio

AT_ONCE = 8


async def come_and_go(address: str, number: int, pcm: bytes) -> None:
    """Be one caller."""
    async with websockets.connect(address, compression=None) as socket:
        await socket.send(json.dumps({"type": "start"}))
        await socket.send(pcm)
        if number % 3 == 0:
            await socket.send(json.dumps({"type": "end"}))
            async for _ in socket:
                pass
        elif number % 3 == 1:
            socket.transport.abort()


def metric(address: str, name: str) -> float:
    """Read one of the server's metrics."""
    with urllib.request.urlopen(re.sub(r"^ws(s?://[^/]+).*", r"http\1/metrics", address)) as answer:
        found = re.search(rf"^{name} (\S+)", answer.read().decode(), re.MULTILINE)
    assert found, f"{name} is not among the metrics"
    return float(found[1])


async def run(address: str, pcm: bytes, cycles: int, every: int) -> list[dict[str, float]]:
    """Return the server's memory, every so many cycles."""
    found: list[dict[str, float]] = []
    for first in range(0, cycles, AT_ONCE):
        numbers = range(first, min(first + AT_ONCE, cycles))
        await asyncio.gather(*(come_and_go(address, number, pcm) for number in numbers))
        done = numbers.stop
        if done % every < AT_ONCE or done == cycles:
            megabytes = metric(address, "process_resident_memory_bytes") / 2**20
            found.append({"cycles": done, "megabytes": round(megabytes, 1)})
            print(found[-1], flush=True)
    await asyncio.sleep(2)
    found[-1]["streams"] = metric(address, "streamasr_streams")
    return found


def main(
    recording: Path,
    cycles: int = 10_000,
    every: Annotated[int, typer.Option(help="Cycles between two looks at the memory.")] = 1000,
    milliseconds: Annotated[int, typer.Option(help="Of sound from each caller.")] = 200,
    address: str = "ws://127.0.0.1:2700/v1/stream",
) -> None:
    """Come and go."""
    with open_audio(recording) as audio:
        block = next(iter(audio.blocks()))
    pcm = (block[: 16 * milliseconds] * 32767).astype("<i2").tobytes()
    print(json.dumps(asyncio.run(run(address, pcm, cycles, every))))


if __name__ == "__main__":
    typer.run(main)
