"""Events formatted as they come: what is firm stays, however often partials are asked for."""

from __future__ import annotations

import pickle
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamasr.audio import open_audio
from streamasr.events import Event
from streamasr.samples import rechunk
from streamasr.text.format import Formatter
from streamasr.text.live import EventFormatState, EventFormatter
from streamasr.transcript import Word

from .test_format import formatter, speech, spoken


def partial(words: list[Word], firm: int, segment: int = 0) -> Event:
    return Event("partial", segment, words[0].start, words[-1].end, tuple(words), firm=firm)


def final(words: list[Word], segment: int = 0) -> Event:
    start, end = (words[0].start, words[-1].end) if words else (0.0, 0.0)
    return Event("final", segment, start, end, tuple(words))


def shown(event: Event, count: int) -> list[str]:
    """Return how the first ``count`` words of an event are written, marks apart."""
    return [form.rstrip(".,?!;:") for form in event.forms[:count]]


@given(speech(), st.data())
@settings(deadline=None, max_examples=60)
def test_firm_words_keep_their_form_and_partials_change_no_final(segments, data) -> None:
    made = formatter()
    stage = EventFormatter(made)
    state, alone = stage.initial_state(), stage.initial_state()
    for number, words in enumerate(segments):
        before: tuple[int, list[str]] = (0, [])
        firm = 0
        for count in range(1, len(words) + 1):
            firm = data.draw(st.integers(firm, count))
            if not data.draw(st.booleans()):
                continue
            # What is not firm may be heard otherwise, and later.
            tail = [Word("mister", w.start + 0.1, w.end + 0.1, 0.5) for w in words[firm:count]]
            # The pass over the whole segment hears firm words anew, with another confidence.
            sure = data.draw(st.sampled_from([0.5, 0.9]))
            heard = [*(replace(w, confidence=sure) for w in words[:firm]), *tail]
            event, state = stage(partial(heard, firm, number), state)
            assert event.firm <= firm
            assert [word for token in event.tokens for word in token.words] == [
                word for word in heard if not made.left_out(word)
            ]
            now = event.firm, shown(event, event.firm)
            assert now[0] >= before[0]
            assert now[1][: before[0]] == before[1]
            before = now
            state = pickle.loads(pickle.dumps(state))
        event, state = stage(final(words, number), state)
        assert shown(event, before[0]) == before[1]
        expected, alone = stage(final(words, number), alone)
        assert event == expected


def test_a_word_is_firm_with_its_form_as_soon_as_the_next_one_is() -> None:
    stage = EventFormatter(formatter())
    words = spoken("they came and went away")
    state, found = stage.initial_state(), []
    for firm in range(len(words) + 1):
        event, state = stage(partial(words, firm), state)
        found.append(event.firm)
    assert found == [0, 0, 1, 2, 3, 4]


def whole(made: Formatter, *parts: str) -> list[str]:
    """Return the texts of segments with a pause of half a second between them."""
    stage, texts = EventFormatter(made), []
    state: EventFormatState = stage.initial_state()
    now = 0.0
    for part in parts:
        words = [Word(w.text, w.start + now, w.end + now, w.confidence) for w in spoken(part)]
        event, state = stage(final(words), state)
        texts.append(event.text)
        now = words[-1].end + 0.3
    return texts


def test_a_sentence_that_goes_on_behind_a_pause_gets_no_capital() -> None:
    made = formatter(by_pause=True)  # a comma at 0.3 s
    assert whole(made, "he came", "and saw") == ["He came", "and saw"]


def test_what_turns_out_to_be_noise_leaves_no_trace() -> None:
    stage = EventFormatter(formatter())
    fresh = stage.initial_state()
    _, state = stage(partial(spoken("he paid twenty dollars"), 3), fresh)
    event, state = stage(final([]), state)
    assert (event.text, event.tokens) == ("", ())
    words = spoken("and paid")
    assert stage(final(words), state)[0] == stage(final(words), fresh)[0]
    # A stretch that is dropped in mid-segment, too.
    _, state = stage(partial(spoken("he paid twenty dollars"), 3), fresh)
    assert stage(final(words), state)[0] == stage(final(words), fresh)[0]


def test_removed_fillers_count_as_firm_words() -> None:
    stage = EventFormatter(formatter(by_pause=True, remove_fillers=True))
    words = spoken("uh he uh came and saw")
    event, state = stage(partial(words, 5), stage.initial_state())
    assert event.forms == ["", "He", "", "came", "and", "saw"]
    assert event.firm == 4
    event, _ = stage(final(words), state)
    assert event.text == "He came and saw"
    assert event.words == tuple(words)
    written = [word["text"] for word in event.as_dict()["words"]]
    assert " ".join(filter(None, written)) == event.text


@pytest.mark.parametrize("name", ["jfk.flac", "waiting.flac"])
def test_a_live_session_keeps_what_it_has_shown(recognizer, samples_folder, name) -> None:
    with open_audio(samples_folder / name) as audio:
        samples = [*audio.blocks()]
    texts = set()
    for block, chunk_ms in ((1280, 80), (16_000, 80), (6400, 400)):
        events = [*recognizer.listen(rechunk(samples, block), chunk_ms=chunk_ms)]
        assert [e.type for e in events][-1] == "final"
        for event, after in pairwise(events):
            if event.segment == after.segment:
                assert shown(after, event.firm) == shown(event, event.firm)
        # A final without words only takes back what a partial showed.
        texts.add(" ".join(e.text for e in events if e.type == "final" and e.text))
        assert sum(e.firm for e in events if e.type == "partial") > 0
    assert len(texts) == 1
