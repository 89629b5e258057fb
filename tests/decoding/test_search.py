"""The search equals its plain reference, path by path, and the reference the definition of CTC."""

from __future__ import annotations

import itertools
import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamasr import ModelError
from streamasr.decoding import reference
from streamasr.decoding.graph import graph_of
from streamasr.decoding.search import Search, SearchState

from .models import TOKENS, arpa_of, context_units, ctc_score, random_log_probs, random_model

WIDE = {"beam": 100_000, "threshold": 1e4, "tokens": 99}
WEIGHTS = {"lm_weight": 1.5, "word_score": -0.7}
PLAIN = [list(range(len(TOKENS)))] * len(TOKENS)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return [random_model(seed, folder, order=1 + seed % 4) for seed in range(6)]


def texts(search: Search, log_probs: np.ndarray, cuts=()) -> dict[tuple[int, ...], float]:
    state = search.initial_state()
    for piece in np.split(log_probs, sorted(cut for cut in cuts if cut < len(log_probs))):
        state = search.advance(piece, state)
    found = search.best_paths(state, 10**6)
    return {tuple(span.word for span in reading.spans): reading.score for reading in found}


def expected(model, log_probs, units=PLAIN, *, contextual=False, **limits):
    return reference.search(
        log_probs.tolist(),
        model.spellings,
        model.lm_score,
        model.score((), "<s>")[1],
        units=units,
        contextual=contextual,
        end=-1,
        **WEIGHTS,
        **limits,
    )


def assert_same(found, wanted):
    assert found.keys() == wanted.keys()
    scores = np.array([[found[text], wanted[text]] for text in wanted])
    assert np.abs(scores[:, 0] - scores[:, 1]).max() <= 2e-5 * np.abs(scores).max()


def assert_equal(one: SearchState, other: SearchState) -> None:
    """To the bit."""
    for name in ("hypotheses", "histories", "traces"):
        assert np.array_equal(getattr(one, name), getattr(other, name))
    assert (one.steps, one.offset) == (other.steps, other.offset)


@given(st.integers(0, 5), st.integers(0, 10**6), st.integers(1, 6))
def test_without_pruning_every_text_has_the_references_score(models, which, seed, steps):
    model, log_probs = models[which], random_log_probs(seed, steps, len(TOKENS))
    found = texts(Search(model.graph, **WIDE, **WEIGHTS), log_probs)
    assert_same(found, expected(model, log_probs))


@given(st.integers(0, 5), st.integers(0, 10**6), st.integers(1, 6))
def test_units_may_depend_on_the_token_before(models, which, seed, steps):
    model = models[which]
    units, size = context_units(seed)
    log_probs = random_log_probs(seed, steps, size)
    found = texts(Search(model.graph, units=units, **WIDE, **WEIGHTS), log_probs)
    assert_same(found, expected(model, log_probs, units.tolist(), contextual=True))


@pytest.mark.parametrize("seed", range(4))
def test_the_reference_sums_over_all_alignments(models, seed):
    """By the definition: each text's spellings, their CTC probability, the language model's."""
    model, log_probs = models[seed], random_log_probs(seed, 5, len(TOKENS))
    for text, score in expected(model, log_probs).items():
        total, state = 0.0, model.score((), "<s>")[1]
        for word in text:
            value, state = model.lm_score(state, word)
            total += WEIGHTS["lm_weight"] * value + WEIGHTS["word_score"]
        total += WEIGHTS["lm_weight"] * model.lm_score(state, -1)[0]
        ways = [[s.tokens for s in model.spellings if s.word == word] for word in text]
        acoustic = []
        for way in itertools.product(*ways):
            begins = set(np.cumsum([0, *map(len, way)]).tolist())
            acoustic.append(ctc_score(log_probs, [t for word in way for t in word], begins))
        assert score == pytest.approx(total + np.logaddexp.reduce(acoustic), rel=1e-9)


@given(st.integers(0, 5), st.integers(0, 10**6), st.lists(st.integers(0, 60), max_size=8))
def test_any_chunking_gives_the_same_bits(models, which, seed, cuts):
    log_probs = random_log_probs(seed, 50, len(TOKENS))
    search = Search(models[which].graph, beam=30, threshold=9, tokens=4, **WEIGHTS)
    whole = search.advance(log_probs, search.initial_state())
    state = search.initial_state()
    for piece in np.split(log_probs, sorted(cut for cut in cuts if cut < 50)):
        state = search.advance(piece, state)
    assert_equal(state, whole)


@given(st.integers(0, 5), st.integers(0, 10**6), st.integers(0, 40))
def test_a_state_can_be_kept_pickled_and_gone_on_from_twice(models, which, seed, cut):
    first, second = np.split(random_log_probs(seed, 40, len(TOKENS)), [cut])
    search = Search(models[which].graph, beam=30, threshold=9, tokens=4, **WEIGHTS)
    kept = search.advance(first, search.initial_state())
    before = pickle.dumps(kept)
    once = search.advance(second, kept)
    again = search.advance(second, pickle.loads(before))
    assert_equal(kept, pickle.loads(before))
    assert_equal(once, again)


@given(st.integers(0, 5), st.integers(0, 10**6))
def test_pruning_keeps_the_likeliest(models, which, seed):
    """With room for most, the best text is the reference's with the same limits."""
    model, log_probs = models[which], random_log_probs(seed, 12, len(TOKENS), sharpness=3)
    found = texts(Search(model.graph, beam=400, threshold=12, tokens=6, **WEIGHTS), log_probs)
    wanted = expected(model, log_probs, beam=400, threshold=12)
    best = max(wanted, key=wanted.__getitem__, default=())
    assert found[best] == pytest.approx(wanted[best], rel=1e-3)
    assert max(found.values()) <= wanted[best] + 1e-3 * abs(wanted[best])


@pytest.fixture(scope="module")
def distinct(tmp_path_factory):
    """A search of three words of which no part is another."""
    folder = tmp_path_factory.mktemp("distinct")
    grams = {(word,): (-1.0, -0.3) for word in ("<unk>", "<s>", "</s>", "abc", "de", "fa")}
    (folder / "lm.arpa").write_text(arpa_of({**grams, ("<s>", "abc"): (-0.3, 0.0)}))
    lexicon = {word: [tuple(word)] for word in ("abc", "de", "fa")}
    graph = graph_of(folder / "lm.arpa", lexicon, TOKENS)
    return Search(graph, beam=50, threshold=20, tokens=6, **WEIGHTS)


def spoken(word: str, probability: float = 0.9) -> np.ndarray:
    """Each token two timesteps, a blank behind it, two before and behind the word."""
    frames = [0, 0, *(t for token in TOKENS.encode(word) for t in (token, token, 0)), 0, 0]
    rest = (1 - probability) / (len(TOKENS) - 1)
    log_probs = np.full((len(frames), len(TOKENS)), math.log(rest), np.float32)
    log_probs[np.arange(len(frames)), frames] = math.log(probability)
    return log_probs


def test_what_all_hypotheses_share_is_firm(distinct):
    """A word that nothing else can be, and one behind it, then what anything could be."""
    state = distinct.advance(spoken("abc", 1 - 1e-12), distinct.initial_state())
    assert len(distinct.firm(state)) == 0  # it may sound on
    state = distinct.advance(spoken("de", 1 - 1e-12), state)
    (span,) = distinct.firm(state)
    assert distinct.graph.word(span.word) == "abc"
    vague = distinct.advance(random_log_probs(1, 12, len(TOKENS), sharpness=0.1), state)
    assert distinct.firm(vague)[:1] == (span,)


@given(st.integers(0, 5), st.integers(0, 10**6))
def test_firm_words_stay(models, which, seed):
    log_probs = random_log_probs(seed, 40, len(TOKENS), sharpness=3)
    search = Search(models[which].graph, beam=40, threshold=8, tokens=6, **WEIGHTS)
    state, firm = search.initial_state(), []
    for frame in log_probs:
        state = search.advance(frame[None], state)
        shared = [*search.firm(state)]
        assert shared[: len(firm)] == firm
        firm = shared
    for reading in search.best_paths(state, 50):
        assert [*reading.spans][: len(firm)] == firm


def test_words_have_the_timesteps_in_which_they_sound(distinct):
    log_probs = np.concatenate([spoken("abc"), spoken("de")])
    (best, *_) = distinct.best_paths(distinct.advance(log_probs, distinct.initial_state()), 1)
    assert [(h.first_step, h.last_step) for h in best.spans] == [(2, 9), (15, 19)]
    assert [h.posterior for h in best.spans] == [pytest.approx(0.9, rel=1e-5)] * 2


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_posteriors_that_are_no_numbers_are_unlikely(models, value):
    log_probs = random_log_probs(0, 10, len(TOKENS))
    log_probs[3:5] = value
    search = Search(models[0].graph, beam=30, threshold=9, tokens=4, **WEIGHTS)
    state = search.advance(log_probs, search.initial_state())
    assert np.isfinite(state.hypotheses.view(np.float32)[:, 2]).all()
    assert search.best_paths(state, 1)


def test_a_table_of_units_must_give_each_unit_one_token(models):
    units, _ = context_units(0)
    units[0, 1] = units[0, 2]
    with pytest.raises(ModelError, match="one token"):
        Search(models[0].graph, units=units, **WIDE, **WEIGHTS)
