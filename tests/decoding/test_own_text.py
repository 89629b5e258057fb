"""Somebody's own text: its words are heard, new ones too, and probabilities are a true mixture."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from streamasr import ConfigError, ModelError, Recognizer, RecognizerOptions
from streamasr.cli import app
from streamasr.decoding import BeamConfig, BeamDecoder
from streamasr.decoding.bias import _automaton
from streamasr.decoding.graph import SearchGraph, load_graph
from streamasr.decoding.kernel import bias_step
from streamasr.decoding.letters import read_rules
from streamasr.decoding.mixture import SHARE, Mixture
from streamasr.hotwords import RARE, Hotword
from streamasr.jobs.request import Request
from streamasr.language import OwnText, read_own_text
from streamasr.language.own_text import MOST_BYTES, mixed, own_sentences

from ..conftest import write_graph
from .test_beam import ARPA, PHONES, STEP, decode, spoken

CONFIG = BeamConfig(lm_weight=1.5)
HEARD = spoken("dh ah s iy")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    write_graph(folder, ARPA, "i ay\nthe dh ah\nsee s iy\nsea s iy\ncats k ae t s\n", PHONES)
    (folder / "letters.txt").write_text("Z z\nI ay\nG g\nE iy\nEE iy\n")
    return folder


@pytest.fixture(scope="module")
def graph(folder) -> SearchGraph:
    return load_graph(folder)


def beam(folder, lines, hotwords=(), **settings) -> BeamDecoder:
    rules = read_rules(folder / "letters.txt")
    config = CONFIG.model_copy(update=settings)
    own = OwnText(lines) if lines else None
    options = {"hotwords": hotwords, "rules": rules, "nbest": 2, "own": own}
    return BeamDecoder(PHONES, STEP, load_graph(folder), config, **options)


def texts(decoder, heard) -> list[str]:
    return [word.text for word in decode(decoder, heard)]


def test_probabilities_are_those_of_the_counts():
    own = OwnText(["a b", "a b", "a c", "b"])
    # Eleven words and ends: a 3, b 3, c 1, </s> 4. Each kind gives up three quarters.
    assert own.probability("a") == pytest.approx(2.25 / 11)
    assert own.probability("d") == 0
    b_after_a = (1.25 + 2 * 0.75 * 2.25 / 11) / 3
    assert own.probability("b", ["a"]) == pytest.approx(b_after_a)
    # Two words before: "<s> a" was followed by b twice and by c once, as "a" was.
    assert own.probability("b", ["<s>", "a"]) == pytest.approx((1.25 + 1.5 * b_after_a) / 3)
    assert own.probability("b", ["x", "y"]) == own.probability("b")
    assert own.probability("b", ["x", "a"]) == own.probability("b", ["a"])
    assert own.words == ("a", "b", "c")


@given(
    st.lists(st.lists(st.sampled_from("abcd"), max_size=5).map(" ".join), min_size=1, max_size=9),
    st.lists(st.sampled_from(["a", "b", "d", "e", "<s>"]), max_size=2),
)
def test_what_follows_has_a_probability_of_one_but_for_new_words(lines, before):
    own = OwnText(lines)
    total = sum(own.probability(word, before) for word in (*own.words, "</s>"))
    if not own.words:
        assert total == 0
    else:
        # Single words give up at most three quarters of what they have, and longer ones less.
        assert 0.25 - 1e-9 <= total <= 1 + 1e-9


def test_a_text_is_read_as_it_is_said(tmp_path):
    text = "Dr. Gathercole paid $20.\nHe left\nat 5 o'clock. Gone?\n\nNames\nO’Brien\nlow level"
    assert [*own_sentences(text)] == [
        "doctor gathercole paid twenty dollars",
        "he left at five o'clock",
        "names",
        "o'brien",
        "low level",
    ]
    path = tmp_path / "own.txt"
    path.write_text("\ufeff" + text, encoding="utf-8")
    assert "gathercole" in read_own_text(path).words
    long = "word " * 200
    assert [*own_sentences(long)] == [long.strip()]


def test_a_text_that_cannot_be_used_is_one_line(tmp_path):
    path = tmp_path / "own.txt"
    with pytest.raises(ConfigError, match=r"own\.txt: cannot be read"):
        read_own_text(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"own\.txt: not UTF-8 text"):
        read_own_text(path)
    path.write_text("東京\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="has no words with letters a to z"):
        read_own_text(path)
    with path.open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    with pytest.raises(ConfigError, match="more than a text at run time may have"):
        read_own_text(path)


def test_a_mixture_is_the_sum_of_both_probabilities(graph):
    own = OwnText(["the see", "zeegi"])
    mixture = Mixture(own, graph)
    base = [10**-0.3, 10 ** (-1.9), 10**-1.3]  # the; see after it; the end after that
    first = [own.probability("the", ["<s>"]), own.probability("see", ["<s>", "the"])]
    mine = [*first, own.probability("</s>", ["the", "see"])]
    expected = sum(math.log10((1 - SHARE) * b + SHARE * m) for b, m in zip(base, mine, strict=True))
    assert mixture.lm_score(["the", "see"]) == pytest.approx(expected, abs=2e-3)  # 8-bit values
    # A word that the lexicon lacks is taken for a rare one by the bundled model.
    alone = own.probability("zeegi", ["<s>"])
    end = math.log10((1 - SHARE) * 0.1 + SHARE * own.probability("</s>", ["<s>", "zeegi"]))
    new = math.log10((1 - SHARE) * 10**RARE + SHARE * alone)
    assert mixture.lm_score(["zeegi"]) == pytest.approx(new + end, abs=2e-3)
    scores = mixture.rescorer_scores(["the", "dog"], [-1.0, -2.0])
    assert scores[0] == pytest.approx(math.log((1 - SHARE) * math.exp(-1) + SHARE * first[0]))
    assert scores[1] == pytest.approx(math.log((1 - SHARE) * math.exp(-2)))
    assert mixed(0.5, 0.0, -3.0) == pytest.approx(math.log(0.5) - 3)


words = st.integers(1, 5)


@given(
    phrases=st.lists(
        st.tuples(st.lists(words, min_size=1, max_size=3), st.floats(0.5, 3)), max_size=4
    ),
    single=st.dictionaries(words, st.floats(0, 2), max_size=5),
    pairs=st.dictionaries(words, st.dictionaries(words, st.floats(0, 2), min_size=1), max_size=4),
    said=st.lists(words, max_size=9),
)
def test_a_text_adds_its_bonus_to_that_of_phrases(phrases, single, pairs, said):
    # Only words that are helped after one word may be helped after others.
    for row in pairs.values():
        for word in row:
            single.setdefault(word, 0.0)
    if not phrases and not single:
        return

    def total(automaton) -> float:
        state, earned = np.int32(0), 0.0
        for word in said:
            bonus, state = bias_step(state, np.int32(word), automaton)
            earned += float(bonus)
        return earned - float(automaton[3][state])

    expected = total(_automaton(phrases, {}, {})) if phrases else 0.0
    before = 0
    for word in said:
        expected += pairs.get(before, {}).get(word, single.get(word, 0.0))
        before = word
    assert total(_automaton(phrases, single, pairs)) == pytest.approx(expected, abs=1e-4)


def test_a_text_decides_between_words_that_sound_alike(folder):
    heard = spoken("k ae t s _ s iy")
    assert texts(beam(folder, []), heard) == ["cats", "sea"]
    decoder = beam(folder, ["cats see", "i see cats see"])
    assert texts(decoder, heard) == ["cats", "see"]
    # Where the bundled model is sure, and what the text does not speak of, stays.
    assert texts(decoder, HEARD) == ["the", "sea"]
    assert texts(decoder, spoken("dh ah k ae t s")) == ["the", "cats"]


def test_a_new_word_of_a_text_is_heard_by_its_letters(folder):
    heard = spoken("dh ah z iy g ay")
    assert texts(beam(folder, ["the zeegi", "qqq"]), heard) == ["the", "zeegi"]
    assert texts(beam(folder, ["the zeegi"], [Hotword("cats")]), heard) == ["the", "zeegi"]
    assert texts(beam(folder, ["cats"], [Hotword("Zeegi")]), heard) == ["the", "zeegi"]


def test_readings_have_the_score_of_the_mixture(folder, graph):
    lines = ["the see", "the see", "i see cats"]
    decoder, plain = beam(folder, lines), beam(folder, [])
    mixture = Mixture(OwnText(lines), graph)
    found = {}
    for name, one in (("own", decoder), ("plain", plain)):
        _, state = one(HEARD, one.initial_state())
        found[name] = {c.text: c for c in one.candidates(state.search, state, 20)}
    common = found["own"].keys() & found["plain"].keys()
    assert ("the", "see") in common
    for text in common:
        own, known = found["own"][text], found["plain"][text]
        assert own.lm == pytest.approx(mixture.lm_score(text), abs=1e-4)
        # The bonus of the search is gone: what is left is the sound.
        assert own.acoustic == pytest.approx(known.acoustic, abs=1e-3)


def test_a_state_with_a_text_can_be_kept(folder):
    decoder, heard = beam(folder, ["cats see", "cats see"]), spoken("k ae t s _ s iy")
    _, state = decoder(heard[:3], decoder.initial_state())
    words, state = decoder(heard[3:], pickle.loads(pickle.dumps(state)))
    last, _ = decoder.finish(state)
    assert [word.text for word in (*words, *last)] == ["cats", "see"]


def test_options_and_settings_name_a_text(tmp_path):
    path = tmp_path / "own.txt"
    path.write_text("the see")
    options = RecognizerOptions(text=path)  # type: ignore[arg-type]
    assert options.text == str(path)
    request = Request(["a.wav"], options)
    before = request.settings()
    assert "text" not in Request(["a.wav"]).settings()
    path.write_text("the sea")
    assert request.settings() != before
    with pytest.raises(ModelError, match="need the beam search"):
        Recognizer.from_pretrained(decoder="greedy", text=path)


def test_the_command_says_what_is_wrong_with_a_text(tmp_path):
    path = tmp_path / "own.txt"
    call = ["transcribe", "--text", str(path), "talk.wav"]
    missing = CliRunner().invoke(app, call)
    assert isinstance(missing.exception, ConfigError)
    assert "cannot be read" in str(missing.exception)
    path.write_text("some words")
    greedy = CliRunner().invoke(app, [*call, "--decoder", "greedy"])
    assert isinstance(greedy.exception, ModelError)
    assert "--text needs the beam search" in str(greedy.exception)
