"""Numbers as a person writes them."""

import random
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamasr.books.numerals import cardinal, ordinal, spoken_number, year
from streamasr.text import write_decided, write_numbers
from streamasr.text.dates import suffixed

pytestmark = pytest.mark.smoke

_HERE = Path(__file__).parent
_SENTENCES = [
    line.split("\t")[1:] for line in (_HERE / "numbers.tsv").read_text("utf-8").splitlines()
]
_UNCHANGED = (_HERE / "unchanged.txt").read_text("utf-8").splitlines()
_ALL = [spoken for spoken, _ in _SENTENCES] + _UNCHANGED


def written(text: str) -> str:
    words, parts, at = text.split(), [], 0
    for span in write_numbers(words):
        parts += [*words[at : span.start], span.text]
        at = span.end
    return " ".join([*parts, *words[at:]])


def test_sentences_of_many_domains_are_written_right() -> None:
    assert len(_SENTENCES) >= 300
    wrong = [(spoken, written(spoken)) for spoken, right in _SENTENCES if written(spoken) != right]
    assert len(wrong) <= 0.03 * len(_SENTENCES), wrong


def test_what_is_ambiguous_or_an_idiom_stays() -> None:
    assert len(_UNCHANGED) >= 200
    assert [text for text in _UNCHANGED if written(text) != text] == []


@given(st.integers(11, 10**15 - 1).filter(lambda n: n not in (100, 1000) and n % 10**6))
def test_every_cardinal_is_written_in_figures(number: int) -> None:
    # "and" before hundreds belongs to nothing; without it Americans say the same number.
    assert written(cardinal(number)) == f"{number:,}"
    assert written(cardinal(number).replace(" and ", " ")) == f"{number:,}"


@given(st.integers(1, 999), st.sampled_from(["million", "billion", "trillion"]))
def test_millions_keep_their_name(number: int, scale: str) -> None:
    assert written(f"{cardinal(number)} {scale} people") == f"{number} {scale} people"


@given(st.integers(11, 9_999).filter(lambda n: n % 100 or n not in (100, 1000)))
@example(1200)
def test_every_ordinal_is_written_in_figures(number: int) -> None:
    spoken = ordinal(number)
    if spoken.endswith("second"):
        spoken = f"the {spoken}"
        assert written(spoken) == f"the {suffixed(number)}"
    else:
        assert written(spoken) == suffixed(number)


@given(st.integers(1300, 2099))
def test_every_year_is_written_in_figures(number: int) -> None:
    assert written(f"in {year(number)} he came") == f"in {number} he came"
    assert written(f"on june fifth {year(number)} he came") == f"on June 5th, {number} he came"


@given(st.integers(0, 10**6 - 1), st.integers(0, 99))
def test_money_reads_as_it_was_said(dollars: int, cents: int) -> None:
    amount = f"${dollars}.{cents:02}"
    spoken = spoken_number(amount)
    assert spoken is not None
    right = f"${dollars:,}.{cents:02}" if cents else f"${dollars:,}"
    if dollars == 1 and cents:
        spoken = spoken.replace("one dollars", "one dollar")
    assert written(spoken) == right


@given(st.text("0123456789", min_size=4, max_size=12).filter(lambda text: text[0] != "0"))
def test_digits_said_one_by_one_are_kept_all(text: str) -> None:
    spoken = " ".join(cardinal(int(digit)) for digit in text)
    if "1234567890".startswith(text):  # someone counts
        assert written(spoken) == spoken
    else:
        assert written(spoken).replace("-", "") == text


def _streamed(words: list[str]) -> tuple[list[int], list[int]]:
    """Return for each word the length of the prefix it was decided in, and where its span ends."""
    spans = write_numbers(words)
    ends = [next((s.end for s in spans if s.start <= k < s.end), k + 1) for k in range(len(words))]
    known = [len(words) + 1] * len(words)
    for size in range(len(words) + 1):
        decided_spans, decided = write_decided(words[:size])
        assert decided_spans == [span for span in spans if span.end <= decided]
        for k in range(decided):
            known[k] = min(known[k], size)
    return known, ends


@pytest.mark.parametrize("text", _ALL)
def test_what_is_decided_of_a_prefix_stays(text: str) -> None:
    _streamed(text.split())


@given(st.lists(st.sampled_from(sorted({w for text in _ALL for w in text.split()})), max_size=12))
@settings(max_examples=300)
def test_any_words_are_decided_for_good(words: list[str]) -> None:
    _streamed(words)


def test_one_further_word_decides_nearly_always() -> None:
    late = total = 0
    for text in _ALL:
        # More words follow, so that every word of the text is decided in the end.
        words = [*text.split(), "which", "nobody", "knew", "then"]
        known, ends = _streamed(words)
        for k in range(len(words) - 4):
            total += 1
            late += known[k] > ends[k] + 1
    assert late <= 0.04 * total, (late, total)


def test_random_words_are_not_touched() -> None:
    # Words without a number, a month, a title or a letter by itself.
    text = "the house was quiet and nobody came out to see who called"
    plain = text.split()
    shuffled = random.Random(0)
    for _ in range(50):
        shuffled.shuffle(plain)
        assert write_numbers(plain) == []
