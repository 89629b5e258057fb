"""Forced alignment: which token each timestep belongs to, by a Viterbi search over a word graph.

The graph of an utterance holds every pronunciation of every word, silence where words meet, and
nothing else; the search (Rabiner 1989, section III.B) finds its likeliest path. Rows of a batch are
searched side by side, as vectors over states.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Graph", "align", "ctc_graph", "pronunciation_graph"]

_UNREACHED = np.float32(-1e30)


class Graph(NamedTuple):
    """States with the token each emits, the states before each (itself too), and where paths end.

    ``words`` names the word a state belongs to, -1 for silence; paths begin in ``starts``.
    """

    tokens: list[int]
    before: list[list[int]]
    words: list[int]
    starts: list[int]
    ends: list[int]


def pronunciation_graph(words: Sequence[Sequence[Sequence[int]]], silence: int) -> Graph:
    """Return the graph of ``words``, each a list of pronunciations, each a list of tokens.

    Silence is optional between words, and compulsory wherever one token would follow itself, since
    the two could not be distinguished.
    """
    graph = Graph([silence], [[0]], [-1], [0], [])
    ends: list[int] = []
    gap = 0  # the silence after the word before, whose last states are ends
    for number, pronunciations in enumerate(words):
        begun, finished = len(graph.tokens), []
        for tokens in pronunciations:
            for position, token in enumerate(tokens):
                if position and token == tokens[position - 1]:
                    apart = len(graph.tokens)
                    graph.tokens.append(silence)
                    graph.before.append([apart, apart - 1])
                    graph.words.append(-1)
                state = len(graph.tokens)
                if position:
                    reach = [state - 1]
                else:
                    reach = [gap, *(end for end in ends if graph.tokens[end] != token)]
                    if number == 0:
                        graph.starts.append(state)
                graph.tokens.append(token)
                graph.before.append([state, *reach])
                graph.words.append(number)
            finished.append(len(graph.tokens) - 1)
        assert begun < len(graph.tokens), "a word needs a pronunciation"
        ends, gap = finished, len(graph.tokens)
        graph.tokens.append(silence)
        graph.before.append([gap, *ends])
        graph.words.append(-1)
    graph.ends.extend([gap, *ends])
    return graph


def ctc_graph(words: Sequence[Sequence[int]], space: int, blank: int) -> Graph:
    """Return CTC's graph of ``words`` with a space between them (Graves et al. 2006)."""
    labels: list[tuple[int, int]] = []
    for number, tokens in enumerate(words):
        labels += [(space, -1)] if number else []
        labels += [(token, number) for token in tokens]
    graph = Graph([blank], [[0]], [-1], [0, 1], [])
    for token, word in labels:
        state = len(graph.tokens)
        skip = [state - 2] if state > 2 and graph.tokens[state - 2] != token else []
        graph.tokens.extend([token, blank])
        graph.before.extend([[state, state - 1, *skip], [state + 1, state]])
        graph.words.extend([word, -1])
    graph.ends.extend([len(graph.tokens) - 1, len(graph.tokens) - 2])
    return graph


def align(
    scores: Sequence[NDArray[np.float32]], graphs: Sequence[Graph]
) -> list[NDArray[np.int64] | None]:
    """Return the state of each timestep on the best path of each row; None where none fits.

    Args:
        scores: log-likelihoods ``(T, V)`` of every row.
        graphs: one for each row.
    """
    rows, steps = len(graphs), max(len(s) for s in scores)
    size = max(len(g.tokens) for g in graphs)
    width = max(len(b) for g in graphs for b in g.before)
    before = np.full((rows, size, width), size)  # the place past the last is never reached
    tokens = np.zeros((rows, size), np.int64)
    best = np.full((rows, size + 1), _UNREACHED, np.float32)
    for row, (graph, score) in enumerate(zip(graphs, scores, strict=True)):
        tokens[row, : len(graph.tokens)] = graph.tokens
        for state, reach in enumerate(graph.before):
            before[row, state, : len(reach)] = reach
        if len(score):
            best[row, graph.starts] = score[0, tokens[row, graph.starts]]
    flat = (before + np.arange(rows)[:, None, None] * (size + 1)).reshape(rows * size, width)
    padded = np.zeros((steps, rows, max(s.shape[1] for s in scores)), np.float32)
    for row, score in enumerate(scores):
        padded[: len(score), row] = score
    lengths = np.array([len(s) for s in scores])
    across = np.arange(rows)[:, None]
    choices = np.zeros((steps, rows, size), np.int8)
    every = np.arange(rows * size)
    for step in range(1, steps):
        reached = best.ravel()[flat]
        choice = reached.argmax(1)
        choices[step] = choice.reshape(rows, size)
        moved = reached[every, choice].reshape(rows, size) + padded[step][across, tokens]
        best[:, :size] = np.where(lengths[:, None] > step, moved, best[:, :size])
    paths: list[NDArray[np.int64] | None] = []
    for row, (graph, score) in enumerate(zip(graphs, scores, strict=True)):
        last = max(graph.ends, key=lambda state: best[row, state])
        if not len(score) or best[row, last] < _UNREACHED / 2:
            paths.append(None)
            continue
        path = np.zeros(len(score), np.int64)
        path[-1] = last
        for step in range(len(score) - 1, 0, -1):
            last = before[row, last, choices[step, row, last]]
            path[step - 1] = last
        paths.append(path)
    return paths
