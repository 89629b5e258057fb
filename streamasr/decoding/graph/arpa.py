"""Read n-gram models in the ARPA format (Doug Paul; SRILM's ngram-format(5)) into arrays."""

from __future__ import annotations

import re
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
    index: dict[bytes, int] = {}
    orders = []
    for n, count in enumerate(counts, start=1):
        if _next_line(file) != b"\\%d-grams:" % n:
            raise ValueError(f"no {n}-grams where they should be")
        try:
            orders.append(_read_order(file, n, count, index, highest=n == len(counts)))
        except (ValueError, KeyError, IndexError):
            raise ValueError(
                f"{n}-grams that cannot be read, are fewer than the file says, or are of words "
                "that are no unigrams"
            ) from None
        if n == 1 and len(index) != count:
            raise ValueError("a word is listed twice")
    if _next_line(file) != b"\\end\\":
        raise ValueError("more n-grams than it says, or no end")
    return [name.decode() for name in index], orders


def _read_order(
    file: BinaryIO, n: int, count: int, index: dict[bytes, int], *, highest: bool
) -> NGrams:
    """Return the n-grams of one order; of unigrams, add the words to ``index``."""
    words = np.empty((count, n), np.int32)
    log10_prob, backoff = np.empty(count, np.float32), np.zeros(count, np.float32)
    start = 0
    while start < count:
        block = [*islice(file, min(count - start, _LINES))]
        part = slice(start, start + len(block))
        columns = _columns(block, n, highest)
        log10_prob[part] = np.array(columns[0]).astype(np.float32)
        if n == 1:
            index.update((name, start + place) for place, name in enumerate(columns[1]))
        for place in range(n):
            words[part, place] = [*map(index.__getitem__, columns[place + 1])]
        if not highest:
            backoff[part] = np.array(columns[-1]).astype(np.float32)
        start = part.stop
    return NGrams(words, log10_prob, backoff)


def _columns(block: list[bytes], n: int, highest: bool) -> list[list[bytes]]:
    """Return probabilities, words and, but for the highest order, back-offs as columns."""
    width = n + 1 if highest else n + 2
    fields = b"".join(block).split()
    if len(fields) != width * len(block) or not fields:
        # SRILM leaves out a back-off of 0, and others give the highest order one.
        rows = [line.split() for line in block]
        if not rows or any(not n + 1 <= len(row) <= n + 2 for row in rows):
            raise ValueError
        fields = [field for row in rows for field in (*row, b"0")[:width]]
    return [fields[place::width] for place in range(width)]


def _next_line(file: BinaryIO) -> bytes:
    """Return the next line that is not blank, b"" at the end."""
    return next(filter(None, map(bytes.strip, file)), b"")


def _read_counts(file: BinaryIO) -> list[int]:
    """Read the header; return how many n-grams of each order follow."""
    for line in file:
        if line.strip() == b"\\data\\":
            break
    counts: list[int] = []
    for line in file:
        if not line.strip() and counts:
            break
        match = re.fullmatch(rb"ngram (\d+)=\s*(\d+)\s*", line)
        if match and int(match[1]) == len(counts) + 1:
            counts.append(int(match[2]))
        elif line.strip():
            raise ValueError(f"its head cannot be read: {line.strip().decode(errors='replace')!r}")
    if not counts:
        raise ValueError("no counts of n-grams")
    return counts
