"""Training of the tagger: encoding of books, noise, updates, scores."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from streamasr.errors import ConfigError
from streamasr.text.features import PAUSES, WordTable, pause_class
from streamasr.text.labels import MARKS, UNKNOWN
from streamasr.text.network import Tagger, TaggerConfig
from streamasr.training.punctuation import PunctuationTraining, train_tagger
from streamasr.training.punctuation_noise import Confusions, Noise, add_noise
from streamasr.training.punctuation_scores import (
    Predicted,
    calibration_error,
    f1_scores,
    predict,
)
from streamasr.training.punctuation_text import (
    MarkedText,
    encode_books,
    frequent_words,
    word_list,
)

_PROSE = (
    'The old man came to the door of the house, and looked at the sea. "Who is there?" he said; '
    "but nobody spoke to him. The wind of the north was cold!"
)


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("books") / "book.txt"
    path.write_text("\n\n".join([_PROSE] * 40))
    return path


def encoded(book: Path) -> tuple[MarkedText, list[str]]:
    places: dict[str, int] = {}
    return encode_books([book], places), word_list(places)


def test_a_book_is_encoded_as_it_stands(book: Path, tmp_path: Path) -> None:
    text, words = encoded(book)
    first = [words[place] for place in text.words[:9]]
    assert " ".join(first) == "the old man came to the door of the"
    assert [MARKS[mark] for mark in text.marks[9:16]] == [",", "", "", "", "", ".", ""]
    assert text.capitals[:2].tolist() == [1, 0]
    assert frequent_words(text, words, 1) == ["the"]
    text.save(tmp_path / "text.npz")
    again = MarkedText.load(tmp_path / "text.npz")
    for field in dataclasses.fields(text):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(text, field.name))


def test_books_without_prose_are_refused(tmp_path: Path) -> None:
    (tmp_path / "table.txt").write_text("1 2 3\n" * 50)
    with pytest.raises(ConfigError, match="no English prose"):
        encode_books([tmp_path / "table.txt"], {})


@given(st.integers(0, 10**6))
def test_clean_speech_has_the_books_words_and_longer_pauses_behind_marks(seed: int) -> None:
    rng = np.random.default_rng(seed)
    marks = rng.choice([0, 0, 0, 1, 2], size=4000).astype(np.int8)
    text = MarkedText(np.zeros(4000, np.int32), marks, np.zeros(4000, np.int8))
    confusions = Confusions(np.zeros(1, np.int32), np.zeros((1, 4), np.int32))
    noisy = add_noise(text, Noise(clean=1.0, timeless=0.0, breaks=0.0), rng, confusions)
    np.testing.assert_array_equal(noisy.words, text.words)
    np.testing.assert_array_equal(noisy.marks, text.marks)
    assert noisy.pauses.min() >= 1
    assert noisy.pauses.max() < PAUSES
    before = np.concatenate([[0], marks[:-1]])
    means = [noisy.pauses[before == mark].mean() for mark in (0, 1, 2)]
    assert means == sorted(means)


@given(st.integers(0, 10**6), st.floats(0.01, 0.3))
def test_errors_lose_no_mark_at_all(seed: int, errors: float) -> None:
    rng = np.random.default_rng(seed)
    # Words apart from each other's marks, so that a lost word can hand its mark on.
    marks = np.tile(np.array([0, 0, 2], np.int8), 100)
    text = MarkedText(np.arange(300, dtype=np.int32), marks, np.zeros(300, np.int8))
    similar = np.repeat(np.arange(300, 304, dtype=np.int32)[None], 300, axis=0)
    confusions = Confusions(np.array([400], np.int32), similar)
    noisy = add_noise(text, Noise(errors=errors, clean=0.0, breaks=0.0), rng, confusions)
    assert len({len(row) for row in dataclasses.astuple(noisy)}) == 1
    # Two words in a row that are lost may take a mark with them.
    assert (noisy.marks == 2).sum() >= 100 - (300 - len(noisy.words)) - 30
    added = noisy.capitals == UNKNOWN
    assert set(noisy.words[added]) <= {400}


@given(st.integers(0, 10**6), st.integers(0, 3), st.sampled_from([0.0, 1.0]))
def test_segments_end_at_long_pauses_or_at_sentences(
    seed: int, look_ahead: int, timeless: float
) -> None:
    rng = np.random.default_rng(seed)
    marks = rng.choice([0, 0, 1, 2], size=500).astype(np.int8)
    text = MarkedText(np.arange(500, dtype=np.int32), marks, np.zeros(500, np.int8))
    confusions = Confusions(np.zeros(1, np.int32), np.zeros((500, 1), np.int32))
    # At one pace: the fastest of all speakers make no pause that is long.
    noise = Noise(clean=1.0, timeless=timeless, breaks=1.0, pace=0.0)
    noisy = add_noise(text, noise, rng, confusions, look_ahead)
    ends = noisy.words == -1
    np.testing.assert_array_equal(noisy.words[~ends], text.words)
    np.testing.assert_array_equal(noisy.marks[~ends], marks)
    assert (noisy.marks[ends] == UNKNOWN).all()
    behind = [k for k in range(1, len(ends)) if ends[k - 1] and not ends[k]]
    assert behind
    assert ends.sum() == len(behind) * (look_ahead + 1)
    if timeless:
        assert all(marks[noisy.words[k] - 1] == 2 for k in behind)
    else:
        assert all(noisy.pauses[k] >= pause_class(0.8) for k in behind)


def test_similar_words_begin_or_end_alike() -> None:
    words = ["house", "horse", "mouse", "zebra"]
    text = MarkedText(np.arange(4, dtype=np.int32), np.zeros(4, np.int8), np.zeros(4, np.int8))
    similar = Confusions.of(text, words).similar
    assert "horse" in {words[place] for place in similar[0, :2]}
    assert "mouse" in {words[place] for place in similar[0, 2:]}


def predicted(model: Tagger, table: WordTable, words: list[str]) -> Predicted:
    ends = [""] * (model.config.look_ahead + 1)
    rows = np.array([table.rows(word) for word in [*words, *ends]], np.int32)
    return predict(model, rows, np.zeros(len(rows), np.int8))


def trained(book: Path, folder: Path, updates: int, stop: int | None = None) -> Tagger:
    text, words = encoded(book)
    table = WordTable(frequent_words(text, words, 100), 16)
    config = TaggerConfig(rows=len(table), embedding_size=16, hidden_size=32)
    settings = PunctuationTraining(
        updates=updates, rows=8, length=16, warmup=5, save_every=stop or updates, peak_lr=0.01
    )

    def keep(_: Tagger) -> None:
        if stop is not None:
            raise KeyboardInterrupt

    return train_tagger(
        text, words, table, config, settings, Noise(), folder / "tagger.pt", keep=keep
    )


def test_it_learns_a_text_by_heart(book: Path, tmp_path: Path) -> None:
    model = trained(book, tmp_path, 500)
    text, words = encoded(book)
    table = WordTable(frequent_words(text, words, 100), 16)
    said = predicted(model, table, [words[k] for k in text.words])
    scores = f1_scores(said, text.marks, text.capitals)
    assert min(scores[name].f1 for name in (".", ",", "?", ";", "capital")) > 0.9


def test_a_run_that_was_cut_off_goes_on(book: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        trained(book, tmp_path, 6, stop=3)
    assert torch.load(tmp_path / "tagger.pt", weights_only=True)["update"] == 3
    trained(book, tmp_path, 6)
    assert torch.load(tmp_path / "tagger.pt", weights_only=True)["update"] == 6


def test_another_models_checkpoint_is_refused(book: Path, tmp_path: Path) -> None:
    torch.save({"config": {}, "places": []}, tmp_path / "tagger.pt")
    with pytest.raises(ConfigError, match="another model"):
        trained(book, tmp_path, 2)


@pytest.mark.parametrize("look_ahead", [0, 1, 3])
def test_predictions_are_about_the_word_they_stand_at(look_ahead: int) -> None:
    torch.manual_seed(0)
    table = WordTable(["a", "b"], 4)
    config = TaggerConfig(rows=len(table), embedding_size=4, hidden_size=8, look_ahead=look_ahead)
    model = Tagger(config).eval()
    words = ["a", "b", "b", "a", "b"]
    said = predicted(model, table, words)
    assert len(said.marks) == len(said.capitals) == 5
    # What comes more than ``look_ahead`` words behind a word does not change its capital, nor the
    # mark before it.
    for place in range(5):
        other = [*words[: place + look_ahead + 1], *"aaaaaaa"][:5]
        changed = predicted(model, table, other)
        np.testing.assert_allclose(changed.capitals[place], said.capitals[place], rtol=1e-5)
        if place:
            np.testing.assert_allclose(changed.marks[place - 1], said.marks[place - 1], rtol=1e-5)


def test_scores_are_those_counted_by_hand() -> None:
    marks = np.array([0, 1, 2, 2, UNKNOWN, 1], np.int8)
    said = np.eye(7, dtype=np.float32)[[1, 1, 2, 3, 4, 0]]
    capitals = np.array([1, 1, 0, UNKNOWN, 0, 1], np.int8)
    predicted = Predicted(said, np.array([0.9, 0.2, 0.8, 0.9, 0.1, 0.7], np.float32))
    scores = f1_scores(predicted, marks, capitals)
    assert scores[","].f1 == pytest.approx(2 * 1 / (2 + 2))
    assert scores["."].f1 == pytest.approx(2 * 1 / (1 + 2))
    assert scores["end"].f1 == 1.0
    assert (scores["capital"].precision, scores["capital"].recall) == (2 / 3, 2 / 3)


def test_calibration_error_is_the_gap_between_chance_and_truth() -> None:
    said = np.full((10, 7), 0.05, np.float32)
    said[:, 1] = 0.7
    marks = np.array([1] * 5 + [0] * 5, np.int8)
    error = calibration_error(Predicted(said, np.zeros(10, np.float32)), marks)
    assert error == pytest.approx(0.2, abs=1e-6)
