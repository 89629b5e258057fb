"""Scores of the tagger: precision, recall and F1 of each mark and of capitals, calibration."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ..text.labels import MARKS, UNKNOWN
from ..text.network import Tagger

__all__ = ["Predicted", "Score", "calibration_error", "f1_scores", "predict"]


@dataclass(frozen=True, slots=True)
class Predicted:
    """Probabilities of the mark behind each word ``(N, 7)`` and of its capital ``(N,)``."""

    marks: NDArray[np.float32]
    capitals: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Score:
    """Counts of one kind of decision."""

    right: int
    said: int
    true: int

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall; 0 where nothing was right."""
        return 2 * self.right / max(1, self.said + self.true)

    @property
    def precision(self) -> float:
        """The share of predicted labels that are right."""
        return self.right / max(1, self.said)

    @property
    def recall(self) -> float:
        """The share of true labels that were predicted."""
        return self.right / max(1, self.true)


@torch.inference_mode()
def predict(model: Tagger, rows: NDArray[np.int32], pauses: NDArray[np.int8]) -> Predicted:
    """Read a text from its beginning.

    ``rows (N + look_ahead + 1, 3)`` are those of its words' embeddings, and of the end of a segment
    at the end; ``pauses`` are the classes of those before each.
    """
    ahead = model.config.look_ahead
    marks, capitals, _ = model(
        torch.from_numpy(rows.astype(np.int64))[:, None],
        torch.from_numpy(pauses.astype(np.int64))[:, None],
        model.initial_state(1),
    )
    return Predicted(
        marks[ahead + 1 :, 0].softmax(-1).numpy(), capitals[ahead:-1, 0].sigmoid().numpy()
    )


def f1_scores(
    predicted: Predicted, marks: NDArray[np.int8], capitals: NDArray[np.int8]
) -> dict[str, Score]:
    """Return the score of each mark, of "end" (any that ends a sentence), and of "capital".

    Words whose label is unknown do not count.
    """
    known = marks != UNKNOWN
    said, true = predicted.marks.argmax(-1)[known], marks[known]
    scores = {
        mark: _score(said == label, true == label) for label, mark in enumerate(MARKS) if mark
    }
    ends = [MARKS.index(mark) for mark in ".?!"]
    scores["end"] = _score(np.isin(said, ends), np.isin(true, ends))
    cased = capitals != UNKNOWN
    scores["capital"] = _score(predicted.capitals[cased] > 0.5, capitals[cased] == 1)
    return scores


def _score(said: NDArray[np.bool_], true: NDArray[np.bool_]) -> Score:
    return Score(int((said & true).sum()), int(said.sum()), int(true.sum()))


def calibration_error(predicted: Predicted, marks: NDArray[np.int8], bins: int = 15) -> float:
    """Return the expected calibration error of the likeliest mark (Guo et al. 2017)."""
    known = marks != UNKNOWN
    chance = predicted.marks[known].max(-1)
    right = predicted.marks[known].argmax(-1) == marks[known]
    place = np.minimum((chance * bins).astype(int), bins - 1)
    error = 0.0
    for index in range(bins):
        inside = place == index
        if inside.any():
            error += inside.mean() * abs(chance[inside].mean() - right[inside].mean())
    return float(error)
