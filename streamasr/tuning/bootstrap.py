"""Bootstrap interval of a difference in WER, resampled over speakers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["bootstrap_interval"]

_RESAMPLES = 4000


def bootstrap_interval(
    change: ArrayLike, words: ArrayLike, speakers: Sequence[str], *, seed: int = 0
) -> tuple[float, float]:
    """Return the 95 % interval of a change of WER, over the speakers that might have been recorded.

    A paired bootstrap (Bisani and Ney 2004) that draws speakers, not utterances: those of one
    speaker have their difficulty in common.

    Args:
        change: word errors after minus before, of each utterance ``(N,)``.
        words: words that were said in it ``(N,)``.
        speakers: who said it.
    """
    names, owner = np.unique(np.asarray(speakers), return_inverse=True)
    errors = np.bincount(owner, np.asarray(change, np.float64), len(names))
    counts = np.bincount(owner, np.asarray(words, np.float64), len(names))
    drawn = np.random.default_rng(seed).integers(0, len(names), (_RESAMPLES, len(names)))
    rates = errors[drawn].sum(axis=1) / np.maximum(1, counts[drawn].sum(axis=1))
    low, high = np.quantile(rates, [0.025, 0.975])
    return float(low), float(high)
