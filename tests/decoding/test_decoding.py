"""Greedy CTC against the textbook: collapse repeats, drop blanks, split at spaces."""

from __future__ import annotations

from itertools import groupby

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from streamasr.decoding import GreedyDecoder
from streamasr.tokens import Tokens

TOKENS = Tokens.characters()
STEP = 0.04


def posteriors(path: list[int], seed: int = 0) -> torch.Tensor:
    """Log-posteriors whose best tokens are ``path``."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.rand(len(path), len(TOKENS), generator=generator)
    for step, token in enumerate(path):
        logits[step, token] += 2
    return logits.log_softmax(-1)


def decode(log_probs: torch.Tensor, cuts: list[int] | None = None):
    decoder = GreedyDecoder(TOKENS, STEP)
    state = decoder.initial_state()
    words = []
    for piece in log_probs.tensor_split(sorted(cuts or [])):
        new, state = decoder(piece, state)
        words += new
    last, _ = decoder.finish(state)
    return [*words, *last]


def path_of(text: str) -> list[int]:
    """`_` is the blank."""
    return [TOKENS.blank if c == "_" else TOKENS.encode(c)[0] for c in text]


paths = st.lists(st.integers(0, len(TOKENS) - 1) | st.sampled_from([0, 1, 4, 4]), max_size=40)


@given(path=paths)
def test_text_is_the_collapsed_path(path):
    kept = [TOKENS.symbols[t] for t, _ in groupby(path) if t != TOKENS.blank]
    expected = "".join(" " if s == "<space>" else s for s in kept).split()
    assert [w.text for w in decode(posteriors(path))] == expected


@given(path=paths, cuts=st.lists(st.integers(0, 40), max_size=6))
def test_any_chunking_gives_the_same_words(path, cuts):
    log_probs = posteriors(path)
    assert decode(log_probs, cuts) == decode(log_probs)


def test_times_span_the_tokens():
    (first, second) = decode(posteriors(path_of("__hh_i__ _yoo__")))
    assert (first.text, second.text) == ("hi", "yo")
    assert (first.start, first.end) == pytest.approx((2 * STEP, 6 * STEP))
    assert (second.start, second.end) == pytest.approx((10 * STEP, 13 * STEP))


def test_confidence_is_the_mean_of_the_tokens_best_posteriors():
    log_probs = posteriors(path_of("_aab_"))
    expected = (log_probs[1:3].exp().max() + log_probs[3].exp().max()) / 2
    (word,) = decode(log_probs)
    assert word.confidence == pytest.approx(float(expected))


def test_a_blank_separates_equal_letters():
    assert [w.text for w in decode(posteriors(path_of("el_l_ll")))] == ["elll"]


def test_a_word_is_complete_only_at_the_space():
    decoder = GreedyDecoder(TOKENS, STEP)
    words, state = decoder(posteriors(path_of("on")), decoder.initial_state())
    assert words == []
    assert [w.text for w in decoder.partial(state)] == ["on"]
    words, state = decoder(posteriors(path_of("e ")), state)
    assert [w.text for w in words] == ["one"]
    assert decoder.partial(state) == []


def test_blanks_alone_say_nothing():
    assert decode(posteriors([TOKENS.blank] * 100)) == []
