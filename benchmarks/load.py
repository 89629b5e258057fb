"""How many live callers a server carries: word latency by the number of streams, in real time.

    streamasr serve --max-streams 256 &
    python benchmarks/load.py samples/*.flac --streams 8,16,24,32
    # and again with: streamasr serve --one-by-one

Each stream plays the recordings over and over, ``--message-ms`` a message, from one of a few places
on. The latency of a word is the time from its last sound to the first event that has it. Much of it
is the recognizer's own: a word must stand for a while before a partial shows it. What the server
adds to that is the second figure: the latency beyond that of a listener who hears the same by
himself, on a machine that takes no time. The last line on stdout is JSON.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
import websockets

from streamasr import Recognizer
from streamasr.api import Listener
from streamasr.audio import open_audio

RATE = 16_000
PLACES = 4
"""Positions to begin at: what an unhurried listener hears is found once for each."""

Shown = dict[tuple[int, int], tuple[float, float]]
"""Of each word, by segment and place: when it was first shown, and when it was said."""


def samples_of(paths: list[Path]) -> bytes:
    """Return all recordings, a second of silence behind each, as 16-bit PCM."""
    parts = []
    for path in paths:
        with open_audio(path) as audio:
            parts += [*audio.blocks(), np.zeros(RATE, np.float32)]
    return (np.concatenate(parts) * 32767).astype("<i2").tobytes()


@dataclass
class Script:
    """What a caller says, a message each, and when an unhurried listener knows which words."""

    messages: list[bytes]
    seconds: float
    known: Shown = field(default_factory=dict)

    def hear(self, recognizer: Recognizer) -> None:
        """Find ``known``."""
        listener = Listener(recognizer)
        for number, message in enumerate(self.messages, start=1):
            events = listener.accept(np.frombuffer(message, "<i2"))
            _note(self.known, (e.as_dict() for e in events), number * self.seconds)
        _note(self.known, (e.as_dict() for e in listener.finish()), number * self.seconds)


def _note(shown: Shown, events: Iterable[dict[str, Any]], now: float) -> None:
    for event in events:
        for place, word in enumerate(event["words"]):
            shown.setdefault((event["segment"], place), (now, word["end"]))


async def caller(address: str, script: Script) -> Shown:
    """Talk in real time; return what was shown when, in seconds since the first sound."""
    shown: Shown = {}
    async with websockets.connect(address, max_queue=None, compression=None) as socket:
        await socket.send(json.dumps({"type": "start", "sample_rate": RATE}))
        began = time.monotonic()

        async def talk() -> None:
            for number, message in enumerate(script.messages, start=1):
                due = began + number * script.seconds
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                await socket.send(message)
            await socket.send(json.dumps({"type": "end"}))

        talking = asyncio.create_task(talk())
        async for message in socket:
            event = json.loads(message)
            if event["type"] == "error":
                raise RuntimeError(event["message"])
            if event["type"] in ("partial", "final"):
                _note(shown, [event], time.monotonic() - began)
        await talking
    return shown


async def measure(address: str, scripts: list[Script], streams: int) -> dict[str, float]:
    """Run ``streams`` callers at once; times in ms."""

    async def late(script: Script) -> Shown:
        await asyncio.sleep(random.random())
        return await caller(address, script)

    chosen = [scripts[number % len(scripts)] for number in range(streams)]
    found = await asyncio.gather(*map(late, chosen))
    latencies = [now - said for shown in found for now, said in shown.values()]
    added = [
        now - script.known[key][0]
        for script, shown in zip(chosen, found, strict=True)
        for key, (now, _) in shown.items()
        if key in script.known
    ]
    result: dict[str, float] = {"streams": streams, "words": len(latencies)}
    for name, values in (("word", latencies), ("added", added)):
        for p in (50, 95, 99):
            result[f"{name}_p{p}"] = round(float(1000 * np.percentile(values, p)))
    return result


def main(
    recordings: list[Path],
    streams: Annotated[str, typer.Option(help="Numbers of callers to try, in turn.")] = "8,16,24",
    seconds: Annotated[float, typer.Option(help="Of each trial.")] = 30.0,
    message_ms: Annotated[int, typer.Option(help="Of sound in a message.")] = 100,
    decoder: Annotated[str, typer.Option(help="The server's.")] = "auto",
    address: str = "ws://127.0.0.1:2700/v1/stream",
) -> None:
    """Measure, from few callers to many."""
    random.seed(0)
    pcm = samples_of(recordings)
    size = 2 * RATE * message_ms // 1000
    cut = [pcm[at : at + size] for at in range(0, len(pcm) - size + 1, size)]
    torch.set_num_threads(1)
    recognizer = Recognizer.from_pretrained(decoder=decoder)
    scripts = []
    for place in range(PLACES):
        first = place * len(cut) // PLACES
        count = round(1000 * seconds / message_ms)
        messages = [cut[(first + number) % len(cut)] for number in range(count)]
        scripts.append(Script(messages, message_ms / 1000))
        scripts[-1].hear(recognizer)
    own = [known - said for script in scripts for known, said in script.known.values()]
    alone = {f"own_p{p}": round(float(1000 * np.percentile(own, p))) for p in (50, 95, 99)}
    print(alone, flush=True)
    results = []
    for count in map(int, streams.split(",")):
        results.append(asyncio.run(measure(address, scripts, count)))
        print(results[-1], flush=True)
    print(json.dumps({**alone, "trials": results}))


if __name__ == "__main__":
    typer.run(main)
