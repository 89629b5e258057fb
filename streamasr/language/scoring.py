"""Scores of many readings of one stretch of speech, each continuing what was read before."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor
from torch.nn.functional import linear

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
    """A language model that reads words.

    ``rounded`` recurrent weights are bfloat16: there are so many that a step takes as long as
    bringing them from memory, which is then half or, where a CPU computes with them, a quarter.
    """

    def __init__(self, model: LanguageModel, pieces: Pieces, *, rounded: bool = False) -> None:
        self._model = model.eval()
        self._pieces = pieces
        with torch.inference_mode():
            # What each piece adds to the gates, once it is met: a fifth less to compute.
            lstm = model.lstm
            self._biases = lstm.get_parameter("bias_ih_l0") + lstm.get_parameter("bias_hh_l0")
            count, size = len(model.embedding.weight), len(self._biases)
            # Memory that nothing was written to takes no room.
            self._inputs = torch.empty(count, size)
            self._known = torch.zeros(count, dtype=torch.bool)
            recurrent = lstm.get_parameter("weight_hh_l0")
            self._recurrent = recurrent.bfloat16() if rounded else recurrent

    def initial_state(self) -> ReadState:
        """Return the state of one who has read nothing."""
        zeros = torch.zeros(self._model.config.hidden_size)
        return ReadState(zeros, zeros)

    @torch.inference_mode()
    def score(
        self, texts: Sequence[Sequence[str]], state: ReadState
    ) -> tuple[list[list[float]], list[ReadState]]:
        """Score every word of ``texts``, each of which continues what ``state`` has read.

        What they begin with in common is read once.

        Returns:
            The words' log-probabilities, in nats, and the state after each text.
        """
        spelled = [[self._pieces.encode(word) for word in text] for text in texts]
        rows = [[place for word in text for place in word] for text in spelled]
        # Nodes of the tree of beginnings, level by level: ``at`` says where each text stands in its
        # level. What each node expects next is asked of all of them at once, at the end.
        at = [0] * len(rows)
        h, c = state.h[None], state.c[None]
        inputs = torch.tensor([state.last])
        read: list[Tensor] = []
        cells: list[Tensor] = []
        last = [0] * len(rows)
        asked: dict[tuple[int, int], int] = {}
        answers: list[list[int]] = [[] for _ in rows]
        nodes = 0
        for depth in range(max(map(len, rows), default=0)):
            gates = linear(h.to(self._recurrent.dtype), self._recurrent) + self._inputs_of(inputs)
            i, f, g, o = gates.chunk(4, dim=1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            read.append(h)
            cells.append(c)
            children: dict[tuple[int, int], int] = {}
            for row, places in enumerate(rows):
                if depth < len(places):
                    question = (nodes + at[row], places[depth])
                    answers[row].append(asked.setdefault(question, len(asked)))
                    last[row] = nodes + at[row]
                    if depth + 1 < len(places):
                        at[row] = children.setdefault((at[row], places[depth]), len(children))
            nodes += len(h)
            if children:
                parents, inputs = torch.tensor([*children]).T
                h, c = h[parents], c[parents]
        if not read:
            return [[] for _ in texts], [state for _ in texts]
        all_h, all_c = torch.cat(read), torch.cat(cells)
        found = self._answers(all_h, asked)
        scores = [
            [sum(islice(given, len(word))) for word in text]
            for text, given in zip(
                spelled, (iter([found[k] for k in row]) for row in answers), strict=True
            )
        ]
        # Copies, so that a state that is kept does not keep those of all other texts.
        states = [
            ReadState(all_h[node].clone(), all_c[node].clone(), places[-1]) if places else state
            for node, places in zip(last, rows, strict=True)
        ]
        return scores, states

    def _inputs_of(self, pieces: Tensor) -> Tensor:
        """Return what ``pieces (n,)`` add to the gates, ``(n, 4H)``.

        Each is computed by itself, so that its bits do not depend on what was read before it. Two
        threads may compute the same, but never read what is not yet written.
        """
        for piece in set(pieces[~self._known[pieces]].tolist()):
            embedded = self._model.embedding.weight[piece]
            weight = self._model.lstm.get_parameter("weight_ih_l0")
            self._inputs[piece] = linear(embedded, weight, self._biases)
            self._known[piece] = True
        return self._inputs[pieces]

    def _answers(self, h: Tensor, asked: Iterable[tuple[int, int]]) -> list[float]:
        """Return the log-probability of a piece behind a node, for each pair that is ``asked``."""
        nodes, pieces = torch.tensor([*asked]).T
        logits = self._model.logits(h)
        answers: list[float] = (logits[nodes, pieces] - logits.logsumexp(dim=1)[nodes]).tolist()
        return answers
