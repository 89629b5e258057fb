"""Decoded audio kept in one file, so that training reads samples and never waits for a decoder."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from ..audio import open_audio
from ..errors import MissingError
from ..failures import Failure, attempt
from ..paths import unusable

__all__ = ["AudioCache"]


def _decode(path: Path) -> NDArray[np.int16] | Failure:
    return attempt(path, partial(_samples_of, path))


def _samples_of(path: Path) -> NDArray[np.int16]:
    with open_audio(path) as audio:
        samples = np.concatenate([*audio.blocks()])
    return np.clip(np.round(samples * 32768), -32768, 32767).astype(np.int16)


def _problems_file(index: Path) -> Path:
    return index.with_suffix(".failed.json")


def _windows(items: Sequence[Path], size: int) -> Iterator[Sequence[Path]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


class AudioCache:
    """Recordings as 16 kHz mono int16 in a memory-mapped file, made on first use.

    The file's name is a digest of the paths, sizes and times of all recordings, so a changed data
    set makes a new one. ``cache[i]`` is a float32 array in [-1, 1], empty for a recording that
    ``failed`` to be decoded; these are the problems by index, kept in a file beside.

    Raises MissingError for recordings that are not there.
    """

    def __init__(self, paths: Sequence[Path], folder: Path) -> None:
        digest = hashlib.sha256()
        missing = []
        for path in paths:
            try:
                status = path.stat()
            except (OSError, ValueError):
                missing.append(unusable(str(path)) or f"{path}: cannot be read")
                continue
            digest.update(f"{path.resolve()} {status.st_size} {status.st_mtime_ns}\n".encode())
        if missing:
            raise MissingError(missing)
        stem = folder / digest.hexdigest()[:16]
        self._samples = stem.with_suffix(".int16")
        index = stem.with_suffix(".json")
        if not index.exists():
            folder.mkdir(parents=True, exist_ok=True)
            self._build(paths, index)
        offsets = json.loads(index.read_text())
        self._spans: list[tuple[int, int]] = [*pairwise(offsets)]
        self.failed: dict[int, str] = {}
        if (problems := _problems_file(index)).exists():
            self.failed = {int(k): text for k, text in json.loads(problems.read_text()).items()}

    def _build(self, paths: Sequence[Path], index: Path) -> None:
        offsets = [0]
        failed: dict[int, str] = {}
        unfinished = self._samples.with_suffix(".partial")
        stderr = Console(stderr=True)
        groups = track(
            [*_windows(paths, 64)],
            description="decoding audio",
            transient=True,
            console=stderr,
            disable=not stderr.is_terminal,
        )
        with unfinished.open("wb") as file, ThreadPoolExecutor() as pool:
            for group in groups:
                for found in pool.map(_decode, group):
                    if isinstance(found, Failure):
                        failed[len(offsets) - 1] = found.problem
                        offsets.append(offsets[-1])
                        continue
                    file.write(found.tobytes())
                    offsets.append(offsets[-1] + len(found))
        unfinished.rename(self._samples)
        if failed:
            _problems_file(index).write_text(json.dumps(failed))
        # The index comes last, and whole: where it is, the samples are complete.
        unfinished.write_text(json.dumps(offsets))
        unfinished.rename(index)

    def readable(
        self, paths: Sequence[Path], on_failure: Callable[[Failure], None]
    ) -> tuple[Self, list[int]]:
        """Return what of ``paths`` could be decoded, and its indices; report the others."""
        for index, problem in self.failed.items():
            on_failure(Failure(paths[index], problem))
        kept = [index for index in range(len(self)) if index not in self.failed]
        return self.cut([self._spans[index] for index in kept]), kept

    def span(self, index: int, start: int, end: int) -> tuple[int, int]:
        """Return samples ``start`` to ``end`` of recording ``index`` as places in the file."""
        begin, last = self._spans[index]
        return begin + start, min(begin + end, last)

    def cut(self, spans: Sequence[tuple[int, int]]) -> Self:
        """Return other recordings of the same file: those between ``spans``, as of ``span``."""
        other = copy.copy(self)
        other._spans = [*spans]
        other.failed = {}
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
