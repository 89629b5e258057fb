"""Forced alignment: beside a search through every path, and as labels of timesteps."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamasr.errors import ConfigError
from streamasr.tokens import Tokens
from streamasr.training.alignment import Graph, align, ctc_graph, pronunciation_graph
from streamasr.training.augment import Timing
from streamasr.training.config import NetworkConfig
from streamasr.training.labels import IGNORED, Labels, Pronunciations, of_head
from streamasr.training.network import TrainingNetwork

VOCAB = 4
spelling = st.lists(st.integers(1, VOCAB - 1), min_size=1, max_size=2)
words = st.lists(st.lists(spelling, min_size=1, max_size=2), min_size=1, max_size=2)


def best_by_force(score: np.ndarray, graph: Graph) -> float:
    best = -np.inf
    for path in itertools.product(range(len(graph.tokens)), repeat=len(score)):
        moves = all(a in graph.before[b] for a, b in itertools.pairwise(path))
        if moves and path[0] in graph.starts and path[-1] in graph.ends:
            best = max(best, score_of(score, graph, path))
    return best


def score_of(score: np.ndarray, graph: Graph, path) -> float:
    return float(sum(score[t, graph.tokens[state]] for t, state in enumerate(path)))


def collapse(tokens: list[int], silence: int = 0) -> list[int]:
    return [token for token, _ in itertools.groupby(tokens) if token != silence]


@given(words=words, steps=st.integers(1, 4), seed=st.integers(0, 1000))
def test_the_best_path_of_all_is_found(words, steps, seed):
    score = np.random.default_rng(seed).standard_normal((steps, VOCAB)).astype(np.float32)
    for graph in (pronunciation_graph(words, 0), ctc_graph([w[0] for w in words], 1, 0)):
        (path,) = align([score], [graph])
        expected = best_by_force(score, graph) if len(graph.tokens) ** steps < 30_000 else None
        if path is None:
            assert expected in (None, -np.inf)
            continue
        found = score_of(score, graph, path)
        if expected is not None:
            assert found == pytest.approx(expected, abs=1e-5)
        assert all(a in graph.before[b] for a, b in itertools.pairwise(path))


@given(words=words, seed=st.integers(0, 1000))
def test_a_path_says_every_word_in_one_of_its_pronunciations(words, seed):
    score = np.random.default_rng(seed).standard_normal((14, VOCAB)).astype(np.float32)
    graph = pronunciation_graph(words, 0)
    (path,) = align([score], [graph])
    assert path is not None
    said = collapse([graph.tokens[state] for state in path])
    assert said in [[*itertools.chain(*reading)] for reading in itertools.product(*words)]


def test_rows_do_not_affect_each_other():
    rng = np.random.default_rng(0)
    graphs = [pronunciation_graph([[[1, 2]], [[2, 3], [3]]], 0), ctc_graph([[1, 1, 2]], 3, 0)]
    scores = [rng.standard_normal((n, VOCAB)).astype(np.float32) for n in (9, 17)]
    together = align(scores, graphs)
    for path, score, graph in zip(together, scores, graphs, strict=True):
        (alone,) = align([score], [graph])
        assert path is not None
        assert alone is not None
        assert path.tolist() == alone.tolist()


def test_what_is_too_short_has_no_alignment():
    score = np.zeros((3, VOCAB), np.float32)
    assert align([score], [pronunciation_graph([[[1, 2, 3, 1]]], 0)]) == [None]
    (path,) = align([score], [pronunciation_graph([[[1]], [[1]]], 0)])
    assert path is not None  # just long enough for the silence that tells two words apart
    assert align([score], [ctc_graph([[1, 1, 1]], 2, 0)]) == [None]


LABELS = Labels([np.array([0, 5, 5, 7, 0], np.int8), np.zeros(0, np.int8)], 0.04, 0.08)


def test_labels_come_late_by_the_delay():
    assert LABELS.frames(0, Timing(), 8).tolist() == [0, 0, 0, 5, 5, 7, 0, 0]
    assert LABELS.frames(0, Timing(lead=0.04), 8).tolist() == [0, 0, 0, 0, 5, 5, 7, 0]


def test_labels_follow_the_speed():
    slow = LABELS.frames(0, Timing(speed=0.5), 12).tolist()
    assert slow == [0, 0, 0, 0, 5, 5, 5, 5, 7, 7, 0, 0]


def test_an_utterance_without_alignment_has_no_labels():
    assert 0 in LABELS
    assert 1 not in LABELS
    assert LABELS.frames(1, Timing(), 3).tolist() == [IGNORED] * 3
    assert LABELS.phones(0) == [5, 7]


def test_labels_are_stored(tmp_path):
    LABELS.save(tmp_path / "labels.npz")
    again = Labels.load(tmp_path / "labels.npz")
    assert [row.tolist() for row in again.rows] == [row.tolist() for row in LABELS.rows]
    assert (again.step_seconds, again.delay_seconds) == (0.04, 0.08)


def test_priors_are_shares():
    prior = LABELS.prior(40)
    assert prior.sum() == pytest.approx(1)
    assert prior[0] == prior[5] == pytest.approx(3 / 45)
    assert prior[1] == pytest.approx(1 / 45)


@pytest.mark.parametrize(
    ("text", "message"),
    [("a ah\nb x9\n", r":2: 'x9' is no phone"), ("a ah\n", "no pronunciation of 'zebra'")],
)
def test_a_lexicon_that_does_not_serve_is_named(tmp_path, text, message):
    path = tmp_path / "lexicon.txt"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        _ = Pronunciations(path, Tokens.phones())["zebra"]


def test_a_phone_of_ctc_lasts_until_the_next_and_silence_is_silence():
    """Spikes of phones 3 and 5, blanks between them, then a long pause and phone 2."""
    network = TrainingNetwork(NetworkConfig(hidden_size=4, num_layers=1), 5, 7, 6)
    spikes = {2: 3, 6: 5, 20: 2}
    log_probs = np.full((24, 7 + 6 + 6), np.log(0.02), np.float32)
    log_probs[:, 7] = np.log(0.9)  # blank
    for step, phone in spikes.items():
        log_probs[step, 7] = np.log(0.05)
        log_probs[step, 7 + phone] = np.log(0.9)
    graph = pronunciation_graph([[(3, 5)], [(2,)]], 0)
    (path,) = align([of_head(log_probs, "phones", network)], [graph])
    assert path is not None
    said = np.array(graph.tokens)[path]
    assert {step: said[step] for step in spikes} == spikes
    assert set(said[2:7]) == {3, 5}, "no silence inside a word"
    assert (said[8:19] == 0).all()
    assert np.array_equal(of_head(log_probs, "characters", network), log_probs[:, :7])
    assert np.array_equal(of_head(log_probs, "frames", network), log_probs[:, 13:])
