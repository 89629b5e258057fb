"""Parts of longer recordings, as files: a manifest names whole ones."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from ..audio import SAMPLE_RATE, open_audio
from ..errors import OutputError

__all__ = ["PartNames", "cut", "write_flac"]

Samples = NDArray[np.float32]


def cut(path: Path, spans: Sequence[tuple[float, float]]) -> Iterator[Samples]:
    """Yield the samples, at 16 kHz, of each span of a recording, which is read once.

    Args:
        path: the recording; no more of it is in memory than a span and a block.
        spans: start and end in seconds, in the order of their starts; they may overlap. One that
            goes beyond the end gives what there is.

    Raises AudioError where the recording is damaged, after the spans before the damage.
    """
    with open_audio(path) as audio:
        blocks, kept = audio.blocks(), list[Samples]()
        begin = end = 0  # of the samples in ``kept``
        for start, last in ((first * SAMPLE_RATE, end * SAMPLE_RATE) for first, end in spans):
            while end < last and (block := next(blocks, None)) is not None:
                kept.append(block)
                end += len(block)
                while kept and begin + len(kept[0]) <= start:
                    begin += len(kept.pop(0))
            joined = np.concatenate([*kept, np.zeros(0, np.float32)])
            yield joined[round(max(start - begin, 0)) : round(min(last, end) - begin)]


class PartNames:
    """Gives the parts names of files that are all different."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._given: set[str] = set()

    def __call__(self, path: Path, name: str, start: float) -> Path:
        """Return a path for the part of recording ``path`` at ``start``; ``name`` may be empty."""
        plain = re.sub(r"[^\w.-]+", "-", name or f"{path.stem}-{start:09.2f}").strip(".-")
        stem, number = plain or "part", 1
        while stem.lower() in self._given:  # some file systems know no capitals
            number += 1
            stem = f"{plain}-{number}"
        self._given.add(stem.lower())
        return self._folder / f"{stem}.flac"


def write_flac(path: Path, samples: Samples) -> None:
    """Write 16 kHz samples; raises OutputError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.clip(samples, -1, 1), SAMPLE_RATE, subtype="PCM_16")
    except (OSError, soundfile.SoundFileError) as error:
        raise OutputError(f"{path}: cannot be written ({error})") from error
