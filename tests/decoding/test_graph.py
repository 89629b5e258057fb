"""The search graph: what ARPA files and lexicons become, and files that nobody should trust."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamasr import ModelError
from streamasr.decoding import kernel
from streamasr.decoding.arrays import lm_arrays
from streamasr.decoding.graph import GRAPH, graph_of, load_graph, save_graph
from streamasr.decoding.graph.arpa import read_arpa
from streamasr.decoding.graph.automaton import Automaton
from streamasr.decoding.search import Search

from .models import TOKENS, arpa_of, random_log_probs, random_model

GRAMS = {(word,): (-1.0, -0.3) for word in ("<unk>", "<s>", "</s>", "ab", "cd")}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return [random_model(seed, folder, words=9, order=1 + seed % 4) for seed in range(8)]


@pytest.mark.parametrize("which", range(8))
def test_the_automaton_scores_as_back_off_models_are_defined(models, which):
    model, rng = models[which], np.random.default_rng(which)
    arrays = lm_arrays(model.graph.lm)
    vocabulary = [gram[0] for gram in model.grams if len(gram) == 1]
    for _ in range(60):
        state, words = np.int32(model.graph.start_state), model.score((), "<s>")[1]
        for _ in range(6):
            place = int(rng.integers(len(vocabulary)))
            wanted, words = model.score(words, vocabulary[place])
            found, state = kernel.lm_score(state, place, arrays)
            assert found == pytest.approx(wanted, abs=1e-5)


def test_many_values_are_rounded_to_256(tmp_path):
    rng = np.random.default_rng(0)
    words = [f"w{k}" for k in range(40)]
    grams = {(word,): (-1.0, -0.3) for word in ("<unk>", "<s>", "</s>", *words)}
    scores = {(a, b): -float(rng.uniform(0.1, 6)) for a in words for b in words}
    grams |= {gram: (score, 0.0) for gram, score in scores.items()}
    (tmp_path / "lm.arpa").write_text(arpa_of(grams))
    graph = graph_of(tmp_path / "lm.arpa", {word: [("a",)] for word in words}, TOKENS)
    arrays, names = lm_arrays(graph.lm), ["<unk>", "<s>", "</s>", *words]
    errors = [
        kernel.lm_score(graph.lm.unigram_next[names.index(a)], names.index(b), arrays)[0] - score
        for (a, b), score in scores.items()
    ]
    assert np.sqrt(np.mean(np.square(errors))) < 6 / 256
    assert len(np.unique(graph.lm.arcs >> np.uint32(24))) > 200


@pytest.mark.parametrize("which", range(8))
def test_a_file_gives_back_what_was_saved(models, which, tmp_path):
    graph = models[which].graph
    save_graph(tmp_path, graph)
    loaded = load_graph(tmp_path)
    for name in (field.name for field in fields(Automaton)):
        assert np.array_equal(getattr(loaded.lm, name), getattr(graph.lm, name))
    assert np.array_equal(loaded.tree.nodes, graph.tree.nodes)
    assert np.array_equal(loaded.tree.words, graph.tree.words)
    assert (loaded.words, loaded.tokens) == (graph.words, graph.tokens)
    assert (loaded.start, loaded.end, loaded.unknown) == (graph.start, graph.end, graph.unknown)
    assert not loaded.lm.arcs.flags.writeable
    assert [loaded.word(k) for k in range(len(loaded.words))] == list(loaded.words)


def test_spellings_are_read_off_the_tree(models):
    for model in models:
        found = model.graph.spellings([*model.graph.words, "nobody"])
        for word in model.graph.words:
            place = model.graph.index[word]
            wanted = {s.tokens for s in model.spellings if s.word == place}
            # Of several unknown words that sound alike one remains.
            assert {*found[word]} <= wanted
            assert found[word] == model.graph.spellings([word])[word]
            assert found[word] or wanted <= {s for k in model.graph.words for s in found[k]}
        assert found["nobody"] == []
        assert model.graph.spellings([]) == {}


SETTINGS = {"beam": 20, "threshold": 9, "tokens": 6, "lm_weight": 1.5, "word_score": 0}


@given(data=st.data())
def test_damaged_files_are_refused_in_one_line_or_change_nothing(models, tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("damaged")
    save_graph(folder, models[3].graph)
    whole = (folder / GRAPH).read_bytes()
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(whole) - 1))
        damaged[place] = data.draw(st.integers(0, 255))
    (folder / GRAPH).write_bytes(damaged[: data.draw(st.sampled_from([len(whole), place]))])
    graph, message = _load(folder)
    if graph is None:
        assert GRAPH in message
        assert "\n" not in message
        return
    search = Search(graph, **SETTINGS)
    log_probs = random_log_probs(0, 8, len(TOKENS))
    search.best_paths(search.advance(log_probs, search.initial_state()), 5)


@given(data=st.data())
def test_wrong_arrays_behind_a_right_checksum_lead_nowhere(models, tmp_path_factory, data):
    """A file made to deceive: its values are tested, not only its checksum."""
    folder = tmp_path_factory.mktemp("forged")
    graph = models[3].graph
    name = data.draw(st.sampled_from(["nodes", "words", "state_arcs", "state_backoff", "arcs"]))
    owner = graph.tree if name in ("nodes", "words") else graph.lm
    array = getattr(owner, name).copy()
    flat = array.reshape(-1)
    place = data.draw(st.integers(0, len(flat) - 1))
    flat[place] = data.draw(st.sampled_from([0, 1, 5, 1 << 20, 2**31 - 1]))
    object.__setattr__(forged := _copy(owner), name, array)
    parts = {"tree": forged} if owner is graph.tree else {"lm": forged}
    other = _copy(graph)
    for part, value in parts.items():
        object.__setattr__(other, part, value)
    save_graph(folder, other)
    loaded, _ = _load(folder)
    if loaded is None:
        return
    search = Search(loaded, **SETTINGS)
    log_probs = random_log_probs(1, 8, len(TOKENS))
    search.best_paths(search.advance(log_probs, search.initial_state()), 5)


def _load(folder):
    """Return the graph, or None and why there is none."""
    try:
        return load_graph(folder), ""
    except ModelError as error:
        return None, str(error)


def _copy(value):
    return type(value)(*(getattr(value, field.name) for field in fields(value)))


def test_a_wrong_version_or_kind_is_named(models, tmp_path):
    save_graph(tmp_path, models[0].graph)
    whole = (tmp_path / GRAPH).read_bytes()
    for old, new, message in (
        (b'"version":"1"', b'"version":"7"', "its version is 7, this program reads 1"),
        (b"streamasr-graph", b"streamasr-grape", "it holds something else"),
    ):
        (tmp_path / GRAPH).write_bytes(whole.replace(old, new))
        with pytest.raises(ModelError, match=message):
            load_graph(tmp_path)
    for text in (b"", b"\x00" * 7, b"\xff" * 64, b"\x02" + b"\x00" * 7 + b"{}"):
        (tmp_path / GRAPH).write_bytes(text)
        with pytest.raises(ModelError, match="not a search graph, or damaged"):
            load_graph(tmp_path)


def test_the_header_is_safetensors(models, tmp_path):
    from safetensors import safe_open

    save_graph(tmp_path, models[1].graph)
    with safe_open(tmp_path / GRAPH, "np") as file:
        assert json.loads(json.dumps(file.metadata()))["format"] == "streamasr-graph"
        assert np.array_equal(file.get_tensor("tree.nodes"), models[1].graph.tree.nodes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[: len(text) // 2], "not an ARPA file, or damaged"),
        (lambda text: text.replace("ngram 1=5", "ngram 1=9"), "not an ARPA file, or damaged"),
        (lambda text: text.replace("\tab", "\tcd"), "a word is listed twice"),
        (lambda text: text.replace("-1\t", "?\t", 1), "not an ARPA file, or damaged"),
        (lambda _: "hello", "no counts of n-grams"),
    ],
)
def test_a_damaged_arpa_file_is_one_line(tmp_path, change, message):
    path = tmp_path / "lm.arpa"
    path.write_text(change(arpa_of({**GRAMS, ("ab", "cd"): (-0.5, 0.0)})))
    with pytest.raises(ModelError, match=message) as caught:
        read_arpa(path)
    assert "\n" not in str(caught.value)


def test_what_does_not_fit_is_named(tmp_path):
    path = tmp_path / "lm.arpa"
    path.write_text(arpa_of(GRAMS))
    with pytest.raises(ModelError, match="'ab' has 'z', which is no token"):
        graph_of(path, {"ab": [("a", "z")]}, TOKENS)
    with pytest.raises(ModelError, match="the lexicon has no words"):
        graph_of(path, {}, TOKENS)
    path.write_text(arpa_of({gram: score for gram, score in GRAMS.items() if gram != ("</s>",)}))
    with pytest.raises(ModelError, match="</s> is not among its words"):
        graph_of(path, {"ab": [("a",)]}, TOKENS)


def test_the_command_builds_a_folders_graph(tmp_path):
    (tmp_path / "phones.txt").write_text("\n".join(TOKENS.symbols))
    (tmp_path / "lm.arpa").write_text(arpa_of(GRAMS))
    (tmp_path / "words").write_text("ab a b\ncd c d\n")
    command = [sys.executable, "-m", "streamasr.decoding.graph", tmp_path / "lm.arpa"]
    done = subprocess.run(
        [*command, tmp_path / "words", tmp_path], capture_output=True, text=True, check=True
    )
    assert "2 words" in done.stderr
    assert load_graph(tmp_path).words == ("ab", "cd")
    done = subprocess.run(
        [*command, tmp_path / "none", tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
