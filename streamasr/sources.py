"""What ``Recognizer.transcribe`` takes: paths, files, bytes and arrays, as blocks of one rate."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import BinaryIO

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .audio import AudioFile, Resampler, open_audio
from .audio.audiofile import one_line
from .errors import AudioError, ConfigError
from .samples import as_samples

__all__ = ["Source", "blocks_of", "open_recording"]

Source = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | ArrayLike
"""A path, the bytes of a recording, a binary file that holds one, or samples ``(n,)``."""

_BLOCK = 160_000


@contextmanager
def blocks_of(source: Source, sample_rate: int | None) -> Iterator[Iterator[NDArray[np.float32]]]:
    """Open ``source`` and yield its blocks ``(n,)``, 16 kHz mono.

    Args:
        source: what holds the sound.
        sample_rate: of samples, in Hz; a recording states its own.

    Raises:
        ConfigError: a rate for what states its own, or none for samples.
        AudioError: no recording, or no samples.
    """
    recording = _recording(source)
    if recording is None:
        if sample_rate is None:
            raise ConfigError("samples need their sample_rate, such as sample_rate=16000")
        yield _converted(np.asarray(source), sample_rate)
        return
    if sample_rate is not None:
        raise ConfigError("sample_rate is for samples: a recording states its own")
    with open_recording(recording) as audio:
        yield audio.blocks()


@contextmanager
def open_recording(
    source: str | os.PathLike[str] | BinaryIO, name: str | None = None
) -> Iterator[AudioFile]:
    """Open a path or a binary file, which errors call by its ``name``; raises AudioError.

    A file is read from where it stands to its end, and left open.
    """
    if isinstance(source, (str, os.PathLike)):
        with open_audio(source) as audio:
            yield audio
        return
    # Decoders want to seek, and libsndfile a path.
    with tempfile.NamedTemporaryFile(prefix="streamasr-") as copy:
        try:
            shutil.copyfileobj(source, copy)
        except TypeError as error:
            raise AudioError("the file must be binary: open it with mode 'rb'") from error
        copy.flush()
        name = name or getattr(source, "name", None)
        name = name if isinstance(name, str) and name else "the recording"
        try:
            audio = open_audio(copy.name)
        except AudioError as error:
            raise AudioError(str(error).replace(copy.name, one_line(name))) from error
        audio.name = name
        with audio:
            yield audio


def _recording(source: Source) -> str | os.PathLike[str] | BinaryIO | None:
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
