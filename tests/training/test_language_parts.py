"""Texts as parts, and trainings that end by the clock."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamasr.errors import ConfigError
from streamasr.language import LanguageModelConfig, Pieces
from streamasr.training import language
from streamasr.training.language import LanguageTraining, train
from streamasr.training.language_parts import is_part, read_parts, shuffled, write_parts

PIECES = Pieces(["</s>", *(f"\u2581{letter}" for letter in "abcdefghi")])
SETTINGS = LanguageTraining(rows=8, length=16, peak_lr=1e-2, warmup=3, cooldown=0.8)


def text(length: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 10, length).astype(np.int16)


def sentences(row: np.ndarray) -> list[tuple[int, ...]]:
    """Return what stands before each end of a sentence, and what is left."""
    parts = np.split(row, np.flatnonzero(row == 0) + 1)
    return sorted(tuple(part.tolist()) for part in parts if len(part))


@given(st.lists(st.integers(0, 4), max_size=300), st.integers(1, 40), st.integers(0, 3))
def test_a_shuffled_text_has_the_same_sentences(read, block, seed):
    row = np.array(read, np.int16)
    # A text ends where a sentence does; what is left at the end of others stays whole.
    if len(row):
        row[-1] = 0
    assert sentences(shuffled(row, block, seed)) == sentences(row)


def test_stretches_stay_in_order():
    row = np.tile(np.arange(10, dtype=np.int16)[::-1], 100)
    row[::10] = np.arange(100) + 10
    mixed = shuffled(row, 30)
    heads = mixed[::10] - 10
    assert sorted(heads) == [*range(100)]
    assert heads.tolist() != [*range(100)]
    # Three sentences each time: most are followed by the one that followed them before.
    assert (np.diff(heads) == 1).mean() > 0.6


@pytest.mark.parametrize(("length", "most"), [(0, 4000), (1, 4000), (5000, 1000), (9001, 4000)])
def test_parts_are_small_and_hold_the_text(length, most, tmp_path):
    row = text(length)
    paths = write_parts(row, PIECES, tmp_path / "parts", most, step=300)
    assert all(is_part(path) and path.stat().st_size <= most for path in paths)
    assert (len(paths) > 1) == (length >= 5000)
    assert np.array_equal(read_parts(paths, PIECES), row)


def test_parts_of_other_pieces_or_damaged_are_one_line(tmp_path):
    (path,) = write_parts(text(50), PIECES, tmp_path)
    with pytest.raises(ConfigError, match="spelled with other pieces than the model's"):
        read_parts([path], Pieces(["</s>", "\u2581a"]))
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ConfigError, match=f"{path}: cannot be read"):
        read_parts([path], PIECES)


def test_a_training_by_the_clock_ends_at_a_learning_rate_of_zero(tmp_path, monkeypatch):
    config = LanguageModelConfig(vocab_size=10, embedding_size=4, hidden_size=6)
    clock = itertools.count(step=0.5)
    monkeypatch.setattr(language.time, "perf_counter", lambda: next(clock))  # type: ignore[attr-defined]
    rates: list[float] = []
    step = language._Run.step

    def seen(run: language._Run, read: object, lr: float) -> float:
        rates.append(lr)
        return step(run, read, lr)  # type: ignore[arg-type]

    monkeypatch.setattr(language._Run, "step", seen)
    timed = replace(SETTINGS, seconds=10.0, save_every=15)
    train(text(8 * 16 * 50), config, timed, tmp_path / "state.pt")
    assert len(rates) == 20  # half a second each
    assert max(rates) == 1e-2
    assert rates[-1] == pytest.approx(1e-2 * 0.05 / 0.8)
    # Cut off, it goes on with the time that is left.
    train(text(8 * 16 * 50), config, timed, tmp_path / "state.pt")
    assert len(rates) == 20 + 5
    # With time to spare it ends with the text.
    rates.clear()
    train(text(8 * 16 * 12), config, timed, tmp_path / "short.pt")
    assert len(rates) == 11
