"""The sentences that are read: how much of English they hold, and how they are chosen."""

from __future__ import annotations

from itertools import combinations

import pytest

from streamasr.decoding.graph import load_graph
from streamasr.enrollment.prompts import choose, diphones, sentences
from streamasr.manifest import normalise
from streamasr.pretrained import PRETRAINED


@pytest.fixture(scope="module")
def spellings():
    words = {word for sentence in sentences() for word in normalise(sentence).split()}
    return load_graph(PRETRAINED).spellings(words)


def test_sentences_are_readable():
    shown = sentences()
    assert len(shown) == len(set(shown)) == 40
    for sentence in shown:
        assert 30 <= len(sentence) <= 80, sentence
        assert sentence[0].isupper(), sentence
        assert sentence[-1] in ".?!", sentence
        assert not any(character.isdigit() for character in sentence), sentence


def test_every_word_is_in_the_lexicon(spellings):
    assert [word for word, known in spellings.items() if not known] == []


@pytest.mark.parametrize(
    ("count", "phones", "pairs"), [(10, 39, 291), (20, 39, 462), (40, 39, 647)]
)
def test_coverage(spellings, count, phones, pairs):
    """All 39 phones of ARPAbet from the tenth sentence on; of pairs, silence counted as one."""
    covered = set().union(*(diphones(sentence, spellings) for sentence in sentences()[:count]))
    assert len({phone for pair in covered for phone in pair} - {0}) == phones
    assert len(covered) == pairs


def test_they_stand_in_the_order_in_which_they_are_chosen(spellings):
    assert choose(sentences(), 40, spellings) == sentences()


def test_the_next_sentence_has_the_most_new_pairs_for_its_length():
    """Beside all orders of a few made-up sentences."""
    spellings = {"ab": [(1, 2)], "abc": [(1, 2, 3)], "dd": [(4, 4), (1,)], "": []}
    candidates = ["ab", "abc", "abc ab", "dd"]
    chosen = choose(candidates, 4, spellings)
    covered: set[tuple[int, int]] = set()
    for place, sentence in enumerate(chosen):
        for other in chosen[place + 1 :]:
            gains = [len(diphones(s, spellings) - covered) / len(s) for s in (sentence, other)]
            assert gains[0] >= gains[1]
        covered |= diphones(sentence, spellings)
    assert choose(candidates, 2, spellings) == chosen[:2]
    assert all(one != other for one, other in combinations(chosen, 2))
    assert diphones("dd", spellings) == {(0, 4), (4, 4), (4, 0)}
