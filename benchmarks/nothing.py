"""What is heard where nobody speaks: noise, silence and music.

    python benchmarks/nothing.py --noise noise

Half of the recordings are clips of the folder, spread over it; half are made: zeros, white and
pink noise, mains hum, and melodies of harmonic tones. The last line on stdout is JSON.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from rich.progress import track

from streamasr import Recognizer
from streamasr.audio import open_audio
from streamasr.pretrained import PRETRAINED
from streamasr.samples import rechunk

RATE = 16_000
SECONDS = 8
Samples = NDArray[np.float32]


def made(number: int, rng: np.random.Generator) -> tuple[str, Samples]:
    """Return a kind of sound and ``SECONDS`` of it; its level goes from -60 to -6 dB of full."""
    n = RATE * SECONDS
    kind = ("zeros", "white noise", "pink noise", "hum", "music")[number % 5]
    time = np.arange(n) / RATE
    if kind == "zeros":
        return kind, np.zeros(n, np.float32)
    if kind == "white noise":
        sound = rng.standard_normal(n)
    elif kind == "pink noise":
        spectrum = np.fft.rfft(rng.standard_normal(n))
        sound = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), 1)), n)
    elif kind == "hum":
        sound = sum(np.sin(2 * np.pi * 50 * k * time + k) / k for k in range(1, 12))
    else:
        # A tune and its chord: notes of 0.25 s, each dying away.
        sound = np.zeros(n)
        for start in range(0, n, RATE // 4):
            for note in rng.choice([0, 2, 4, 5, 7, 9, 11, 12], size=3, replace=False):
                t = time[: n - start]
                pitch = 220 * 2 ** (note / 12)
                tone = sum(np.sin(2 * np.pi * pitch * k * t) / k**2 for k in range(1, 8))
                sound[start:] += tone * np.exp(-4 * t)
    level = 10 ** (rng.uniform(-60, -6) / 20)
    return kind, (level * sound / np.abs(sound).max()).astype(np.float32)


def words_heard(recognizer: Recognizer, samples: Samples) -> list[str]:
    """Return what is heard in ``samples``."""
    stream = recognizer.stream(partials=False)
    for chunk in rechunk([samples], recognizer.chunk_samples(320)):
        stream.accept(chunk)
    return [word.text for word in stream.finish().words]


def main(
    noise: Annotated[Path, typer.Option(help="Folder of noise clips.")],
    count: Annotated[int, typer.Option(help="Recordings in all.")] = 200,
    model: Annotated[Path, typer.Option(help="Model folder.")] = PRETRAINED,
) -> None:
    """Count the words that nobody said."""
    torch.set_num_threads(1)
    recognizer = Recognizer.from_pretrained(model, decoder="beam")
    rng = np.random.default_rng(0)
    paths = sorted(p for p in noise.rglob("*") if p.suffix in (".opus", ".ogg", ".wav", ".flac"))
    chosen = paths[:: max(1, len(paths) // (count // 2))][: count // 2]
    heard: dict[str, dict[str, Any]] = {}
    for number in track(range(count), transient=True):
        if number < len(chosen):
            with open_audio(chosen[number]) as audio:
                kind, samples = "recorded noise", np.concatenate([*audio.blocks()])
        else:
            kind, samples = made(number, rng)
        words = words_heard(recognizer, samples)
        entry = heard.setdefault(kind, {"recordings": 0, "minutes": 0.0, "with_words": 0})
        entry["recordings"] += 1
        entry["minutes"] += len(samples) / RATE / 60
        entry["with_words"] += bool(words)
        entry.setdefault("words", []).extend(words)
    print(json.dumps(heard))


if __name__ == "__main__":
    typer.run(main)
