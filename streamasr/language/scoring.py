"""Scores of many readings of one stretch of speech, each continuing what was read before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from .model import LanguageModel
from .pieces import Pieces

__all__ = ["ReadState", "Reader"]


@dataclass(frozen=True, slots=True)
class ReadState:
    """What was read: ``h`` and ``c``, each ``(H,)``, and the last piece, which they lack."""

    h: Tensor
    c: Tensor
    last: int = 0


class Reader:
    """A language model that reads words."""

    def __init__(self, model: LanguageModel, pieces: Pieces) -> None:
        self._model = model.eval()
        self._pieces = pieces
        lstm = model.lstm
        self._cell = torch.nn.LSTMCell(lstm.input_size, lstm.hidden_size)
        self._cell.load_state_dict(
            {name.removesuffix("_l0"): value for name, value in lstm.state_dict().items()}
        )

    def initial_state(self) -> ReadState:
        """Return the state of one who has read nothing."""
        zeros = torch.zeros(self._model.config.hidden_size)
        return ReadState(zeros, zeros)

    @torch.inference_mode()
    def score(self, texts: Sequence[Sequence[str]], state: ReadState) -> list[list[float]]:
        """Return the log-probability, in nats, of every word of ``texts`` after ``state``.

        What they begin with in common is read once.
        """
        spelled = [[self._pieces.encode(word) for word in text] for text in texts]
        rows = [[place for word in text for place in word] for text in spelled]
        scores: list[list[float]] = [[] for _ in rows]
        # Nodes of the tree of beginnings, level by level: ``at`` says where each text stands.
        at = [0] * len(rows)
        open_rows = [row for row in range(len(rows)) if rows[row]]
        h, c = state.h[None], state.c[None]
        inputs = torch.tensor([state.last])
        depth = 0
        while open_rows:
            h, c = self._cell(self._model.embedding(inputs), (h, c))
            log_probs = log_softmax(self._model.logits(h), dim=-1)
            children: dict[tuple[int, int], int] = {}
            for row in open_rows:
                children.setdefault((at[row], rows[row][depth]), len(children))
            parents, inputs = (torch.tensor(values) for values in zip(*children, strict=True))
            found = log_probs[parents, inputs].tolist()
            for row in open_rows:
                at[row] = children[at[row], rows[row][depth]]
                scores[row].append(found[at[row]])
            depth += 1
            open_rows = [row for row in open_rows if depth < len(rows[row])]
            # Only those that are continued are read.
            kept = sorted({at[row] for row in open_rows})
            places = {node: place for place, node in enumerate(kept)}
            for row in open_rows:
                at[row] = places[at[row]]
            h, c, inputs = h[parents[kept]], c[parents[kept]], inputs[kept]
        return [
            [sum(islice(given, len(word))) for word in text]
            for text, given in zip(spelled, map(iter, scores), strict=True)
        ]

    @torch.inference_mode()
    def read(self, text: Sequence[str], state: ReadState) -> ReadState:
        """Return the state after reading ``text``, a list of words."""
        row = [place for word in text for place in self._pieces.encode(word)]
        if not row:
            return state
        inputs = torch.tensor([[state.last, *row[:-1]]])
        _, (h, c) = self._model.lstm(
            self._model.embedding(inputs), (state.h[None, None], state.c[None, None])
        )
        return ReadState(h[0, 0], c[0, 0], row[-1])
