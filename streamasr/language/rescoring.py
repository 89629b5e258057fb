"""Score many hypotheses for one stretch of speech, each continuing what was read before.

What hypotheses begin with in common is read once, and what was read once is not read again: the
partials of a segment, and its end, share one tree of beginnings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.nn.functional import linear

from .model import LanguageModel
from .packed import PackedMatrix
from .pieces import Pieces

__all__ = ["Rescorer", "RescorerState"]

# Rows of a matrix product. A product's bits may depend on how many rows it has, so that it always
# has as many; up to these a CPU mostly waits for the weights.
STEP_ROWS = 16
LOGITS_ROWS = 32


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class RescorerState:
    """What was read: ``h`` and ``c``, each ``(H,)``, and the last piece, which they lack."""

    h: Tensor
    c: Tensor
    last: int = 0


class _Tree:
    """All beginnings that were read after one state: nodes, each behind another by one piece.

    A row of each list is a node: ``hidden`` and ``cells (H,)``, ``projected (E,)`` and the
    normaliser, from which the next piece is predicted. ``children`` finds a node by the one before
    it (-1 for the state itself) and the piece; ``known`` has log-probabilities.
    """

    def __init__(self) -> None:
        self.hidden: list[Tensor] = []
        self.cells: list[Tensor] = []
        self.projected: list[Tensor] = []
        self.normalisers: list[float] = []
        self.children: dict[tuple[int, int], int] = {}
        self.known: dict[tuple[int, int], float] = {}


class Rescorer:
    """Scores words by a language model. Threads may share one.

    ``rounded`` recurrent weights, and the embeddings where a prediction is normalised, are
    bfloat16: there are so many that a product takes as long as bringing them from memory, which is
    then half or, where a CPU computes with them, a third.
    """

    def __init__(self, model: LanguageModel, pieces: Pieces, *, rounded: bool = False) -> None:
        self._model = model.eval()
        self._pieces = pieces
        # A tree lasts as long as the state it continues, which is kept for a segment.
        self._trees: WeakKeyDictionary[RescorerState, _Tree] = WeakKeyDictionary()
        with torch.inference_mode():
            # What each piece adds to the gates, once it is met: a fifth less to compute.
            lstm = model.lstm
            self._biases = lstm.get_parameter("bias_ih_l0") + lstm.get_parameter("bias_hh_l0")
            count, size = len(model.embedding.weight), len(self._biases)
            # Memory that nothing was written to takes no room.
            self._inputs = torch.empty(count, size)
            self._known = torch.zeros(count, dtype=torch.bool)
            recurrent = lstm.get_parameter("weight_hh_l0")
            embedding = model.embedding.weight
            self._recurrent = _matrix(recurrent.bfloat16() if rounded else recurrent)
            self._projection = _matrix(model.projection.weight)
            self._embedding = _matrix(embedding.bfloat16() if rounded else embedding)

    def initial_state(self) -> RescorerState:
        """Return the state before the first word."""
        zeros = torch.zeros(self._model.config.hidden_size)
        return RescorerState(zeros, zeros)

    @torch.inference_mode()
    def score(
        self, texts: Sequence[Sequence[str]], state: RescorerState
    ) -> tuple[list[list[float]], list[RescorerState]]:
        """Score every word of ``texts``, each of which continues what ``state`` has read.

        The bits do not depend on what else is read, or was.

        Returns:
            The words' log-probabilities, in nats, and the state after each text.
        """
        spelled = [[self._pieces.encode(word) for word in text] for text in texts]
        rows = [[piece for word in text for piece in word] for text in spelled]
        # A copy of the state may be continued in another thread: each has a tree of its own.
        tree = self._trees.pop(state, None) or _Tree()
        paths = self._read(tree, rows, state)
        self._predict(tree, rows, paths)
        self._trees[state] = tree
        scores = []
        for text, row, path in zip(spelled, rows, paths, strict=True):
            given = iter([tree.known[wanted] for wanted in zip(path, row, strict=True)])
            scores.append([sum(islice(given, len(word))) for word in text])
        # Copies, so that a state that is kept does not keep those of all other texts.
        states = [
            RescorerState(tree.hidden[path[-1]].clone(), tree.cells[path[-1]].clone(), row[-1])
            if row
            else state
            for row, path in zip(rows, paths, strict=True)
        ]
        return scores, states

    def _read(
        self, tree: _Tree, rows: Sequence[Sequence[int]], state: RescorerState
    ) -> list[list[int]]:
        """Add what ``tree`` lacks; return for each row the nodes that expect its pieces."""
        paths: list[list[int]] = [[] for _ in rows]
        for depth in range(max(map(len, rows), default=0)):
            lacking: dict[tuple[int, int], None] = {}
            edges: list[tuple[int, int] | None] = []
            for row, path in zip(rows, paths, strict=True):
                if depth >= len(row):
                    edges.append(None)
                    continue
                edge = (path[-1], row[depth - 1]) if depth else (-1, state.last)
                edges.append(edge)
                if edge not in tree.children:
                    lacking[edge] = None
            new = [*lacking]
            for start in range(0, len(new), STEP_ROWS):
                self._step(tree, new[start : start + STEP_ROWS], state)
            for path, taken in zip(paths, edges, strict=True):
                if taken is not None:
                    path.append(tree.children[taken])
        return paths

    def _step(self, tree: _Tree, edges: Sequence[tuple[int, int]], state: RescorerState) -> None:
        """Read a piece behind each of some nodes: a step of the LSTM."""
        size, count = len(state.h), len(edges)
        h, c = torch.zeros(STEP_ROWS, size), torch.zeros(STEP_ROWS, size)
        for row, (parent, _) in enumerate(edges):
            h[row], c[row] = (
                (tree.hidden[parent], tree.cells[parent]) if parent >= 0 else (state.h, state.c)
            )
        gates = self._recurrent(h)
        gates = gates[:count, : 4 * size] + self._inputs_of(
            torch.tensor([piece for _, piece in edges])
        )
        i, f, g, o = gates.chunk(4, dim=1)
        c = f.sigmoid() * c[:count] + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        for row, edge in enumerate(edges):
            tree.children[edge] = len(tree.hidden)
            tree.hidden.append(h[row])
            tree.cells.append(c[row])

    def _predict(
        self, tree: _Tree, rows: Sequence[Sequence[int]], paths: Sequence[Sequence[int]]
    ) -> None:
        """Find the log-probability of each row's pieces where ``tree`` does not know it yet."""
        for start in range(len(tree.projected), len(tree.hidden), LOGITS_ROWS):
            new = torch.stack(tree.hidden[start : start + LOGITS_ROWS])
            h = torch.zeros(LOGITS_ROWS, new.shape[1])
            h[: len(new)] = new
            projected = self._projection(h)[: len(new), : self._model.projection.out_features]
            projected = projected + self._model.projection.bias
            x = torch.zeros(LOGITS_ROWS, projected.shape[1])
            x[: len(new)] = projected
            logits = self._embedding(x)
            logits = logits[: len(new), : len(self._model.bias)].float()
            tree.projected += projected
            tree.normalisers += (logits + self._model.bias).logsumexp(dim=1).tolist()
        wanted = {
            edge: None
            for row, path in zip(rows, paths, strict=True)
            for edge in zip(path, row, strict=True)
            if edge not in tree.known
        }
        if not wanted:
            return
        nodes, pieces = zip(*wanted, strict=True)
        weights = self._model.embedding.weight[list(pieces)]
        logits = (torch.stack([tree.projected[node] for node in nodes]) * weights).sum(dim=1)
        found = (logits + self._model.bias[list(pieces)]).tolist()
        for edge, logit in zip(wanted, found, strict=True):
            tree.known[edge] = logit - tree.normalisers[edge[0]]

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


def _matrix(weight: Tensor) -> PackedMatrix:
    """Return ``weight (N, K)``, with rows of zeros behind it so that a product's rows are aligned.

    Where a row of the product begins in memory may choose the code that computes it, and with that
    its bits.
    """
    return PackedMatrix(torch.nn.functional.pad(weight, (0, 0, 0, -len(weight) % 16)))
