"""A text as pieces in small compressed files, to be sent to a machine that trains on it."""

from __future__ import annotations

import hashlib
import lzma
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from ..language import Pieces

__all__ = ["SUFFIX", "is_part", "read_parts", "shuffled", "write_parts"]

SUFFIX = ".pieces.xz"

_HEADER = 16  # bytes that identify the pieces that spell the part
# Of two bytes each: the coder models low and high bytes apart.
_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 6, "lc": 3, "lp": 1, "pb": 1}]


def is_part(path: Path) -> bool:
    """Whether a file's name says that ``write_parts`` wrote it."""
    return path.name.endswith(SUFFIX)


def shuffled(text: NDArray[np.int16], block: int, seed: int = 0) -> NDArray[np.int16]:
    """Return ``text`` in another order, by stretches of at least ``block`` pieces.

    Stretches end where sentences do, so that the model still reads whole passages. Any part of the
    result is a sample of all books, and a training that ends early has read of each.
    """
    ends = np.flatnonzero(text == 0) + 1
    if not len(ends):
        return text.copy()
    # The first end of a sentence behind each multiple of ``block``.
    wanted = np.arange(block, len(text), block)
    found = np.searchsorted(ends, wanted)
    cuts = np.unique(ends[found[found < len(ends)]])
    starts = np.concatenate([[0], cuts[cuts < len(text)]])
    stops = np.concatenate([starts[1:], [len(text)]])
    result = np.empty(len(text), np.int16)
    place = 0
    for k in np.random.default_rng(seed).permutation(len(starts)):
        part = text[starts[k] : stops[k]]
        result[place : place + len(part)] = part
        place += len(part)
    return result


def write_parts(
    text: NDArray[np.int16],
    pieces: Pieces,
    folder: Path,
    most: int = 60 << 20,
    step: int = 1 << 21,
) -> list[Path]:
    """Write ``text`` into files of at most ``most`` bytes; return them in order.

    ``step`` pieces are compressed at once, and share a file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    header = lzma.compress(_header(pieces))
    paths: list[Path] = []
    room = 0
    for start in range(0, len(text), step):
        stream = lzma.compress(text[start : start + step].tobytes(), filters=_FILTERS)
        if room < len(stream):
            paths.append(folder / f"part-{len(paths):03}{SUFFIX}")
            paths[-1].write_bytes(header)
            room = most - len(header)
        with paths[-1].open("ab") as file:
            file.write(stream)
        room -= len(stream)
    return paths


def read_parts(paths: Iterable[Path], pieces: Pieces) -> NDArray[np.int16]:
    """Return the text of some parts; raises ConfigError for other pieces, or a damaged file."""
    found = [np.empty(0, np.int16)]
    for path in paths:
        try:
            content = lzma.decompress(path.read_bytes())
        except (lzma.LZMAError, OSError) as error:
            raise ConfigError(f"{path}: cannot be read ({error})") from error
        if content[:_HEADER] != _header(pieces):
            raise ConfigError(f"{path}: spelled with other pieces than the model's")
        found.append(np.frombuffer(content, np.int16, offset=_HEADER))
    return np.concatenate(found)


def _header(pieces: Pieces) -> bytes:
    return hashlib.sha256("\n".join(pieces.pieces).encode()).digest()[:_HEADER]
