"""Decoded audio kept in one file, so that training reads samples and never waits for a decoder."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from ..audio import open_audio

__all__ = ["AudioCache"]


def _decode(path: Path) -> NDArray[np.int16]:
    with open_audio(path) as audio:
        samples = np.concatenate([*audio.blocks()])
    return np.clip(np.round(samples * 32768), -32768, 32767).astype(np.int16)


def _windows(items: Sequence[Path], size: int) -> Iterator[Sequence[Path]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


class AudioCache:
    """Recordings as 16 kHz mono int16 in a memory-mapped file, made on first use.

    The file's name is a digest of the paths, sizes and times of all recordings, so a changed data
    set makes a new one. ``cache[i]`` is a float32 array in [-1, 1].
    """

    def __init__(self, paths: Sequence[Path], folder: Path) -> None:
        digest = hashlib.sha256()
        for path in paths:
            status = path.stat()
            digest.update(f"{path.resolve()} {status.st_size} {status.st_mtime_ns}\n".encode())
        stem = folder / digest.hexdigest()[:16]
        self._samples = stem.with_suffix(".int16")
        index = stem.with_suffix(".json")
        if not index.exists():
            folder.mkdir(parents=True, exist_ok=True)
            self._build(paths, index)
        offsets = json.loads(index.read_text())
        self._spans: list[tuple[int, int]] = [*pairwise(offsets)]

    def _build(self, paths: Sequence[Path], index: Path) -> None:
        offsets = [0]
        partial = self._samples.with_suffix(".partial")
        stderr = Console(stderr=True)
        groups = track(
            [*_windows(paths, 64)],
            description="decoding audio",
            transient=True,
            console=stderr,
            disable=not stderr.is_terminal,
        )
        with partial.open("wb") as file, ThreadPoolExecutor() as pool:
            for group in groups:
                for samples in pool.map(_decode, group):
                    file.write(samples.tobytes())
                    offsets.append(offsets[-1] + len(samples))
        partial.rename(self._samples)
        # The index comes last, and whole: where it is, the samples are complete.
        partial.write_text(json.dumps(offsets))
        partial.rename(index)

    def span(self, index: int, start: int, end: int) -> tuple[int, int]:
        """Return samples ``start`` to ``end`` of recording ``index`` as places in the file."""
        begin, last = self._spans[index]
        return begin + start, min(begin + end, last)

    def cut(self, spans: Sequence[tuple[int, int]]) -> Self:
        """Return other recordings of the same file: those between ``spans``, as of ``span``."""
        other = copy.copy(self)
        other._spans = [*spans]
        return other

    def __len__(self) -> int:
        return len(self._spans)

    def length(self, index: int) -> int:
        """Samples of recording ``index``."""
        start, end = self._spans[index]
        return end - start

    def __getitem__(self, index: int) -> NDArray[np.float32]:
        start, end = self._spans[index]
        samples = np.memmap(self._samples, dtype=np.int16, mode="r")[start:end]
        return samples.astype(np.float32) / np.float32(32768)
