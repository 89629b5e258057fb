"""Recordings cut between words: nothing is lost, nothing is said twice, and each piece fits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from streamasr.tokens import Tokens
from streamasr.training.augment import Augmenter
from streamasr.training.cache import AudioCache
from streamasr.training.config import AugmentConfig
from streamasr.training.corpus import Corpus
from streamasr.training.cuts import cut_corpus
from streamasr.training.labels import Labels, Pronunciations

STEP = 0.03
PER_STEP = 480
LEXICON = "the dh ah\nthe dh iy\nsee s iy\neats iy t s\nstay s t ey\ncats k ae t s\n"
TOKENS, PHONES = Tokens.characters(), Tokens.phones()


@pytest.fixture(scope="module")
def pronunciations(tmp_path_factory) -> Pronunciations:
    path = tmp_path_factory.mktemp("lexicon") / "lexicon.txt"
    path.write_text(LEXICON)
    return Pronunciations(path, PHONES)


def spoken(words: list[str], pronunciations: Pronunciations, rng: np.random.Generator):
    """An aligned row: phones of 1 to 4 timesteps, pauses of 0 to 9 between words."""
    row = [0] * 5
    for word in words:
        ways = pronunciations[word]
        for phone in ways[rng.integers(len(ways))]:
            row += [phone] * int(rng.integers(1, 5))
        row += [0] * int(rng.choice([0, 0, 1, 9]))
    return np.array([*row, 0, 0], np.int8)


def corpus_of(folder: Path, rows, texts) -> Corpus:
    paths = []
    for number, row in enumerate(rows):
        paths.append(folder / f"{number}.wav")
        samples = np.random.default_rng(number).uniform(-0.5, 0.5, PER_STEP * len(row) - 100)
        soundfile.write(paths[-1], samples, 16_000)
    cache = AudioCache(paths, folder / "cache")
    seconds = [cache.length(i) / 16_000 for i in range(len(cache))]
    targets = [TOKENS.encode(text) for text in texts]
    shares = [0.5] * len(texts)
    return Corpus(cache, texts, targets, shares, seconds, Augmenter(AugmentConfig(), None, None))


@pytest.mark.parametrize("seed", range(5))
def test_pieces_put_together_are_the_recording(tmp_path, pronunciations, seed):
    rng = np.random.default_rng(seed)
    said = [list(rng.choice(["the", "see", "eats", "stay", "cats"], size=40)) for _ in range(4)]
    rows = [spoken(words, pronunciations, rng) for words in said]
    rows.append(np.zeros(0, np.int8))  # one that could not be aligned
    texts = [*(" ".join(words) for words in said), "the cats"]
    corpus = corpus_of(tmp_path, [*rows[:-1], rows[0]], texts)
    labels = Labels(rows, STEP, 0.16)
    pieces, cut = cut_corpus(corpus, labels, TOKENS, pronunciations, 2.0, 0.15, rng)
    assert len(pieces.texts) > 2 * len(texts)
    assert " ".join(pieces.texts) == " ".join(texts)
    assert np.array_equal(np.concatenate(cut.rows), np.concatenate(rows))
    whole = np.concatenate([corpus.cache[i] for i in range(len(corpus.cache))])
    assert np.array_equal(
        np.concatenate([pieces.cache[i] for i in range(len(pieces.cache))]), whole
    )
    assert pieces.targets == [TOKENS.encode(text) for text in pieces.texts]
    assert set(pieces.shares) == {0.5}
    for index, text in enumerate(pieces.texts):
        row = cut.rows[index]
        if len(row):
            assert abs(pieces.seconds[index] - STEP * len(row)) < 0.01
            ways = {phones for word in text.split() for phones in pronunciations[word]}
            assert set(cut.phones(index)) <= {phone for phones in ways for phone in phones}
            assert cut.phones(index)[0] in {phones[0] for phones in pronunciations[text.split()[0]]}


def test_a_recording_that_says_something_else_stays_whole(tmp_path, pronunciations):
    rng = np.random.default_rng(0)
    words = ["the", "cats", "see"] * 10
    row = spoken(words, pronunciations, rng)
    corpus = corpus_of(tmp_path, [row], [" ".join(["stay"] * 30)])
    pieces, _ = cut_corpus(
        corpus, Labels([row], STEP, 0.16), TOKENS, pronunciations, 1.0, 0.15, rng
    )
    assert pieces.texts == corpus.texts


def test_pieces_are_about_as_long_as_asked(tmp_path, pronunciations):
    rng = np.random.default_rng(1)
    rows = [spoken(["cats", "eats"] * 30, pronunciations, rng) for _ in range(6)]
    corpus = corpus_of(tmp_path, rows, [" ".join(["cats", "eats"] * 30)] * 6)
    pieces, _ = cut_corpus(corpus, Labels(rows, STEP, 0.16), TOKENS, pronunciations, 3.0, 0.15, rng)
    short = [s for s in pieces.seconds if s < min(corpus.seconds)]
    assert len(short) > 12
    assert 1.5 < np.median(short) < 4.2
    assert max(short) < 3.0 * 1.4 + 1.0


@pytest.mark.parametrize(("share", "count"), [(1.0, 8), (0.0, 40)])
def test_a_share_stays_whole(tmp_path, pronunciations, share, count):
    rng = np.random.default_rng(3)
    rows = [spoken(["see", "the", "cats"] * 12, pronunciations, rng) for _ in range(8)]
    corpus = corpus_of(tmp_path, rows, [" ".join(["see the cats"] * 12)] * 8)
    labels = Labels(rows, STEP, 0.16)
    pieces, _ = cut_corpus(corpus, labels, TOKENS, pronunciations, 2.0, share, rng)
    assert (pieces.texts == corpus.texts) == (share == 1)
    assert len(pieces.texts) >= count
