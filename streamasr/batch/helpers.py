"""Around a worker whose model runs on a GPU: processes that search for words, readers ahead."""

from __future__ import annotations

import multiprocessing
import signal
import sys
import warnings
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import DegradedWarning
from ..options import RecognizerOptions
from ..transcript import Transcript
from .tasks import Settings

if TYPE_CHECKING:
    from ..recognizer import Recognizer

__all__ = ["Helpers", "ahead"]

T = TypeVar("T")

_READERS = 4
_recognizer: Recognizer | None = None


class Helpers:
    """``settings.helpers`` processes that turn log-posteriors into transcripts, and ``readers``.

    Processes, as the search holds Python's lock.
    """

    def __init__(self, settings: Settings) -> None:
        method = "forkserver" if sys.platform == "linux" else "spawn"
        self._searchers = ProcessPoolExecutor(
            settings.helpers,
            multiprocessing.get_context(method),
            initializer=_begin,
            initargs=(replace(settings.options, backend="torch", device="cpu"),),
        )
        self.readers: Executor = ThreadPoolExecutor(_READERS, "streamasr-reader")

    def decode(self, log_probs: Tensor, duration: float) -> Future[Transcript]:
        """Do as ``Recognizer.decode``, elsewhere."""
        return self._searchers.submit(_decode, log_probs.numpy(), duration)

    def close(self) -> None:
        """End processes and threads; what is not done is dropped."""
        self._searchers.shutdown(cancel_futures=True)
        self.readers.shutdown(cancel_futures=True)


def _begin(options: RecognizerOptions) -> None:
    from ..recognizer import Recognizer

    global _recognizer  # noqa: PLW0603 (what a process of a pool keeps)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore", DegradedWarning)  # the command says it, once
    torch.set_num_threads(1)
    _recognizer = Recognizer.from_options(options)


def _decode(log_probs: NDArray[np.float32], duration: float) -> Transcript:
    assert _recognizer is not None
    return _recognizer.transcript_of(torch.from_numpy(log_probs), duration)


def ahead(items: Iterator[T], readers: Executor) -> Iterator[T]:
    """Yield ``items``, each made by ``readers`` while the one before it is used."""
    following = readers.submit(next, items, None)
    while (item := following.result()) is not None:
        following = readers.submit(next, items, None)
        yield item
