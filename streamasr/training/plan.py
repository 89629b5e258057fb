"""Plan batches: which utterances share one, for a pass over the corpus."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator

from ..acoustic.frontend import Frontend
from ..errors import ConfigError
from .config import TrainingConfig
from .corpus import Corpus

__all__ = ["pass_plan", "rows_of_shapes"]

# A shape that is filled by less than this has to wait for another pass, and other companions.
_LEAST_FILLED = 0.5


def pass_plan(
    corpus: Corpus, frontend: Frontend, config: TrainingConfig, number: int
) -> list[list[int]]:
    """Return the batches of pass ``number`` over the corpus as lists of utterances, shuffled.

    Lengths are alike in each, or fit a shape of ``data.shapes``. An epoch is ``data.passes`` of
    them. Raises ConfigError for an utterance that no shape is long enough for, or shapes that all
    stay less than half filled.
    """
    rng = np.random.default_rng((config.seed, number))
    data = config.data
    drawn = [
        (seconds * rng.uniform(0.9, 1.1), index)
        for index, seconds in enumerate(corpus.seconds)
        if rng.random() < corpus.shares[index]
        and data.min_seconds <= seconds <= data.max_seconds
        and len(corpus.targets[index]) > 0
    ]
    if data.shapes:
        chosen = [index for _, index in drawn]
        plan = _by_shape(chosen, corpus.seconds, frontend, config, rng)
    else:
        plan = _by_length(drawn, data.batch_seconds)
    return [plan[i] for i in rng.permutation(len(plan))]


def rows_of_shapes(frontend: Frontend, config: TrainingConfig) -> dict[int, int]:
    """Return how many rows a batch of each shape has, by its timesteps."""
    step = frontend.config.step_seconds
    return {T: max(1, int(config.data.batch_seconds / (T * step))) for T in config.data.shapes}


def _by_length(drawn: list[tuple[float, int]], batch_seconds: float) -> list[list[int]]:
    plan: list[list[int]] = []
    batch: list[int] = []
    longest = 0.0
    for seconds, index in sorted(drawn):
        longest = max(longest, seconds)
        if batch and longest * (len(batch) + 1) > batch_seconds:
            plan.append(batch)
            batch, longest = [], seconds
        batch.append(index)
    if batch:
        plan.append(batch)
    return plan


def _by_shape(
    chosen: list[int],
    seconds: Sequence[float],
    frontend: Frontend,
    config: TrainingConfig,
    rng: Generator,
) -> list[list[int]]:
    groups: dict[int, list[int]] = {shape: [] for shape in config.data.shapes}
    for index in chosen:
        needed = _most_timesteps(seconds[index], frontend, config)
        shape = next((shape for shape in groups if shape >= needed), None)
        if shape is None:
            raise ConfigError(
                f"data.shapes: an utterance of {seconds[index]:.1f} s may take {needed} timesteps: "
                "add a longer shape or lower data.max_seconds"
            )
        groups[shape].append(index)
    plan = []
    for shape, rows in rows_of_shapes(frontend, config).items():
        order = [groups[shape][i] for i in rng.permutation(len(groups[shape]))]
        batches = [order[start : start + rows] for start in range(0, len(order), rows)]
        plan += [batch for batch in batches if len(batch) >= _LEAST_FILLED * rows]
    if chosen and not plan:
        raise ConfigError(
            "data.shapes: a pass has too few recordings to fill any shape by half: "
            "lower data.batch_seconds"
        )
    return plan


def _most_timesteps(seconds: float, frontend: Frontend, config: TrainingConfig) -> int:
    """Return how many timesteps an utterance may have, however it is augmented."""
    augment = config.augment
    slowest = seconds / (1 - augment.speed) + 2 * augment.padding_seconds
    samples = int(slowest * frontend.config.sample_rate) + len(frontend.tail())
    return frontend.config.timesteps(samples) + 1
