"""Samples on their way in: checked, and cut to pieces of one size."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from .audio.decoder import LOUDEST
from .errors import AudioError

__all__ = ["as_samples", "rechunk"]


def rechunk(blocks: Iterable[NDArray[np.float32]], size: int) -> Iterator[NDArray[np.float32]]:
    """Yield the same samples in pieces of exactly ``size``, the last one shorter.

    What the source yielded before it raised an exception comes before that exception.
    """
    kept: list[NDArray[np.float32]] = []
    length = 0
    problem: Exception | None = None
    source = iter(blocks)
    while True:
        try:
            block = next(source, None)
        except Exception as error:
            problem = error
            break
        if block is None:
            break
        kept.append(block)
        length += len(block)
        if length < size:
            continue
        joined = np.concatenate(kept)
        whole = length - length % size
        for start in range(0, whole, size):
            yield joined[start : start + size]
        kept, length = [joined[whole:]], length - whole
    if length:
        yield np.concatenate(kept)
    if problem is not None:
        raise problem


def as_samples(samples: ArrayLike, position: int, rate: int) -> torch.Tensor:
    """Return ``samples (n,)``, floats in ±1 or int16, as float32.

    Raises AudioError for other shapes and types, and for NaN, infinity and floats far beyond ±1,
    naming the sample: the first one is number ``position``, at ``rate`` Hz.
    """
    array = np.asarray(samples)
    if array.ndim != 1:
        raise AudioError(f"samples must be mono, shape (n,), got {array.shape}: downmix them first")
    if array.dtype == np.int16:
        array = array.astype(np.float32) / np.float32(32768)
    elif not np.issubdtype(array.dtype, np.floating):
        raise AudioError(f"samples must be floats in [-1, 1] or int16, got {array.dtype}")
    # NumPy's operations on so few values are several times as fast as torch's.
    with np.errstate(over="ignore"):
        values = np.array(array, dtype=np.float32)
    sound = np.abs(values) <= LOUDEST
    if not sound.all():
        index = int(np.argmin(sound))
        value = float(values[index])
        what = "NaN or infinite"
        if math.isfinite(value):
            what = (
                f"{value:g}: floats lie in [-1, 1]; divide those on the scale of 16-bit integers "
                "by 32768"
            )
        raise AudioError(f"sample {position + index} ({(position + index) / rate:.2f} s) is {what}")
    return torch.from_numpy(values)
