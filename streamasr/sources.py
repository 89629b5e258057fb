"""What ``Recognizer.transcribe`` takes: paths, files, bytes and arrays, as blocks of one rate."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import BinaryIO

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .audio import Resampler, open_audio
from .errors import AudioError, ConfigError
from .samples import as_samples

__all__ = ["AudioInput", "blocks_of"]

AudioInput = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | ArrayLike
"""A path, the bytes of a recording, a binary file that holds one, or samples ``(n,)``."""

_BLOCK = 160_000


@contextmanager
def blocks_of(
    source: AudioInput, sample_rate: int | None = None, track: int | str | None = None
) -> Iterator[Iterator[NDArray[np.float32]]]:
    """Open ``source`` and yield its blocks ``(n,)``, 16 kHz mono.

    Args:
        source: what holds the sound.
        sample_rate: of samples, in Hz; a recording states its own.
        track: of a recording that has several, as in ``open_audio``.

    Raises:
        ConfigError: a rate for what states its own, none for samples, or a track of samples.
        AudioError: no recording, or no samples.
    """
    recording = _recording(source)
    if recording is None:
        if sample_rate is None:
            raise ConfigError("samples need their sample_rate, such as sample_rate=16000")
        if track is not None:
            raise ConfigError("track is for recordings: samples have none")
        yield _converted(np.asarray(source), sample_rate)
        return
    if sample_rate is not None:
        raise ConfigError("sample_rate is for samples: a recording states its own")
    with open_audio(recording, track=track) as audio:
        yield audio.blocks()


def _recording(source: AudioInput) -> str | os.PathLike[str] | BinaryIO | None:
    """Return a path or a file; None for samples."""
    if isinstance(source, (str, os.PathLike)):
        return source
    if isinstance(source, (bytes, bytearray, memoryview)):
        return BytesIO(source)
    if callable(getattr(source, "read", None)):
        return source  # type: ignore[return-value]
    return None


def _converted(array: NDArray[np.generic], rate: int) -> Iterator[NDArray[np.float32]]:
    samples = as_samples(array, 0, rate).numpy()
    try:
        resampler = Resampler(rate)
    except (ValueError, TypeError) as error:
        raise AudioError(f"a sample rate of {rate!r} Hz is none that samples can have") from error
    for first in range(0, len(samples), _BLOCK):
        yield resampler.process(samples[first : first + _BLOCK])
    yield resampler.flush()
