"""Scores of readings: what a plain pass over each text says, however they share beginnings."""

from __future__ import annotations

import copy

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from streamasr import ModelError
from streamasr.language import Pieces, Rescorer, load_rescorer, rescoring, save_language_model

words = st.sampled_from(["the", "see", "sea", "cats", "cat's", "a", "tea", "theta"])
texts = st.lists(st.lists(words, max_size=5), min_size=1, max_size=8)


def read(rescorer, words, state):
    """Return the state after ``words``."""
    _, (after,) = rescorer.score([words], state)
    return after


def plain_score(model, pieces, before, text) -> float:
    """Read piece by piece, in float64."""
    exact = copy.deepcopy(model).double()
    state = exact.initial_state(1)
    known = [0, *(place for word in before for place in pieces.encode(word))]
    for place in known[:-1]:
        _, state = exact(torch.tensor([[place]]), state)
    last, total = known[-1], 0.0
    for place in (place for word in text for place in pieces.encode(word)):
        logits, state = exact(torch.tensor([[last]]), state)
        total += float(logits[0, 0].log_softmax(-1)[place])
        last = place
    return total


@given(before=st.lists(words, max_size=4), texts=texts)
def test_scores_are_those_of_a_plain_pass(model, pieces, before, texts):
    rescorer = Rescorer(model, pieces)
    state = read(rescorer, before, rescorer.initial_state())
    for text, scores in zip(texts, rescorer.score(texts, state)[0], strict=True):
        assert len(scores) == len(text)
        assert sum(scores) == pytest.approx(plain_score(model, pieces, before, text), rel=1e-5)


@given(first=texts, second=texts)
def test_scores_do_not_depend_on_what_others_read_before(model, pieces, first, second):
    used, fresh = Rescorer(model, pieces), Rescorer(model, pieces)
    used.score(first, used.initial_state())
    state = fresh.initial_state()
    assert used.score(second, state)[0] == fresh.score(second, state)[0]


@given(parts=st.lists(texts, min_size=2, max_size=4), rounded=st.booleans())
def test_what_was_read_before_of_one_state_changes_no_bit(model, pieces, parts, rounded):
    """Partials, then the end: what was read is not read again, and is as if it never had been."""
    rescorer = Rescorer(model, pieces, rounded=rounded)
    state = rescorer.initial_state()
    for texts in parts:
        scores, after = rescorer.score(texts, state)
        fresh, alone = rescorer.score(texts, rescorer.initial_state())
        assert scores == fresh
        for found, expected in zip(after, alone, strict=True):
            assert torch.equal(found.h, expected.h)
            assert torch.equal(found.c, expected.c)
            assert found.last == expected.last


def test_nothing_is_kept_of_a_state_that_is_gone(model, pieces):
    rescorer = Rescorer(model, pieces)
    state = rescorer.initial_state()
    rescorer.score([["the", "sea"]], state)
    rescorer.score([["the", "cats"]], state)
    assert len(rescorer._trees) == 1
    del state
    assert not len(rescorer._trees)


def test_what_is_known_is_not_computed_again(model, pieces, monkeypatch):
    rescorer = Rescorer(model, pieces)
    state = rescorer.initial_state()
    first, _ = rescorer.score([["the", "sea"], ["the", "cats"]], state)
    monkeypatch.setattr(rescoring, "linear", None)
    again, _ = rescorer.score([["the", "cats"], ["the"]], state)
    assert again == [first[1], first[1][:1]]


@given(before=st.lists(words, max_size=4), after=st.lists(words, min_size=1, max_size=4))
def test_reading_in_parts_is_reading_the_whole(model, pieces, before, after):
    rescorer = Rescorer(model, pieces)
    ((whole,), _) = rescorer.score([[*before, *after]], rescorer.initial_state())
    ((rest,), _) = rescorer.score([after], read(rescorer, before, rescorer.initial_state()))
    assert rest == pytest.approx(whole[len(before) :], rel=1e-4)


@given(st.text("theasc'", min_size=1, max_size=9))
def test_pieces_spell_the_word(pieces, word):
    spelled = "".join(pieces.pieces[place] for place in pieces.encode(word))
    # No piece spells h or c by itself.
    kept = word.replace("the", "T").replace("cat", "C")
    kept = kept.replace("h", "").replace("c", "").replace("T", "the").replace("C", "cat")
    assert spelled in {"▁" + kept, "▁" + word.replace("h", "").replace("c", "")}


def test_a_stored_model_is_the_same_within_the_rounding_of_int8(model, pieces, tmp_path):
    save_language_model(tmp_path, model, pieces)
    rescorer = load_rescorer(tmp_path)
    assert rescorer is not None
    text = [["the", "cats", "see"], ["the", "tea"]]
    exact, _ = Rescorer(model, pieces).score(text, rescorer.initial_state())
    for found, expected in zip(
        rescorer.score(text, rescorer.initial_state())[0], exact, strict=True
    ):
        assert found == pytest.approx(expected, abs=0.15)


@given(before=st.lists(words, max_size=4), texts=texts)
def test_rounded_weights_change_scores_by_little(model, pieces, before, texts):
    exact, rounded = Rescorer(model, pieces), Rescorer(model, pieces, rounded=True)
    state = read(exact, before, exact.initial_state())
    for found, expected in zip(
        rounded.score(texts, state)[0], exact.score(texts, state)[0], strict=True
    ):
        assert found == pytest.approx(expected, abs=0.05)


def test_a_folder_without_one_has_none(tmp_path):
    assert load_rescorer(tmp_path) is None


def test_what_is_damaged_is_one_line(model, pieces, tmp_path):
    save_language_model(tmp_path, model, pieces)
    (tmp_path / "pieces.txt").write_text("</s>\nthe\n")
    with pytest.raises(
        ModelError, match=r"pieces\.txt: 2 pieces, but language\.safetensors has 13"
    ):
        load_rescorer(tmp_path)
    (tmp_path / "pieces.txt").write_text("the\n")
    with pytest.raises(ModelError, match=r"pieces\.txt: the first piece must be </s>"):
        load_rescorer(tmp_path)
    (tmp_path / "pieces.txt").unlink()
    with pytest.raises(ModelError, match=r"pieces\.txt: cannot be read \(No such file"):
        load_rescorer(tmp_path)
    save_language_model(tmp_path, model, pieces)
    data = (tmp_path / "language.safetensors").read_bytes()
    (tmp_path / "language.safetensors").write_bytes(data[:200])
    with pytest.raises(ModelError, match=r"language\.safetensors: not a safetensors file"):
        load_rescorer(tmp_path)
    safetensors.torch.save_file({"bias": torch.zeros(13)}, tmp_path / "language.safetensors")
    with pytest.raises(ModelError, match=r"language\.safetensors: not the tensors of a language"):
        load_rescorer(tmp_path)


def test_pieces_begin_with_the_boundary():
    with pytest.raises(ModelError, match="the first piece must be </s>"):
        Pieces([])
