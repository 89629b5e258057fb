"""Hotwords: the file, the bonus that is taken back, words that the lexicon lacks."""

from __future__ import annotations

import pickle
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from streamasr import ConfigError
from streamasr.decoding import BeamConfig, BeamDecoder
from streamasr.decoding.bias import build_bias
from streamasr.decoding.graph import load_graph
from streamasr.decoding.letters import pronounce, read_rules
from streamasr.hotwords import Hotword, read_hotwords
from streamasr.pretrained import PRETRAINED
from streamasr.tokens import Tokens

from ..conftest import REPOSITORY, write_graph
from .test_beam import ARPA, PHONES, STEP, TOKENS, decode, posteriors, spoken

CONFIG = BeamConfig(lm_weight=1.5)


def test_a_file_is_read(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("# people\n\nGathercole\nNew York\t3\nNguyen\t\tN W IH N\n", encoding="utf-8")
    first, second, third = read_hotwords(path)
    assert (first.words, first.weight) == (("gathercole",), 2.0)
    assert (second.words, second.weight) == (("new", "york"), 3.0)
    assert (third.words, third.weight, third.phones) == (("nguyen",), 2.0, ("n", "w", "ih", "n"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\n\nb\theavy\n", ":3: the weight 'heavy' is no number"),
        ("a\t1\tah\tmore\n", ":1: a line"),
        *(
            (f"a\nb\t{weight}\n", f":2: 'b': the weight {weight} is not sensible: .* mostly 1 to 4")
            for weight in ("nan", "inf", "-inf", "100", "-9")
        ),
        ("b\t1e308", r":1: 'b': the weight 1e\+308 is not sensible"),
        ("Xu\t\tSH UE1\n", ":1: 'Xu': 'UE1' is no phone; these are ARPAbet's.* zh"),
        ("Xu\t\tSH UW3\n", ":1: 'Xu': 'UW3' is no phone"),
        ("Xu\tN UW1\n", ":1: the weight 'N UW1' is no number"),
        ("New York\t2\tN UW1 Y AO1 R K\n", ":1: 'New York': phones are those of one word"),
    ],
)
def test_a_line_that_is_wrong_is_named(tmp_path, text, message):
    path = tmp_path / "names.txt"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_hotwords(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"names\.txt: cannot be read"):
        read_hotwords(tmp_path / "names.txt")


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), 1e308, 100, -100])
def test_a_weight_that_is_not_sensible_is_refused_in_python_too(weight):
    with pytest.raises(ConfigError, match="at most 8"):
        Hotword("b", weight)


def test_phones_may_be_copied_from_the_cmu_dictionary(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("Nguyen\t2\tN UW1 Y EH2 N\n", encoding="utf-8")
    (hotword,) = read_hotwords(path)
    assert hotword.phones == ("n", "uw", "y", "eh", "n")


@pytest.mark.parametrize(
    ("text", "words", "folded"),
    [
        ("José", "jose", True),
        ("Jose\u0301", "jose", True),
        ("Zürich", "zurich", True),
        ("O’Brien", "o'brien", True),
        ("Müller-Lüdenscheidt", "muller ludenscheidt", True),
        ("C3PO", "c po", True),
        ("O'Brien", "o'brien", False),
        ("St. John-Smith, Jr.", "st john smith jr", False),
        ("東京", "", False),  # told as one that cannot be used
    ],
)
def test_letters_are_folded_and_it_is_known(text, words, folded):
    hotword = Hotword(text)
    assert " ".join(hotword.words) == words
    assert hotword.is_folded == folded


def test_a_line_ends_where_a_file_has_line_feeds(tmp_path):
    path = tmp_path / "names.txt"
    path.write_bytes("\ufeffNew\u2028York\r\nXu\x0c\n".encode())
    assert [hotword.words for hotword in read_hotwords(path)] == [("new", "york"), ("xu",)]


@pytest.fixture
def folder(tmp_path) -> Path:
    write_graph(tmp_path, ARPA, "i ay\nthe dh ah\nsee s iy\nsea s iy\ncats k ae t s\n", PHONES)
    (tmp_path / "letters.txt").write_text("Z z\nI ay\nG g\nE iy\nEE iy\n#Se s\n")
    return tmp_path


def beam(folder, tokens, hotwords) -> BeamDecoder:
    rules = read_rules(folder / "letters.txt")
    graph = load_graph(folder)
    return BeamDecoder(tokens, STEP, graph, CONFIG, hotwords=hotwords, rules=rules, nbest=2)


def best(decoder, log_probs) -> tuple[str, float]:
    """The best reading and its score."""
    _, state = decoder(log_probs, decoder.initial_state())
    _, state = decoder.finish(state)
    reading = decoder.alternatives(state)[0]
    return reading.text, reading.score


def test_a_phrase_earns_its_weight_a_word_and_its_beginning_nothing(folder):
    heard, other = spoken("dh ah s iy"), spoken("dh ah k ae t s")
    text, light = best(beam(folder, PHONES, [Hotword("The See", 3)]), heard)
    assert text == "the see"
    _, heavy = best(beam(folder, PHONES, [Hotword("The See", 4)]), heard)
    assert heavy - light == pytest.approx(2 * CONFIG.lm_weight, abs=1e-3)
    plain = best(beam(folder, PHONES, []), other)
    assert best(beam(folder, PHONES, [Hotword("The See", 4)]), other) == (
        plain[0],
        pytest.approx(plain[1], abs=1e-3),
    )


@pytest.mark.parametrize("tokens", [PHONES, TOKENS], ids=["phones", "characters"])
def test_the_words_of_a_phrase_have_times_and_confidences_of_their_own(folder, tokens):
    if tokens is PHONES:
        heard = spoken("ay dh ah s iy k ae t s")
    else:
        write_graph(folder, ARPA, "i\nthe\nsee\nsea\ncats\n", TOKENS)
        heard = posteriors("i the se_e cats ")
    phrases = [Hotword("the see", 4), Hotword("I the", 0.1)]
    favoured = decode(beam(folder, tokens, phrases), heard)
    assert [w.text for w in favoured] == ["i", "the", "see", "cats"]
    plain = decode(beam(folder, tokens, []), heard)
    assert [(w.start, w.end, w.confidence) for w in favoured] == [
        (w.start, w.end, w.confidence) for w in plain
    ]


def test_a_weight_below_nothing_keeps_a_word_away(folder):
    heard = spoken("dh ah s iy")
    assert best(beam(folder, PHONES, [Hotword("sea", -3)]), heard)[0] == "the see"


def test_many_hotwords_leave_other_text_as_it_is(folder):
    names = [Hotword(a + b + c) for a in "zig" for b in ("e", "i", "ee") for c in "zg"]
    heard = spoken("dh ah k ae t s")
    assert best(beam(folder, PHONES, names), heard)[0] == "the cats"


def test_a_hotword_wins_over_a_word_that_sounds_alike(folder):
    heard = spoken("dh ah s iy")
    assert [w.text for w in decode(beam(folder, PHONES, []), heard)] == ["the", "sea"]
    favoured = beam(folder, PHONES, [Hotword("SEE", 3)])
    assert [w.text for w in decode(favoured, heard)] == ["the", "see"]


def test_a_word_outside_the_lexicon_is_heard_by_its_letters(folder):
    heard = spoken("dh ah z iy g ay")
    decoder = beam(folder, PHONES, [Hotword("Zeegi")])
    assert decoder.unusable_hotwords == []
    assert [w.text for w in decode(decoder, heard)] == ["the", "zeegi"]


def test_a_word_outside_the_lexicon_is_heard_as_its_phones_say(folder):
    hotword = Hotword("Xu", phones=("sh", "uw"))
    heard = spoken("dh ah sh uw")
    assert [w.text for w in decode(beam(folder, PHONES, [hotword]), heard)] == ["the", "xu"]


def test_a_model_of_characters_takes_new_words_as_they_are_spelled(folder):
    write_graph(folder, ARPA, "i\nthe\nsee\nsea\ncats\n", TOKENS)
    heard = posteriors("the _zax ")
    assert [w.text for w in decode(beam(folder, TOKENS, [Hotword("ZAX")]), heard)] == ["the", "zax"]


def test_what_cannot_be_used_is_named(folder):
    decoder = beam(folder, PHONES, [Hotword("東京"), Hotword("qqq"), Hotword("cats")])
    reasons = {hotword.text: reason for hotword, reason in decoder.unusable_hotwords}
    assert reasons.keys() == {"東京", "qqq"}
    assert "no letters" in reasons["東京"]
    assert "no pronunciation of 'qqq'" in reasons["qqq"]


def test_the_widest_context_decides(folder):
    rules = read_rules(folder / "letters.txt")
    assert pronounce("zee", rules) == ("z", "iy", "iy")
    assert pronounce("see", rules) == ("s", "iy", "iy")
    assert pronounce("qq", rules) == ()
    assert read_rules(folder / "absent.txt") == {}


def test_rules_are_learned_from_a_lexicon(tmp_path):
    lexicon = tmp_path / "lexicon.txt"
    lexicon.write_text(
        "cat k ae t\ncot k aa t\ncit s ih t\ncity s ih t iy\nchat ch ae t\nchit ch ih t\n"
        "hat hh ae t\nhit hh ih t\ntic t ih k\ntac t ae k\nits ih t s\nhats hh ae t s\n"
    )
    command = [sys.executable, REPOSITORY / "scripts" / "build_letter_rules", lexicon]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (tmp_path / "letters.txt").write_text(done.stdout)
    rules = read_rules(tmp_path / "letters.txt")
    assert pronounce("chac", rules) == ("ch", "ae", "k")
    assert pronounce("cats", rules) == ("k", "ae", "t", "s")
    # Rules only: no tokens that a model would not know.
    assert {phone for phones in rules.values() for phone in phones} <= set(Tokens.phones().symbols)


def test_a_new_list_of_a_thousand_phrases_is_quick(folder):
    """Nothing is built anew but a small tree: it takes no longer than saying its words twice.

    That is fifty milliseconds where saying 2,000 words takes 25, as it does on one laptop core.
    """
    graph, rules = load_graph(folder), read_rules(folder / "letters.txt")
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice([*"zige"], 5)) for _ in range(2000)]
    phrases = [Hotword(f"{a} {b}") for a, b in zip(words[::2], words[1::2], strict=True)]
    build_bias(phrases[:10], graph, PHONES, rules)
    took, yardstick = [], []
    for _ in range(5):
        began = time.process_time()
        bias, unusable = build_bias(phrases, graph, PHONES, rules)
        built = time.process_time()
        for word in words:
            pronounce(word, rules)
        took.append(built - began)
        yardstick.append(time.process_time() - built)
    assert bias is not None
    assert not unusable
    assert min(took) < 2 * min(yardstick)


def test_a_thousand_phrases_of_the_bundled_lexicon_are_quick():
    """Its 228,000 words are looked up all at once: one by one they took 13 s."""
    graph, rules = load_graph(PRETRAINED), read_rules(PRETRAINED / "letters.txt")
    chosen = np.random.default_rng(0).integers(0, len(graph.words), (1000, 2))
    phrases = [Hotword(f"{graph.word(a)} {graph.word(b)}") for a, b in chosen.tolist()]
    build_bias(phrases[:1], graph, PHONES, rules)
    began = time.process_time()
    bias, unusable = build_bias(phrases, graph, PHONES, rules)
    assert time.process_time() - began < 0.5
    assert bias is not None
    assert not unusable
    assert bias.words == {word for phrase in phrases for word in phrase.words}
    assert bias.added == ()


def test_streams_have_hotwords_of_their_own(folder):
    decoder = beam(folder, PHONES, [])
    heard = spoken("dh ah s iy")
    bias, _ = decoder.bias([Hotword("see", 3)])
    for state, text in (
        (decoder.initial_state(bias), "see"),
        (decoder.initial_state(), "sea"),
        (pickle.loads(pickle.dumps(decoder.initial_state(bias))), "see"),
    ):
        _, after = decoder(heard, state)
        words, ended = decoder.finish(after)
        assert [w.text for w in words] == ["the", text]
        assert (ended.bias is None) == (text == "sea")


def test_a_phrase_within_a_phrase_goes_on(folder):
    """Where a longer phrase breaks off, one that began inside of it is still followed."""
    phrases = [Hotword("i the cats", 3), Hotword("the see", 3)]
    heard = spoken("ay dh ah s iy")
    text, score = best(beam(folder, PHONES, phrases), heard)
    assert text == "i the see"
    alone, other = best(beam(folder, PHONES, [Hotword("the see", 3)]), heard)
    assert (text, score) == (alone, pytest.approx(other, abs=1e-3))
