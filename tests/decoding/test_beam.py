"""The beam search: words of the lexicon, the language model's choice, any chunking the same."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from streamasr import ConfigError, ModelError, Recognizer
from streamasr.decoding import BeamConfig, BeamDecoder, load_beam
from streamasr.decoding.graph import load_graph
from streamasr.decoding.loading import BeamMissing
from streamasr.tokens import Tokens

from ..conftest import save_tiny, write_graph

TOKENS = Tokens.characters()
STEP = 0.04
PAUSE = 15  # timesteps, of the default settings
# Two-word sentences: "see" and "sea" sound alike here, and the words before them tell.
ARPA = """\\data\\
ngram 1=8
ngram 2=6

\\1-grams:
-99\t<s>\t-0.3
-1.0\t</s>
-2.0\t<unk>
-0.8\ti\t-0.3
-0.8\tthe\t-0.3
-0.81\tsee\t-0.3
-0.8\tsea\t-0.3
-1.0\tcats\t-0.3

\\2-grams:
-0.3\t<s> i
-0.3\t<s> the
-0.2\ti see
-1.9\ti sea
-0.2\tthe sea
-1.9\tthe see

\\end\\
"""


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    folder = save_tiny(tmp_path_factory.mktemp("beam"))
    write_graph(folder, ARPA, "i\nthe\nsee\nsea\ncats\n", TOKENS)
    (folder / "beam.json").write_text(BeamConfig().model_dump_json(), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def decoder(folder) -> BeamDecoder:
    return load_beam(folder, TOKENS, STEP)


def posteriors(text: str, *, unsure: tuple[str, str] = ("", "")) -> torch.Tensor:
    """A timestep a character, ``_`` the blank, ``?`` either of ``unsure``."""
    logits = torch.zeros(len(text), len(TOKENS))
    for step, character in enumerate(text):
        for one in unsure if character == "?" else character:
            logits[step, TOKENS.blank if one == "_" else TOKENS.encode(one)[0]] += 8
    return logits.log_softmax(-1)


def decode(decoder, log_probs, cuts=()):
    state = decoder.initial_state()
    words = []
    for piece in log_probs.tensor_split(sorted(cuts)):
        new, state = decoder(piece, state)
        words += new
    last, state = decoder.finish(state)
    assert state.before == len(log_probs)
    return [*words, *last]


def test_the_language_model_tells_words_that_sound_alike(decoder):
    heard = {start: posteriors(f"{start}_se?__", unsure=("e", "a")) for start in ("i ", "the ")}
    # CTC needs a blank between equal letters.
    heard["i "] = posteriors("i _se_?__", unsure=("e", "a"))
    assert [w.text for w in decode(decoder, heard["the "])] == ["the", "sea"]
    assert [w.text for w in decode(decoder, heard["i "])] == ["i", "see"]


def test_words_end_a_segment_at_a_pause_and_carry_their_times(decoder):
    log_probs = posteriors("__i _se_e " + "_" * PAUSE + "cats__")
    words, state = decoder(log_probs[: 10 + PAUSE - 1], decoder.initial_state())
    assert words == []
    assert [w.text for w in decoder.partial(state)] == ["i", "see"]
    words, state = decoder(log_probs[10 + PAUSE - 1 :], state)
    assert [(w.text, w.start, w.end) for w in words] == [
        ("i", pytest.approx(2 * STEP), pytest.approx(3 * STEP)),
        ("see", pytest.approx(5 * STEP), pytest.approx(9 * STEP)),
    ]
    assert all(0.9 < w.confidence <= 1 for w in words)
    (last,), _ = decoder.finish(state)
    assert (last.text, last.start) == ("cats", pytest.approx((10 + PAUSE) * STEP))


texts = st.lists(
    st.sampled_from(["i ", "the ", "se_e ", "sea_ ", "cats ", "_" * 7, "_" * PAUSE, "ze"]),
    max_size=12,
).map("".join)


@given(text=texts, cuts=st.lists(st.integers(0, 100), max_size=6), seed=st.integers(0, 3))
def test_any_chunking_gives_the_same_words(decoder, text, cuts, seed):
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(len(text), len(TOKENS), generator=generator)
    log_probs = (posteriors(text) + 2 * noise).log_softmax(-1)
    assert decode(decoder, log_probs, cuts) == decode(decoder, log_probs)


@pytest.mark.parametrize("seed", range(8))
def test_words_that_nothing_tells_apart_are_one(tmp_path, seed):
    """The language model knows neither, and posteriors differ in their last digits."""
    graph = write_graph(tmp_path, ARPA, "the dh ah\nansel ae n s\nunsell ae n s\n", PHONES)
    decoder = BeamDecoder(PHONES, STEP, graph, BeamConfig())
    generator = torch.Generator().manual_seed(seed)
    heard = spoken("dh ah ae n s")
    heard += 1e-6 * torch.rand(heard.shape, generator=generator)
    assert [w.text for w in decode(decoder, heard)] == ["the", "ansel"]


@given(text=texts, cut=st.integers(0, 60))
def test_a_state_can_be_kept_and_gone_on_from_twice(decoder, text, cut):
    first, second = posteriors(text).tensor_split([cut])
    _, kept = decoder(first, decoder.initial_state())
    copied = copy.deepcopy(kept)
    results = []
    for state in (kept, kept, copied):
        words, after = decoder(second, state)
        last, _ = decoder.finish(after)
        results.append([*words, *last])
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("text", ["", "_" * 3000, " " * 50])
def test_silence_says_nothing(decoder, text):
    assert decode(decoder, posteriors(text)) == []


def test_endless_speech_is_cut_and_memory_bounded(decoder):
    state = decoder.initial_state()
    said = []
    for _ in range(20):
        words, state = decoder(posteriors("i _se_e " * 10), state)
        said += words
        assert state.search.steps == state.steps < 20.0 / STEP
        assert len(state.search.histories) < 20_000
    assert len(said) > 200


def test_a_recognizer_takes_the_beam_where_there_is_one(folder, tiny_folder, speech):
    assert Recognizer.from_pretrained(tiny_folder).decoder == "greedy"
    recognizer = Recognizer.from_pretrained(folder)
    assert (recognizer.decoder, recognizer.decoder_reason) == ("beam", "the model's language model")
    stream = recognizer.stream()
    stream.accept(speech)
    assert set(stream.finish().text.split()) <= {"i", "the", "see", "sea", "cats"}
    assert Recognizer.from_pretrained(folder, decoder="greedy").decoder == "greedy"


def test_a_recognizer_knows_that_it_decodes_worse_than_it_could(folder, tiny_folder, monkeypatch):
    for model, decoder in ((folder, "auto"), (folder, "greedy"), (tiny_folder, "auto")):
        assert not Recognizer.from_pretrained(model, decoder=decoder).degraded

    def missing(*_arguments, **_options):
        raise BeamMissing("the search is not installed")

    monkeypatch.setattr("streamasr.decoding.choice.load_beam", missing)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        recognizer = Recognizer.from_pretrained(folder)
    assert (recognizer.decoder, recognizer.degraded) == ("greedy", True)
    assert recognizer.decoder_reason == "the search is not installed"
    assert not Recognizer.from_pretrained(folder, decoder="greedy").degraded
    with pytest.raises(BeamMissing):
        Recognizer.from_pretrained(folder, decoder="beam")


def test_what_is_missing_or_damaged_is_one_line(tiny_folder, tmp_path):
    with pytest.raises(ModelError, match=r"beam\.json: missing, and with it the language mod"):
        Recognizer.from_pretrained(tiny_folder, decoder="beam")
    with pytest.raises(ConfigError, match="unknown decoder 'dice': choose auto, beam or greedy"):
        Recognizer.from_pretrained(tiny_folder, decoder="dice")
    (tmp_path / "beam.json").write_text('{"beam_size": 0}')
    with pytest.raises(ModelError, match=r"beam\.json: beam_size: Input should be greater than 0"):
        load_beam(tmp_path, TOKENS, STEP)
    (tmp_path / "beam.json").write_text("{}")
    with pytest.raises(ModelError, match=r"graph\.safetensors: cannot be read \(No such file"):
        load_beam(tmp_path, TOKENS, STEP)
    write_graph(tmp_path, ARPA, "the\n", TOKENS)
    with pytest.raises(ModelError, match=r"graph\.safetensors: its words are spelled in other tok"):
        load_beam(tmp_path, PHONES, STEP)


PHONES = Tokens.phones()


def spoken(phones: str, *, held: int = 2) -> torch.Tensor:
    """Each phone ``held`` timesteps, ``_`` the blank, without a blank between words."""
    logits = torch.zeros(held * len(phones.split()), len(PHONES))
    for place, phone in enumerate(phones.split()):
        token = PHONES.blank if phone == "_" else PHONES.encode([phone])[0]
        logits[held * place : held * (place + 1), token] = 8
    return logits.log_softmax(-1)


@pytest.fixture(scope="session")
def phone_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("phones")
    lexicon = "i ay\nthe dh ah\nthe dh iy\nsee s iy\nsea s iy\ncats k ae t s\n"
    write_graph(folder, ARPA, lexicon, PHONES)
    (folder / "beam.json").write_text("{}", encoding="utf-8")
    return folder


@pytest.mark.parametrize("held", [1, 2, 3])
def test_phones_make_words_however_long_they_last(phone_folder, held):
    decoder = load_beam(phone_folder, PHONES, STEP)
    for heard in ("dh ah s iy", "dh iy s iy", "_ dh ah _ s iy _"):
        words = [w.text for w in decode(decoder, spoken(heard, held=held))]
        assert words == ["the", "sea"]
    assert [w.text for w in decode(decoder, spoken("ay s iy", held=held))] == ["i", "see"]


@given(
    phones=st.lists(st.sampled_from(["ay", "dh ah", "s iy", "k ae t s", "_", "b", "_ " * 8])),
    cuts=st.lists(st.integers(0, 60), max_size=6),
    held=st.integers(1, 3),
)
def test_any_chunking_of_phones_gives_the_same_words(phone_folder, phones, cuts, held):
    decoder = load_beam(phone_folder, PHONES, STEP)
    log_probs = spoken(" ".join(phones), held=held)
    # Noise, since of two words that are equally likely either may win.
    noise = torch.rand(log_probs.shape, generator=torch.Generator().manual_seed(len(log_probs)))
    log_probs = (log_probs + 2 * noise).log_softmax(-1)
    assert decode(decoder, log_probs, cuts) == decode(decoder, log_probs)


@given(
    phones=st.lists(st.sampled_from(["ay", "dh ah", "s iy", "k ae t s", "b"]), min_size=1),
    seed=st.integers(0, 10**6),
)
def test_partials_are_the_beginning_of_what_an_end_here_would_give(phone_folder, phones, seed):
    graph = load_graph(phone_folder)
    log_probs = spoken(" ".join(phones))
    noise = torch.rand(log_probs.shape, generator=torch.Generator().manual_seed(seed))
    log_probs = (log_probs + 8 * noise).log_softmax(-1)

    def shown(share: float, seconds: float) -> tuple[list[str], int, list[str]]:
        config = BeamConfig(partial_share=share, partial_seconds=seconds, pause_seconds=9)
        decoder = BeamDecoder(PHONES, STEP, graph, config)
        _, state = decoder(log_probs, decoder.initial_state())
        words, firm = [w.text for w in decoder.partial(state)], decoder.firm(state)
        return words, firm, [w.text for w in decoder.finish(state)[0]]

    everything, _, final = shown(0, 0)
    assert everything == final
    before = everything
    for share in (0.3, 0.6, 0.9, 1.0):
        words, firm, _ = shown(share, 0)
        assert words == before[: len(words)]
        assert len(words) >= firm
        before = words
    later, firm, _ = shown(0, 2 * STEP)
    assert later == everything[: len(later)]
    assert len(later) >= firm


def test_words_are_shown_as_far_as_hypotheses_agree(phone_folder):
    """See and sea sound alike: without a language model each has half of the probability."""
    graph = load_graph(phone_folder)
    log_probs = spoken("dh ah s iy _")

    def shown(share: float) -> list[str]:
        config = BeamConfig(partial_share=share, partial_scale=1, partial_seconds=0, lm_weight=0)
        decoder = BeamDecoder(PHONES, STEP, graph, config)
        _, state = decoder(log_probs, decoder.initial_state())
        return [w.text for w in decoder.partial(state)]

    assert shown(0.45)[0] == "the"
    assert len(shown(0.45)) == 2
    assert shown(0.55) == ["the"]


def test_of_many_words_that_sound_alike_the_likeliest_are_kept(phone_folder, tmp_path):
    rare = "".join(f"a{index} s iy\n" for index in range(9))
    lexicon = rare + (phone_folder / "lexicon.txt").read_text()
    graph = write_graph(tmp_path, ARPA, lexicon, PHONES)
    decoder = BeamDecoder(PHONES, STEP, graph, BeamConfig())
    assert [w.text for w in decode(decoder, spoken("dh ah s iy"))] == ["the", "sea"]


def test_several_readings_come_best_first(phone_folder):
    decoder = load_beam(phone_folder, PHONES, STEP, nbest=3)
    log_probs = torch.cat([spoken("dh ah s iy" + " _" * 10), spoken("ay s iy")])
    _, state = decoder(log_probs, decoder.initial_state())
    _, state = decoder.finish(state)
    found = decoder.alternatives(state)
    assert found[0].text == "the sea i see"
    assert len({a.text for a in found}) == len(found) == 3
    assert [a.score for a in found] == sorted((a.score for a in found), reverse=True)
    assert load_beam(phone_folder, PHONES, STEP).alternatives(state) == ()


def test_words_of_an_unsure_segment_are_taken_for_noise(phone_folder):
    """The pause keeps segments apart: one is judged without the other."""
    graph, config = load_graph(phone_folder), BeamConfig(least_confidence=0.6)
    strict = BeamDecoder(PHONES, STEP, graph, config)
    sure = spoken("dh ah s iy" + " _" * 10)
    unsure = (spoken("dh ah s iy" + " _" * 10) / 4).log_softmax(-1)
    unsure[8:] = sure[8:]
    for log_probs, text in (
        (sure, "the sea"),
        (unsure, ""),
        (torch.cat([unsure, sure]), "the sea"),
    ):
        assert " ".join(w.text for w in decode(strict, log_probs)) == text
    _, state = strict(unsure[:8], strict.initial_state())
    assert [w.text for w in strict.partial(state)] == ["the"]
    config = config.model_copy(update={"least_partial_confidence": 0.6})
    assert BeamDecoder(PHONES, STEP, graph, config).partial(state) == []
    lenient = BeamDecoder(PHONES, STEP, graph, BeamConfig())
    assert [w.text for w in decode(lenient, unsure)] == ["the", "sea"]
