"""Read n-gram models in the ARPA format (Doug Paul; SRILM's ngram-format(5)) into arrays."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from ...errors import ModelError

__all__ = ["NGrams", "read_arpa"]

_LINES = 1 << 18  # parsed at a time: the text of a block is many times as large as its arrays


@dataclass(frozen=True)
class NGrams:
    """All n-grams of one order, in the order of the file.

    ``words (N, n)`` int32 are indices into the vocabulary; ``log10_prob`` and ``backoff (N,)`` are
    float32 powers of ten, the back-off 0 where the file has none.
    """

    words: NDArray[np.int32]
    log10_prob: NDArray[np.float32]
    backoff: NDArray[np.float32]


def read_arpa(path: str | Path) -> tuple[list[str], list[NGrams]]:
    """Read an ARPA file; return its vocabulary and the n-grams of order 1, 2, …

    Raises ModelError, one line, for a file that is missing, damaged or truncated.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            return _read(file)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, IndexError) as error:
        raise ModelError(f"{path}: not an ARPA file, or damaged: {error}") from error


def _read(file: BinaryIO) -> tuple[list[str], list[NGrams]]:
    counts = _read_counts(file)
    vocabulary: list[str] = []
    index: dict[bytes, int] = {}
    orders = []
    for n, count in enumerate(counts, start=1):
        words = np.empty((count, n), np.int32)
        log10_prob, backoff = np.empty(count, np.float32), np.zeros(count, np.float32)
        at = 0
        for block in _blocks(file, n, count):
            fields = [line.split(b"\t") for line in block]
            part = slice(at, at + len(block))
            log10_prob[part] = np.array([field[0] for field in fields], "S16").astype(np.float32)
            if n < len(counts):
                texts = [field[2] if len(field) > 2 else b"0" for field in fields]
                backoff[part] = np.array(texts, "S16").astype(np.float32)
            names = b" ".join([field[1] for field in fields]).split(b" ")
            if n == 1:
                index.update((name, at + place) for place, name in enumerate(names))
            words[part] = np.fromiter(map(index.__getitem__, names), np.int32).reshape(-1, n)
            at += len(block)
        if n == 1:
            vocabulary = [name.decode() for name in index]
            if len(vocabulary) != count:
                raise ValueError("a word is listed twice")
        orders.append(NGrams(words, log10_prob, backoff))
    return vocabulary, orders


def _read_counts(file: BinaryIO) -> list[int]:
    """Read the header; return how many n-grams of each order follow."""
    counts: list[int] = []
    for line in file:
        if line.strip() == b"\\data\\":
            break
    for line in file:
        match = re.fullmatch(rb"ngram (\d+)=\s*(\d+)\s*", line)
        if not match:
            if counts:
                break
            continue
        if int(match[1]) != len(counts) + 1:
            raise ValueError(f"order {int(match[1])} is listed out of turn")
        counts.append(int(match[2]))
    if not counts:
        raise ValueError("no counts of n-grams")
    return counts


def _blocks(file: BinaryIO, n: int, count: int) -> Iterator[list[bytes]]:
    """Yield the lines of one order's section, some at a time."""
    title = b"\\%d-grams:" % n
    for line in file:
        if line.strip() == title:
            break
    else:
        raise ValueError(f"the section of order {n} is missing")
    left = count
    while left:
        block = [line.rstrip(b"\r\n") for line in islice(file, min(left, _LINES))]
        if len(block) < min(left, _LINES) or not all(block):
            raise ValueError(f"fewer than {count} n-grams of order {n}")
        yield block
        left -= len(block)
