from itertools import accumulate, pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamasr.events.cues import MAX_GAP, Cue, layout_cues, one_line, split_at_pauses
from streamasr.transcript import Token, Word


def spoken(text: str, *, start: float = 0.0, length: float = 0.3, gap: float = 0.1) -> list[Word]:
    """The words of ``text``, each ``length`` seconds long, ``gap`` seconds apart."""
    step = length + gap
    return [
        Word(each, start + i * step, start + i * step + length, 1.0)
        for i, each in enumerate(text.split())
    ]


def later(words: list[Word], seconds: float, *, from_: int) -> list[Word]:
    """``words`` with a pause of ``seconds`` more before the word at index ``from_``."""
    moved = [Word(w.text, w.start + seconds, w.end + seconds, w.confidence) for w in words]
    return words[:from_] + moved[from_:]


def shown(cues: list[Cue]) -> list[str]:
    return [" | ".join(cue.lines) for cue in cues]


@st.composite
def word_lists(draw: st.DrawFn) -> list[Word]:
    """Words in time order: some of no length, some longer than a cue, some that overlap."""
    words, start = [], draw(st.floats(0, 1e6))
    for _ in range(draw(st.integers(0, 40))):
        start += draw(st.sampled_from([0.0, 0.0004, 0.05, 0.3]) | st.floats(0, 3))
        length = draw(st.sampled_from([0.0, 0.0003, 0.04, 0.4]) | st.floats(0, 12))
        text = draw(st.text("abcé'&<", min_size=1, max_size=12) | st.just("x" * 60))
        words.append(Word(text, start, start + length, 0.5))
    return words


@settings(deadline=None)
@given(
    words=word_lists(),
    max_line=st.sampled_from([1, 7, 42]),
    max_lines=st.integers(1, 3),
    max_duration=st.sampled_from([1.0, 2.5, 7.0]),
)
@example(words=[], max_line=42, max_lines=2, max_duration=7.0)
@example(words=[Word("a", 5.0, 5.0, 1.0)] * 100, max_line=7, max_lines=1, max_duration=1.0)
def test_limits_hold_and_every_word_is_shown_once(
    words: list[Word], max_line: int, max_lines: int, max_duration: float
) -> None:
    cues = layout_cues(words, max_line=max_line, max_lines=max_lines, max_duration=max_duration)

    assert [word for cue in cues for word in cue.words] == words
    for cue in cues:
        assert " ".join(cue.lines).split() == [word.text for word in cue.words]
        assert 1 <= len(cue.lines) <= max_lines
        assert all(len(line) <= max_line or " " not in line for line in cue.lines)
        assert 1 <= round((cue.end - cue.start) * 1000) <= max_duration * 1000
        assert cue.start == round(cue.start, 3)
        assert cue.end == round(cue.end, 3)
    assert all(cue.end <= after.start for cue, after in pairwise(cues))

    first_words = {id(cue.words[0]) for cue in cues}
    latest_ends = accumulate((word.end for word in words), max)
    for end, after in zip(latest_ends, words[1:], strict=False):
        # 1 ms: both times of a gap can be half a millisecond off.
        assert after.start - end <= MAX_GAP + 0.001001 or id(after) in first_words


@settings(deadline=None)
@given(word_lists())
def test_segments_hold_every_word_once_and_part_at_long_gaps_only(words: list[Word]) -> None:
    segments = split_at_pauses(words, 0.5)
    assert [word for segment in segments for word in segment] == words
    for before, after in pairwise(segments):
        assert after[0].start - max(word.end for word in before) > 0.499
    for segment in segments:
        for index in range(1, len(segment)):
            end = max(word.end for word in segment[:index])
            assert segment[index].start - end < 0.502


def test_short_text_is_one_line_of_one_cue() -> None:
    words = spoken("good morning everyone", start=2.0)
    assert layout_cues(words) == [Cue(2.0, 3.1, ("good morning everyone",), tuple(words))]


@pytest.mark.parametrize(("gap", "count"), [(0.8, 1), (0.801, 2)])
def test_a_gap_over_max_gap_always_breaks(gap: float, count: int) -> None:
    # 2.1 - 1.3 is more than 0.8 in floating point.
    words = [Word("one", 1.0, 1.3, 1.0), Word("two", 1.3 + gap, 2.5, 1.0)]
    assert len(layout_cues(words)) == len(split_at_pauses(words)) == count


def test_max_gap_is_a_setting() -> None:
    words = spoken("one two three", gap=0.5)
    assert shown(layout_cues(words)) == ["one two three"]
    assert shown(layout_cues(words, max_gap=0.4)) == ["one", "two", "three"]


def test_lines_are_balanced() -> None:
    words = spoken("the quick brown fox jumps over the lazy dog and runs", length=0.2)
    assert shown(layout_cues(words)) == ["the quick brown fox jumps | over the lazy dog and runs"]


TEN = "alpha bravo charlie delta echo foxtrot golf hotel india juliett"


def test_a_full_cue_ends_at_the_longest_recent_pause() -> None:
    # Six words fill two lines of 20.
    words = later(later(spoken(TEN), 0.2, from_=4), 0.3, from_=5)
    assert shown(layout_cues(words, max_line=20)) == [
        "alpha bravo | charlie delta echo",
        "foxtrot golf hotel | india juliett",
    ]


@pytest.mark.parametrize(("gap", "words_in_first"), [(0.199, 6), (0.2, 5)])
def test_a_pause_is_a_gap_of_a_fifth_of_a_second(gap: float, words_in_first: int) -> None:
    words = later(spoken(TEN), gap - 0.1, from_=5)
    assert len(layout_cues(words, max_line=20)[0].words) == words_in_first


@pytest.mark.parametrize(("length", "lines"), [(39, 1), (40, 2)])
def test_a_line_holds_exactly_max_line_characters(length: int, lines: int) -> None:
    (cue,) = layout_cues(spoken(f"ab {'x' * length}"))
    assert len(cue.lines) == lines


def test_without_a_pause_a_cue_is_filled() -> None:
    assert shown(layout_cues(spoken(TEN), max_line=20)) == [
        "alpha bravo charlie | delta echo foxtrot",
        "golf hotel | india juliett",
    ]


def test_an_early_pause_does_not_leave_a_cue_nearly_empty() -> None:
    words = later(spoken(TEN), 0.6, from_=1)
    assert shown(layout_cues(words, max_line=20))[0] == "alpha bravo charlie | delta echo foxtrot"


def written(text: str, gap: float = 0.1) -> list[Token]:
    """Return tokens of one word each, with the marks of ``text``."""
    return [
        Token(w.text.rstrip(".,?"), w.text[-1] if w.text[-1] in ".,?" else "", (w,))
        for w in spoken(text, gap=gap)
    ]


def test_a_sentence_that_does_not_fit_begins_a_cue() -> None:
    tokens = written(
        "It is late. He went home to his wife who had been waiting for him all the day"
    )
    assert shown(layout_cues(tokens)) == [
        "It is late.",
        "He went home to his wife who had | been waiting for him all the day",
    ]


def test_sentences_that_fit_share_a_cue() -> None:
    assert shown(layout_cues(written("It is late. He went home."))) == ["It is late. He went home."]


def test_a_long_sentence_breaks_behind_a_comma() -> None:
    text = "When he came home, late as it was that very night, he saw that nobody had been in there"
    assert shown(layout_cues(written(text)))[0].endswith(" night,")


def test_the_words_of_a_number_stay_together() -> None:
    words = spoken("he paid twenty dollars")
    tokens = [*written("he paid")[:2], Token("$20", ".", tuple(words[2:]))]
    (cue,) = layout_cues(tokens)
    assert cue.lines == ("he paid $20.",)
    assert cue.words == tuple(words)


def test_slow_speech_breaks_at_max_duration() -> None:
    words = spoken("a b c d e f", length=1.5, gap=0.1)
    cues = layout_cues(words)
    assert shown(cues) == ["a b c d", "e f"]
    assert [(cue.start, cue.end) for cue in cues] == [(0.0, 6.3), (6.4, 9.5)]


def test_a_word_longer_than_a_line_stands_whole_on_its_own_line() -> None:
    long = "x" * 50
    words = spoken(f"look {long} here", length=0.2)
    assert shown(layout_cues(words)) == [f"look | {long}", "here"]
    assert shown(layout_cues(words, max_lines=3)) == [f"look | {long} | here"]


def test_words_of_no_length_are_shown_until_the_next_cue_or_a_second() -> None:
    words = [Word("one", 1.0, 1.0, 1.0), Word("two", 1.9, 1.9, 1.0), Word("three", 9.0, 9.0, 1.0)]
    cues = layout_cues(words)
    assert [(cue.start, cue.end) for cue in cues] == [(1.0, 1.9), (1.9, 2.9), (9.0, 10.0)]


def test_a_word_longer_than_a_cue_is_cut_to_max_duration() -> None:
    (cue,) = layout_cues([Word("ohm", 3.0, 30.0, 1.0)])
    assert (cue.start, cue.end) == (3.0, 10.0)


def test_overlapping_words_give_cues_that_do_not_overlap() -> None:
    words = [Word("one", 0.0, 6.0, 1.0), Word("two", 2.0, 8.0, 1.0)]
    cues = layout_cues(words)
    assert [(cue.start, cue.end) for cue in cues] == [(0.0, 2.0), (2.0, 8.0)]


def test_white_space_in_a_word_cannot_break_a_line_and_blank_words_are_left_out() -> None:
    words = [Word("new\r\n\nyork", 0.0, 0.5, 1.0), Word(" \t", 0.5, 0.6, 1.0)]
    (cue,) = layout_cues(words)
    assert cue.lines == ("new york",)
    assert cue.words == (words[0],)
    assert split_at_pauses(words[1:]) == []
    assert one_line(" a\tb\n") == "a b"


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"max_line": 0}, "max_line 0"),
        ({"max_lines": 0}, "max_lines 0"),
        ({"max_duration": 0.5}, "max_duration 0.5"),
        ({"min_duration": 0.0}, "min_duration 0.0"),
    ],
)
def test_impossible_limits_are_refused(limits: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        layout_cues([], **limits)
