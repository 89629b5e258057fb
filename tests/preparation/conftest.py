"""Recordings of which every sample says where it comes from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

RATE = 16_000


@pytest.fixture
def sound() -> Callable[[float], NDArray[np.float32]]:
    """Return a noise of that many seconds, exact in 16 bits."""

    def make(seconds: float) -> NDArray[np.float32]:
        rng = np.random.default_rng(round(1000 * seconds))
        values = rng.integers(-8_000, 8_000, round(seconds * RATE))
        return (values / 32768).astype(np.float32)

    return make


@pytest.fixture
def record(sound) -> Callable[[Path, float], NDArray[np.float32]]:
    """Write such a noise as a recording; return its samples."""

    def write(path: Path, seconds: float) -> NDArray[np.float32]:
        path.parent.mkdir(parents=True, exist_ok=True)
        samples = sound(seconds)
        soundfile.write(path, samples, RATE)
        return samples

    return write
