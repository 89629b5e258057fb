"""Training of the recurrent language model, in small."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from streamasr.errors import ConfigError
from streamasr.language import LanguageModel, LanguageModelConfig, Pieces, Rescorer
from streamasr.training.language import LanguageTraining, perplexity, train
from streamasr.training.language_growth import grown
from streamasr.training.language_loss import tied_cross_entropy
from streamasr.training.language_text import encode, encode_to_file, learn_pieces

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
    rescorer = Rescorer(model, pieces)
    # After a word comes the next of the circle, or, a quarter of the time, the sentence's end.
    for first, second, other in (("the", "cats", "mast"), ("mast", "the", "see")):
        ((_, right), (_, wrong)), _ = rescorer.score(
            [[first, second], [first, other]], rescorer.initial_state()
        )
        assert math.exp(right) > 0.6
        assert math.exp(wrong) < 0.02
    # Words that come one after the other are known better than by chance, which is six.
    assert perplexity(rescorer, ["the cats see one", "mast the cats"]) < 3


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
    saved = torch.load(tmp_path / "state.pt", weights_only=True)
    del saved["average"]  # as older versions wrote it
    torch.save(saved, tmp_path / "old.pt")
    with pytest.raises(ConfigError, match=other):
        train(text[:3000], sizes(pieces), SETTINGS, tmp_path / "old.pt")
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


def test_a_text_in_a_file_is_the_text_in_memory(sentences, tmp_path, monkeypatch):
    pieces = learn_pieces(sentences, 40)
    plain = [place for s in sentences[:99] for w in s.split() for place in pieces.encode(w)]
    monkeypatch.setattr("streamasr.training.language_text._BLOCK", 7)
    text = encode_to_file([*sentences[:99], "boat's qq", "   "], pieces, tmp_path / "text.int16")
    assert isinstance(text, np.memmap)
    added = [*pieces.encode("boat's"), *pieces.encode("qq"), 0, 0]
    expected = [*encode(sentences[:99], pieces), *added]
    assert text.tolist() == expected
    assert [place for place in text[: len(plain) + 99] if place] == plain
    assert [path.name for path in tmp_path.iterdir()] == ["text.int16"]
    with pytest.raises(ConfigError, match="the text is empty"):
        encode_to_file([], pieces, tmp_path / "empty.int16")


@pytest.mark.parametrize(("rows", "vocabulary"), [(1, 2), (1024, 7), (1025, 31), (2049, 31)])
def test_loss_in_parts_is_that_of_all_logits(rows, vocabulary):
    torch.manual_seed(rows)
    features = torch.randn(rows, 5, dtype=torch.double, requires_grad=True)
    weight = torch.randn(vocabulary, 5, dtype=torch.double, requires_grad=True)
    bias = torch.randn(vocabulary, dtype=torch.double, requires_grad=True)
    targets = torch.randint(0, vocabulary, (rows,))
    inputs = (features, weight, bias)
    plain = torch.nn.functional.cross_entropy(features @ weight.T + bias, targets)
    expected = torch.autograd.grad(3 * plain, inputs)
    loss = tied_cross_entropy(features, weight, bias, targets)
    torch.testing.assert_close(loss, plain)
    for found, right in zip(torch.autograd.grad(3 * loss, inputs), expected, strict=True):
        torch.testing.assert_close(found, right)


def test_a_wider_model_begins_with_what_the_narrower_knows():
    torch.manual_seed(0)
    config = LanguageModelConfig(vocab_size=9, embedding_size=5, hidden_size=6)
    narrow = LanguageModel(config).double()
    wide = grown(narrow.float(), 11).double()
    read = torch.randint(0, 9, (3, 8))
    found, (h, _) = wide(read, wide.initial_state(3))
    expected, (known, _) = narrow.double()(read, narrow.initial_state(3))
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(h[..., :6], known)
    # The new units say something, and can be listened to.
    assert h[..., 6:].abs().min() > 0
    found.sum().backward()
    assert wide.projection.weight.grad is not None
    assert wide.projection.weight.grad[:, 6:].abs().min() > 0
    with pytest.raises(ConfigError, match="a model of 11 hidden units cannot shrink to 10"):
        grown(wide, 10)


def test_a_run_begins_with_given_weights_and_keeps_its_model(sentences, tmp_path):
    pieces = learn_pieces(sentences, 40)
    text = encode(sentences[:1500], pieces)
    known = train(text, sizes(pieces), SETTINGS, tmp_path / "first.pt")
    kept, seen = [], []
    still = replace(SETTINGS, peak_lr=0.0)
    again = train(text, known, still, tmp_path / "second.pt", seen.append, kept.append)
    assert len(kept) == len(seen) // SETTINGS.save_every > 1
    for name, value in known.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value)
