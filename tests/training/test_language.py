"""Training of the recurrent language model, in small."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from streamasr.errors import ConfigError
from streamasr.language import LanguageModelConfig, Pieces, Reader
from streamasr.training.language import (
    LanguageTraining,
    encode,
    learn_pieces,
    perplexity,
    train,
)

SETTINGS = LanguageTraining(rows=8, length=16, peak_lr=1e-2, warmup=5, save_every=10)


@pytest.fixture(scope="module")
def sentences() -> list[str]:
    """Return sentences in which each word tells the next."""
    rng = random.Random(0)
    circle = ["the", "cats", "see", "one", "boat's", "mast"]
    found = []
    for _ in range(9000):
        start, count = rng.randrange(6), rng.randint(2, 6)
        found.append(" ".join(circle[(start + k) % 6] for k in range(count)))
    return found


def sizes(pieces) -> LanguageModelConfig:
    return LanguageModelConfig(vocab_size=len(pieces), embedding_size=16, hidden_size=32)


def test_what_always_follows_is_learned(sentences, tmp_path):
    pieces = learn_pieces(sentences, 40)
    assert encode(["the cats", "see"], pieces).tolist() == [
        *pieces.encode("the"),
        *pieces.encode("cats"),
        0,
        *pieces.encode("see"),
        0,
    ]
    model = train(encode(sentences, pieces), sizes(pieces), SETTINGS, tmp_path / "state.pt")
    reader = Reader(model, pieces)
    # After a word comes the next of the circle, or, a quarter of the time, the sentence's end.
    for first, second, other in (("the", "cats", "mast"), ("mast", "the", "see")):
        (_, right), (_, wrong) = reader.score(
            [[first, second], [first, other]], reader.initial_state()
        )
        assert math.exp(right) > 0.6
        assert math.exp(wrong) < 0.02
    # Words that come one after the other are known better than by chance, which is six.
    assert perplexity(reader, ["the cats see one", "mast the cats"]) < 3


def test_a_run_that_is_cut_off_goes_on(sentences, tmp_path):
    pieces = learn_pieces(sentences, 40)
    text = encode(sentences[:1500], pieces)
    whole = train(text, sizes(pieces), SETTINGS, tmp_path / "whole.pt")

    class Cut(Exception):
        pass

    def cut(progress):
        if progress.update == 27:
            raise Cut

    with pytest.raises(Cut):
        train(text, sizes(pieces), SETTINGS, tmp_path / "cut.pt", cut)
    updates = []
    again = train(text, sizes(pieces), SETTINGS, tmp_path / "cut.pt", updates.append)
    assert updates[0].update == 21
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, rtol=1e-4, atol=1e-5)


def test_what_does_not_fit_is_one_line(sentences, tmp_path):
    pieces = learn_pieces(sentences, 40)
    text = encode(sentences, pieces)
    with pytest.raises(ConfigError, match="the text has 100 pieces; an update takes 128"):
        train(text[:100], sizes(pieces), SETTINGS, tmp_path / "state.pt")
    train(text[:3000], sizes(pieces), SETTINGS, tmp_path / "state.pt")
    other = "of another model, text or number of rows; remove it to begin anew"
    with pytest.raises(ConfigError, match=other):
        train(text, sizes(pieces), SETTINGS, tmp_path / "state.pt")
    rows = replace(SETTINGS, rows=4, passes=9)
    with pytest.raises(ConfigError, match=other):
        train(text[:3000], sizes(pieces), rows, tmp_path / "state.pt")


def test_several_passes_read_the_same_text_again(sentences, tmp_path):
    pieces = learn_pieces(sentences, 40)
    text = encode(sentences[:1500], pieces)

    class Read(np.ndarray):
        """Remembers which places were read."""

        def __getitem__(self, places):
            if isinstance(places, np.ndarray):
                seen.append(places.copy())
            return np.asarray(super().__getitem__(places))

    seen: list[np.ndarray] = []
    train(text.view(Read), sizes(pieces), SETTINGS, tmp_path / "one.pt")
    once, seen = seen, []
    train(text.view(Read), sizes(pieces), replace(SETTINGS, passes=3), tmp_path / "three.pt")
    assert np.array_equal(seen, once * 3)


def test_too_small_a_text_for_its_pieces_is_one_line():
    with pytest.raises(ConfigError, match=r"no 4000 pieces can be learned .*: Vocabulary size"):
        learn_pieces(["the cats see"], 4000)


def test_more_pieces_than_int16_can_count_are_one_line():
    pieces = Pieces(["</s>", *map(str, range(1 << 15))])
    with pytest.raises(ConfigError, match="32769 pieces are too many: at most 32768"):
        encode(["one two"], pieces)
