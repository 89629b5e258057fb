"""Words in, text out, as they come."""

import pickle
from collections.abc import Sequence

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from persistent_lstm import LSTMState
from torch import Tensor

from streamasr.text.features import WordTable, pause_class
from streamasr.text.format import FormatState, Formatter, Token, joined
from streamasr.text.labels import MARKS
from streamasr.text.network import Tagger, TaggerConfig
from streamasr.transcript import Word

_TABLE = WordTable(["twenty", "dollars", "he", "paid"], affixes=50)
_SAID = "he paid twenty dollars and one of them said i'm in room two oh four mister smith"


class PauseTagger(Tagger):
    """Says a full stop at a pause of half a second, a comma at one of 0.2 s, no capitals."""

    def forward(
        self, words: Tensor, pauses: Tensor, state: LSTMState, **_: str
    ) -> tuple[Tensor, Tensor, LSTMState]:
        # What it puts out is about the word ``look_ahead + 1`` before: it keeps the pauses in h.
        heard = torch.cat([state.h[0, 0, 1 : self.config.look_ahead + 1], pauses[0].float()])
        before = heard[0]
        label = 2 if before >= pause_class(0.5) else 1 if before >= pause_class(0.2) else 0
        # The end of all ends a sentence.
        if words[0, 0, 0] == 0 and len(heard) == 1:
            label = 2
        h = state.h.clone()
        h[0, 0, : self.config.look_ahead + 1] = heard
        return torch.eye(len(MARKS))[None, [label]], torch.tensor([[-1.0]]), LSTMState(h, state.C)


def formatter(look_ahead: int = 1, *, by_pause: bool = False) -> Formatter:
    torch.manual_seed(3)
    config = TaggerConfig(rows=len(_TABLE), embedding_size=8, hidden_size=16, look_ahead=look_ahead)
    tagger = (PauseTagger if by_pause else Tagger)(config)
    with torch.no_grad():
        tagger.output.weight *= 30  # so that it says this and that
    return Formatter(tagger.requires_grad_(False), _TABLE)


def spoken(text: str, gap: float = 0.05) -> list[Word]:
    """Return words of 0.3 s; ``/`` is a pause of 0.3 s, ``//`` one of 0.6 s."""
    words, now = [], 0.0
    for part in text.split():
        if part.startswith("/"):
            now += 0.3 * len(part)
            continue
        words.append(Word(part, now, now + 0.3, 1.0))
        now += 0.3 + gap
    return words


def text_of(text: str) -> str:
    made = formatter(by_pause=True)
    return joined(made.preview(spoken(text), made.initial_state()))


def test_pauses_become_marks_and_sentences_begin_with_capitals() -> None:
    found = text_of("he came / saw // and paid twenty dollars // i think")
    assert found == "He came, saw. And paid $20. I think"


def test_a_number_at_a_sentences_beginning_has_a_capital_if_it_has_letters() -> None:
    assert text_of("so // two thirds left") == "So. Two-thirds left"
    assert text_of("so // twenty left") == "So. 20 left"


def test_a_full_stop_is_not_said_twice() -> None:
    assert text_of("at five p m // he left") == "At 5 p.m. He left"


words_lists = st.lists(st.sampled_from(_SAID.split()), max_size=14)


def timed(texts: Sequence[str], gaps: Sequence[int]) -> list[Word]:
    words, now = [], 0.0
    for text, gap in zip(texts, gaps, strict=True):
        now += 0.15 * gap
        words.append(Word(text, now, now + 0.2, 1.0))
        now += 0.2
    return words


@st.composite
def speech(draw: st.DrawFn) -> list[list[Word]]:
    """Return segments of words."""
    texts = draw(words_lists)
    gaps = draw(st.lists(st.integers(0, 8), min_size=len(texts), max_size=len(texts)))
    words = timed(texts, gaps)
    segments: list[list[Word]] = [[]]
    for word, cut in zip(
        words, draw(st.lists(st.booleans(), min_size=len(words), max_size=len(words))), strict=True
    ):
        if cut:
            segments.append([])
        segments[-1].append(word)
    return segments


def whole(made: Formatter, segments: list[list[Word]]) -> list[list[Token]]:
    state, found = made.initial_state(), []
    for segment in segments:
        first, state = made.read(segment, state)
        rest, state = made.end_segment(state)
        found.append(first + rest)
    return found


@given(speech(), st.sampled_from([0, 1, 2]), st.booleans())
@settings(deadline=None, max_examples=60)
def test_any_chunking_gives_the_same_text(
    segments: list[list[Word]], look_ahead: int, copied: bool
) -> None:
    made = formatter(look_ahead)
    expected = whole(made, segments)
    state: FormatState = made.initial_state()
    for segment, right in zip(segments, expected, strict=True):
        tokens: list[Token] = []
        for word in segment:
            more, state = made.read([word], state)
            tokens += more
            if copied:
                state = pickle.loads(pickle.dumps(state))
        more, state = made.end_segment(state)
        assert tokens + more == right
        # Each word is in one token, in order.
        assert [word for token in right for word in token.words] == segment


@given(speech())
@settings(deadline=None, max_examples=60)
def test_what_was_given_back_begins_what_is_shown(segments: list[list[Word]]) -> None:
    """What is decided stays, and is the head of what is shown."""
    made = formatter()
    state = made.initial_state()
    for segment, right in zip(segments, whole(made, segments), strict=True):
        given_back: list[Token] = []
        for k, word in enumerate(segment):
            shown = given_back + made.preview([word], state)
            assert [w for token in shown for w in token.words] == segment[: k + 1]
            more, state = made.read([word], state)
            given_back += more
            assert shown[: len(given_back)] == given_back == right[: len(given_back)]
        _, state = made.end_segment(state)


def test_a_word_that_is_no_number_waits_for_two_more() -> None:
    made = formatter()
    words = spoken("they came and went away")
    state = made.initial_state()
    counts = []
    for word in words:
        tokens, state = made.read([word], state)
        counts.append(len(tokens))
    assert counts == [0, 0, 1, 1, 1]


def test_nothing_said_is_nothing_written() -> None:
    made = formatter()
    assert whole(made, [[], []]) == [[], []]
