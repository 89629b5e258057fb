"""Random search over the weights of the language models (Bergstra and Bengio 2012)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..decoding.settings import Weights

__all__ = ["random_search"]

_WIDE = 0.5
"""Share of the trials that range widely; the others stay ever closer to the best so far."""
_FACTOR = 2.0
_WORD_RANGE = 2.0


def random_search(
    errors: Callable[[Weights], int], start: Weights, trials: int, *, seed: int = 0
) -> Weights:
    """Return the weights with the fewest ``errors``, ``start`` if none has fewer.

    Weights of models vary by factors, the score of a word by sums; a weight of 0 remains 0. Of
    several with equally few errors the mean is returned if it is as good: what lies in the middle
    of good weights is the least chance.
    """
    rng = np.random.default_rng(seed)
    least, best = errors(start), [start]
    for trial in range(trials):
        wide = trial < _WIDE * trials
        scale = 1.0 if wide else 0.4 * (1 - trial / trials)
        center = start if wide else best[-1]
        lm, word, rescorer = rng.uniform(-1, 1, 3) * scale
        tried = Weights(
            center.lm * _FACTOR**lm,
            center.word + _WORD_RANGE * word,
            center.rescorer * _FACTOR**rescorer,
        )
        count = errors(tried)
        if count < least:
            least, best = count, [tried]
        elif count == least and best[0] != start:
            best.append(tried)
    lm, word, rescorer = np.mean([(w.lm, w.word, w.rescorer) for w in best], axis=0).tolist()
    mean = Weights(lm, word, rescorer)
    return mean if errors(mean) <= least else best[0]
