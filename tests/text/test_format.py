"""Words in, text out, as they come."""

import pickle
from collections.abc import Sequence

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from persistent_lstm import LSTMState
from torch import Tensor

from streamasr.acoustic.model.matrices import to_int8
from streamasr.text.features import WordTable, pause_class
from streamasr.text.format import FormatState, Formatter
from streamasr.text.labels import MARKS
from streamasr.text.network import Int8Tagger, Tagger, TaggerConfig
from streamasr.transcript import Token, Word, joined, word_forms

_TABLE = WordTable(["twenty", "dollars", "he", "paid"], affixes=50)
_SAID = "he paid twenty dollars and one of them said i'm in room two oh four mister smith"


class PauseTagger(Tagger):
    """Says a full stop at a pause of half a second, a comma at one of 0.2 s, no capitals."""

    def forward(
        self, words: Tensor, pauses: Tensor, state: LSTMState, **_: str
    ) -> tuple[Tensor, Tensor, LSTMState]:
        assert len(words) == 1  # read one by one, as ``any_chunking`` is not said
        # What it puts out is about the word ``look_ahead + 1`` before: it keeps the pauses in h.
        heard = torch.cat([state.h[0, 0, 1 : self.config.look_ahead + 1], pauses[0].float()])
        before = heard[0]
        label = 2 if before >= pause_class(0.5) else 1 if before >= pause_class(0.2) else 0
        # The end of all ends a sentence.
        if words[0, 0, 0] == 0 and len(heard) == 1:
            label = 2
        h = state.h.clone()
        h[0, 0, : self.config.look_ahead + 1] = heard
        marks = torch.eye(len(MARKS))[None, [label]]
        return marks, torch.tensor([[-1.0]]), LSTMState(h, state.C)


def formatter(look_ahead: int = 1, *, by_pause: bool = False, **options: bool) -> Formatter:
    torch.manual_seed(3)
    config = TaggerConfig(rows=len(_TABLE), embedding_size=8, hidden_size=16, look_ahead=look_ahead)
    tagger = (PauseTagger if by_pause else Tagger)(config)
    with torch.no_grad():
        tagger.output.weight *= 30  # so that it says this and that
    if not by_pause:
        tagger = Int8Tagger(config, to_int8(tagger.state_dict()))
    return Formatter(tagger, _TABLE, **options)


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


def text_of(text: str, **options: bool) -> str:
    made = formatter(by_pause=True, **options)
    return joined(made.end_segment(made.initial_state(), spoken(text))[0])


def test_pauses_become_marks_and_sentences_begin_with_capitals() -> None:
    found = text_of("he came / saw // and paid twenty dollars // i think")
    assert found == "He came, saw. And paid $20. I think"


def test_a_number_at_a_sentences_beginning_has_a_capital_if_it_has_letters() -> None:
    assert text_of("so // two thirds left") == "So. Two-thirds left"
    assert text_of("so // twenty left") == "So. 20 left"


def test_a_full_stop_is_not_said_twice() -> None:
    assert text_of("at five p m // he left") == "At 5 p.m. He left"


def test_fillers_are_left_out_and_are_no_pause() -> None:
    said = "he came um and saw uh // and paid"
    assert text_of(said) == "He came um and saw uh. And paid"
    assert text_of(said, remove_fillers=True) == "He came and saw. And paid"
    made = formatter(by_pause=True, remove_fillers=True)
    assert made.preview(spoken("uh um"), made.initial_state()) == []


def test_of_a_swear_word_the_first_letter_is_written() -> None:
    assert text_of("what the fuck") == "What the fuck"
    assert text_of("what the fuck // shit", mask_profanity=True) == "What the f***. S***"


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


def test_the_forms_of_words_make_up_the_text() -> None:
    made = formatter(by_pause=True, remove_fillers=True)
    words = spoken("uh he paid twenty uh dollars // um i think uh")
    tokens, _ = made.end_segment(made.initial_state(), words)
    forms = word_forms(words, tokens)
    assert forms == ["", "He", "paid", "$20.", "", "", "", "I", "think", ""]
    assert " ".join(filter(None, forms)) == joined(tokens)


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


@given(speech(), st.sampled_from([0, 1, 2]))
@settings(deadline=None, max_examples=60)
def test_forms_that_are_decided_stay(segments: list[list[Word]], look_ahead: int) -> None:
    """Whatever comes, only the mark behind the last word may change, and each lags little."""
    made = formatter(look_ahead)
    state = made.initial_state()
    for segment, right in zip(segments, whole(made, segments), strict=True):
        given_back = 0
        for k in range(len(segment)):
            tokens, state = made.read(segment[k : k + 1], state)
            given_back += sum(len(token.words) for token in tokens)
            decided = given_back + made.count_decided(state)
            forms = [
                (token.text, token.words) for token in right if token.words[-1] in segment[:decided]
            ]
            assert [word for _, words in forms for word in words] == segment[:decided]
            shown = made.preview([], state)
            later = segment[given_back:]
            assert [word for token in shown for word in token.words] == later[: k + 1 - given_back]
            now = [token for token in right[: len(forms)] if token.words[0] in later]
            assert [t.text for t in shown[: len(now)]] == [t.text for t in now]
        _, state = made.end_segment(state)


def test_the_form_of_a_word_is_decided_by_the_next_one() -> None:
    made = formatter()
    state = made.initial_state()
    decided = given_back = 0
    for k, word in enumerate(spoken("they came and went away")):
        tokens, state = made.read([word], state)
        given_back += len(tokens)
        decided = given_back + made.count_decided(state)
        assert decided == k


def test_a_word_that_is_no_number_waits_for_two_more() -> None:
    made = formatter()
    words = spoken("they came and went away")
    state = made.initial_state()
    counts = []
    for word in words:
        tokens, state = made.read([word], state)
        counts.append(len(tokens))
    assert counts == [0, 0, 1, 1, 1]


def test_behind_the_last_word_of_a_preview_is_no_mark() -> None:
    made = formatter(by_pause=True)
    words = spoken("he came // and saw")
    state = made.initial_state()
    assert joined(made.preview(words, state)) == "He came. And saw"
    # This tagger says a full stop at the end of all that it reads.
    ending = formatter(0, by_pause=True)
    assert joined(ending.end_segment(state, words)[0]) == "He came. And saw."
    assert joined(ending.preview(words, state)) == "He came. And saw"


def test_nothing_said_is_nothing_written() -> None:
    made = formatter()
    assert whole(made, [[], []]) == [[], []]
