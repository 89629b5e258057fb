"""A recurrent language model chooses among a segment's hypotheses."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from streamasr import ModelError
from streamasr.decoding import BeamConfig, BeamDecoder, load_beam
from streamasr.decoding.graph import GRAPH, load_graph
from streamasr.hotwords import RARE, Hotword
from streamasr.language import (
    LanguageModel,
    LanguageModelConfig,
    Pieces,
    Rescorer,
    save_language_model,
)
from streamasr.tokens import Tokens

from ..conftest import write_graph
from .test_beam import ARPA, PHONES, STEP, decode, phone_folder, spoken

__all__ = ["phone_folder"]

CONFIG = BeamConfig(rescoring_weight=1.0)
PAUSE = " _" * 10


@dataclass(frozen=True)
class Known:
    """What a rescorer knows: all words so far."""

    words: tuple[str, ...] = ()


class Fond:
    """Expects "see" behind "cats", and "sea" otherwise; knows no other word."""

    def initial_state(self):
        return Known()

    def score(self, texts, state):
        def scores(text):
            before = [*state.words, *text]
            expected = ["see" if "cats" in before[:k] else "sea" for k in range(len(before))]
            pairs = [*zip(before, expected, strict=True)][len(state.words) :]
            return [-1.0 if word == wanted else -9.0 for word, wanted in pairs]

        return [scores(text) for text in texts], [Known((*state.words, *text)) for text in texts]


@pytest.fixture
def decoder(phone_folder) -> BeamDecoder:
    return BeamDecoder(PHONES, STEP, load_graph(phone_folder), CONFIG, rescorer=Fond())


def said(decoder, phones: str) -> str:
    return " ".join(word.text for word in decode(decoder, spoken(phones)))


def test_the_reader_chooses_and_remembers_the_segments_before(decoder, phone_folder):
    plain = load_beam(phone_folder, PHONES, STEP)
    assert said(plain, "ay s iy") == "i see"
    assert said(decoder, "ay s iy") == "i sea"
    assert said(decoder, f"k ae t s{PAUSE} ay s iy") == "cats i see"
    words, state = decoder(spoken(f"k ae t s{PAUSE} _ _"), decoder.initial_state())
    assert [word.text for word in words] == ["cats"]
    assert state.rescorer == Known(("cats",))
    assert decoder.finish(copy.deepcopy(state))[1].rescorer == Known(("cats",))


def test_a_reader_without_weight_is_not_asked(phone_folder):
    graph = load_graph(phone_folder)
    decoder = BeamDecoder(PHONES, STEP, graph, BeamConfig(), rescorer=Fond())
    assert said(decoder, "ay s iy") == "i see"
    assert decoder.initial_state().rescorer is None


def test_readings_come_in_the_readers_order(phone_folder):
    graph = load_graph(phone_folder)
    decoder = BeamDecoder(PHONES, STEP, graph, CONFIG, nbest=3, rescorer=Fond())
    _, state = decoder(spoken("ay s iy"), decoder.initial_state())
    _, state = decoder.finish(state)
    found = decoder.alternatives(state)
    assert found[0].text == "i sea"
    assert [a.score for a in found] == sorted((a.score for a in found), reverse=True)
    assert len({a.text for a in found}) == len(found) == 3


def test_only_the_best_readings_are_read(phone_folder):
    graph = load_graph(phone_folder)
    one = CONFIG.model_copy(update={"rescored_hypotheses": 1})
    decoder = BeamDecoder(PHONES, STEP, graph, one, rescorer=Fond())
    assert said(decoder, "ay s iy") == "i see"


def test_hypotheses_far_behind_the_best_are_not_rescored(phone_folder):
    """The search prefers "i see" by 1.7 powers of ten."""
    graph = load_graph(phone_folder)

    def rescored(margin, nbest):
        config = CONFIG.model_copy(update={"rescoring_margin": margin})
        decoder = BeamDecoder(PHONES, STEP, graph, config, nbest=nbest, rescorer=Fond())
        _, state = decoder(spoken("ay s iy"), decoder.initial_state())
        candidates = decoder.candidates(state.search, state)
        return [" ".join(candidate.text) for candidate in candidates]

    lead = 1.7 * CONFIG.lm_weight * 1.01
    assert rescored(lead, 1)[0] == "i sea"
    assert "i sea" not in rescored(0.9 * lead, 1)
    # As many as a caller asks for are rescored all the same.
    assert len(rescored(0.1, 3)) == 3 < len(rescored(None, 3))


def test_the_search_weights_can_be_others_where_the_reader_counts(phone_folder):
    """The n-gram model knows "i see", by 1.7 powers of ten, the rescorer "i sea", by 8 nats."""
    graph = load_graph(phone_folder)

    def best(**settings):
        config = BeamConfig(lm_weight=2.0, word_score=0.5, rescoring_weight=0.1, **settings)
        decoder = BeamDecoder(PHONES, STEP, graph, config, nbest=9, rescorer=Fond())
        _, state = decoder(spoken("ay s iy"), decoder.initial_state())
        return decoder.alternatives(decoder.finish(state)[1])

    plain, light, many = best(), best(rescoring_lm_weight=0.1), best(rescoring_word_score=1.5)
    assert plain[0].text == many[0].text == "i see"
    assert light[0].text == "i sea"
    assert many[0].score - plain[0].score == pytest.approx(2 * (1.5 - 0.5), abs=1e-4)


def test_a_hotword_is_at_least_a_rare_word(phone_folder):
    """The rescorer thinks a billionth of it, which must not undo the hotword's bonus."""

    class Strict(Fond):
        def score(self, texts, state):
            scores = [[-60.0 if word == "see" else -1.0 for word in text] for text in texts]
            return scores, [state] * len(texts)

    graph = load_graph(phone_folder)
    hotwords = [Hotword("see", weight=8.0)]
    config = CONFIG.model_copy(update={"lm_weight": 2.0})
    decoder = BeamDecoder(PHONES, STEP, graph, config, hotwords=hotwords, rescorer=Strict())
    assert -RARE * math.log(10) < 60
    assert said(decoder, "dh ah s iy") == "the see"
    plain = BeamDecoder(PHONES, STEP, graph, config, rescorer=Strict())
    assert said(plain, "dh ah s iy") == "the sea"


@pytest.fixture(scope="module")
def read_folder(tmp_path_factory):
    """A model folder whose recurrent language model has random weights."""
    folder = tmp_path_factory.mktemp("read")
    lexicon = "i ay\nthe dh ah\nthe dh iy\nsee s iy\nsea s iy\ncats k ae t s\n"
    write_graph(folder, ARPA, lexicon, PHONES)
    (folder / "beam.json").write_text(CONFIG.model_dump_json(), encoding="utf-8")
    torch.manual_seed(0)
    pieces = Pieces(["</s>", "▁i", "▁the", "▁s", "ee", "ea", "▁cat", "s"])
    sizes = LanguageModelConfig(vocab_size=len(pieces), embedding_size=8, hidden_size=16)
    model = LanguageModel(sizes)
    with torch.no_grad():
        for value in model.parameters():
            value.normal_()
    save_language_model(folder, model, pieces)
    return folder


@given(
    phones=st.lists(st.sampled_from(["ay", "dh ah", "s iy", "k ae t s", "_", "b", "_ " * 8])),
    cuts=st.lists(st.integers(0, 60), max_size=6),
    held=st.integers(1, 3),
)
def test_any_chunking_gives_the_same_words(read_folder, phones, cuts, held):
    decoder = load_beam(read_folder, PHONES, STEP)
    assert isinstance(decoder._rescorer, Rescorer)
    log_probs = spoken(" ".join(phones), held=held)
    noise = torch.rand(log_probs.shape, generator=torch.Generator().manual_seed(len(log_probs)))
    log_probs = (log_probs + 2 * noise).log_softmax(-1)
    assert decode(decoder, log_probs, cuts) == decode(decoder, log_probs)


def test_a_model_that_is_asked_for_must_be_there(phone_folder, tmp_path):
    (tmp_path / GRAPH).write_bytes((phone_folder / GRAPH).read_bytes())
    (tmp_path / "beam.json").write_text('{"rescoring_weight": 0.5}')
    with pytest.raises(ModelError, match=r"language\.safetensors: missing, but beam\.json has"):
        load_beam(tmp_path, Tokens.phones(), STEP)
