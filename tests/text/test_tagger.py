"""The tagger of marks and capitals: its features, its network, its file."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from streamasr.errors import ModelError
from streamasr.text.features import PAUSE_LIMITS, PAUSES, WordTable, pause_class
from streamasr.text.files import TAGGER, TAGGER_WORDS
from streamasr.text.network import Tagger, TaggerConfig
from streamasr.text.storage import load_tagger, save_tagger

_TABLE = WordTable(["the", "of", "and"], affixes=50)


def tagger(look_ahead: int = 1) -> Tagger:
    torch.manual_seed(0)
    config = TaggerConfig(
        rows=len(_TABLE), embedding_size=8, hidden_size=16, layers=2, look_ahead=look_ahead
    )
    return Tagger(config).eval().requires_grad_(False)


def test_frequent_words_have_their_own_row_and_others_share_one() -> None:
    assert [_TABLE.rows(word)[0] for word in ("the", "of", "and", "zebra", "")] == [2, 3, 4, 1, 0]
    assert _TABLE.rows("zebra")[1] == _TABLE.rows("zebu")[1]
    assert _TABLE.rows("walking")[2] == _TABLE.rows("ring")[2]


@given(st.text(max_size=20))
def test_rows_are_within_the_table(word: str) -> None:
    assert all(0 <= row < len(_TABLE) for row in _TABLE.rows(word))


@given(st.floats(0, 10))
def test_a_longer_pause_is_of_no_lower_class(seconds: float) -> None:
    expected = 1 + sum(seconds >= limit for limit in PAUSE_LIMITS)
    assert pause_class(seconds) == expected < PAUSES
    assert pause_class(None) == 0


def test_a_word_that_occurs_twice_is_refused() -> None:
    with pytest.raises(ModelError, match="twice"):
        WordTable(["a", "b", "a"])


@given(st.lists(st.integers(1, 5), min_size=1, max_size=6))
@settings(deadline=None, max_examples=20)
def test_any_chunking_gives_the_same_answers(sizes: list[int]) -> None:
    model, total = tagger(), sum(sizes)
    words = torch.randint(len(_TABLE), (total, 1, 3))
    pauses = torch.randint(PAUSES, (total, 1))
    whole = model(words, pauses, model.initial_state(1))
    state, parts = model.initial_state(1), []
    for chunk, gaps in zip(words.split(sizes), pauses.split(sizes), strict=True):
        marks, capitals, state = model(chunk, gaps, state)
        parts.append((marks, capitals))
    torch.testing.assert_close(torch.cat([part[0] for part in parts]), whole[0])
    torch.testing.assert_close(torch.cat([part[1] for part in parts]), whole[1])


def test_what_is_stored_answers_nearly_alike(tmp_path: Path) -> None:
    model = tagger(look_ahead=2)
    save_tagger(tmp_path, model, _TABLE)
    known = load_tagger(tmp_path)
    assert known is not None
    loaded, table = known
    assert loaded.config == model.config
    assert (table.words, table.affixes) == (_TABLE.words, _TABLE.affixes)
    words, pauses = torch.randint(len(_TABLE), (9, 2, 3)), torch.randint(PAUSES, (9, 2))
    mine = model(words, pauses, model.initial_state(2))[0]
    theirs = loaded(words, pauses, loaded.initial_state(2))[0]
    torch.testing.assert_close(mine, theirs, atol=0.05, rtol=0.05)


def test_a_folder_without_a_tagger_has_none(tmp_path: Path) -> None:
    assert load_tagger(tmp_path) is None


@pytest.mark.parametrize("name", [TAGGER, TAGGER_WORDS])
def test_a_damaged_tagger_is_refused(tmp_path: Path, name: str) -> None:
    save_tagger(tmp_path, tagger(), _TABLE)
    text = b"x " * 8 if name == TAGGER else b"".join(b"%d\n" % n for n in range(500))
    (tmp_path / name).write_bytes(text)
    with pytest.raises(ModelError):
        load_tagger(tmp_path)
