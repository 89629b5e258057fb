"""Threads beside a worker whose model runs on a GPU: they decode, and read ahead."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

import torch

from ..transcript import Transcript

if TYPE_CHECKING:
    from ..acoustic import AcousticOutput
    from ..decoding import WordDecoder

__all__ = ["Helpers", "ahead"]

T = TypeVar("T")

_READERS = 4


class Helpers:
    """``count`` threads that decode acoustic output into transcripts, and ``readers``."""

    def __init__(self, words: WordDecoder, count: int) -> None:
        self._words = words
        # Each decodes a recording of its own: more threads in it would only wait for each other.
        self._searchers = ThreadPoolExecutor(
            count, "streamasr-searcher", initializer=torch.set_num_threads, initargs=(1,)
        )
        self.readers: Executor = ThreadPoolExecutor(_READERS, "streamasr-reader")

    def decode(self, output: AcousticOutput, duration: float) -> Future[Transcript]:
        """Do as ``WordDecoder.transcript``, in a thread."""
        return self._searchers.submit(self._words.transcript, output, duration)

    def close(self) -> None:
        """End the threads; what is not begun is dropped."""
        self._searchers.shutdown(cancel_futures=True)
        self.readers.shutdown(cancel_futures=True)


def ahead(items: Iterator[T], readers: Executor) -> Iterator[T]:
    """Yield ``items``, each made by ``readers`` while the one before it is used."""
    following = readers.submit(next, items, None)
    while (item := following.result()) is not None:
        following = readers.submit(next, items, None)
        yield item
