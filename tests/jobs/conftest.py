"""Many small recordings, cut from the shipped ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

# The command line in this process, as its own tests have it.
from ..cli.conftest import run, transcribe

__all__ = ["run", "transcribe"]

KINDS = ("wav", "flac", "ogg", "mp3")


@pytest.fixture(scope="session")
def voices(samples_folder: Path) -> NDArray[np.float32]:
    """All shipped recordings, one after the other, 16 kHz mono."""
    paths = sorted(samples_folder.glob("*.flac"))
    return np.concatenate([soundfile.read(path, dtype="float32")[0] for path in paths])


@pytest.fixture(scope="session")
def scatter(voices) -> Callable[[Path, int], list[Path]]:
    """Write some recordings of about a second into folders; returns their paths, sorted."""

    def write(folder: Path, count: int) -> list[Path]:
        rng = np.random.default_rng(0)
        paths = []
        for number in range(count):
            start = rng.integers(0, len(voices) - 20_000)
            piece = voices[start : start + rng.integers(8_000, 20_000)]
            path = folder / f"day {number % 3}" / f"{number:03d}.{KINDS[number % len(KINDS)]}"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, piece, 16_000)
            paths.append(path)
        return sorted(paths)

    return write
