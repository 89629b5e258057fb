"""Blocks in, events out: the same however cut, nothing lost at an endpoint, gaps marked."""

from __future__ import annotations

import itertools
import time

import jsonschema
import numpy as np
import pytest
import torch

from streamasr import AudioError
from streamasr.api import Listener
from streamasr.audio.live import Block, BlockQueue, blocks_of
from streamasr.decoding import GreedyDecoder
from streamasr.decoding.segments import HOLD_SECONDS
from streamasr.events import event_schema
from streamasr.pipeline import LivePipeline
from streamasr.samples import rechunk
from streamasr.tokens import Tokens
from streamasr.wer import count_errors

from ..conftest import relative_error

RATE = 16_000
SILENCE = np.zeros(2 * RATE, np.float32)


@pytest.fixture(scope="module")
def talk(speech) -> np.ndarray:
    """The same utterance twice, with silence before, between and behind."""
    return np.concatenate([SILENCE, speech, SILENCE, speech, SILENCE])


def finals(events) -> list[tuple]:
    return [
        (e.type, e.segment, [(w.text, w.start, w.end) for w in e.words])
        for e in events
        if e.type != "partial"
    ]


@pytest.fixture(scope="module")
def heard(recognizer, talk):
    return list(recognizer.listen(rechunk([talk], 4 * 1280), chunk_ms=320))


def test_each_utterance_is_a_segment_with_the_words_of_transcribe(heard, recognizer, speech):
    found = [e for e in heard if e.type == "final"]
    assert [e.segment for e in found] == [0, 1]
    stream = recognizer.stream()
    stream.accept(speech)
    stream_text = stream.finish().text
    for event in found:
        # A weak model may hear one of 17 words otherwise behind another silence.
        counts = count_errors([stream_text], [event.text])
        assert counts.substitutions + counts.deletions + counts.insertions <= 2


def test_words_stand_where_they_were_said(heard, speech):
    first, second = (e for e in heard if e.type == "final")
    assert 2.0 <= first.start < 2.5
    assert first.end <= 2.0 + len(speech) / RATE
    assert second.start - first.start == pytest.approx(2 + len(speech) / RATE, abs=0.15)


def test_partials_lead_to_the_final_of_their_segment(heard):
    for _, group in itertools.groupby(heard, key=lambda e: e.segment):
        events = list(group)
        assert [e.type for e in events[:-1]] == ["partial"] * (len(events) - 1)
        assert len(events) > 5
        assert events[-1].type == "final"


def test_events_satisfy_the_schema(heard):
    schema = event_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    for event in heard:
        jsonschema.validate(event.as_dict(), schema)
        assert "\n" not in event.to_json()


@pytest.mark.parametrize("size", [333, 16_000])
def test_the_cut_of_blocks_and_chunks_changes_no_final(tiny, speech, size):
    audio = np.concatenate([SILENCE, speech, SILENCE])
    whole = Listener(tiny, chunk_ms=100_000)
    expected = [*whole.accept(audio), *whole.finish()]
    parts = Listener(tiny, chunk_ms=1 + size // 16)
    events = [e for block in rechunk([audio], size) for e in parts.accept(block)]
    assert finals([*events, *parts.finish()]) == finals(expected)
    assert len(finals(expected)) >= 1


def test_a_segment_equals_a_fresh_stream(tiny, speech):
    """Contract 2 of the design: nothing of the segment before is left."""
    listening = LivePipeline(tiny.acoustic, tiny.words)
    state = listening.initial_state()
    audio = np.concatenate([speech, SILENCE, speech[: 3 * RATE]])
    origins = []
    for chunk in torch.tensor(audio).split(1280):
        _, state = listening.advance(chunk, state)
        origins.append(state.segmenter.origin)
    assert len(set(origins)) >= 2
    fresh = tiny.stream()
    fresh.accept(audio[state.segmenter.origin :])
    expected = fresh.state.acoustic
    assert relative_error(state.acoustic.lstm.C, expected.lstm.C) <= 1e-5
    assert torch.equal(state.acoustic.frontend.tail, expected.frontend.tail)
    partial = tiny.words.partial(state.decoding.decoder)
    assert partial[0].text == fresh.partial().words[-1].text
    assert state.acoustic.samples == expected.samples


def test_a_segment_may_begin_with_the_last_token_of_the_one_before():
    tokens = Tokens.characters()
    decoder = GreedyDecoder(tokens, 0.04)
    a = torch.full((1, len(tokens)), -10.0)
    a[0, tokens.encode("a")[0]] = 0.0
    _, state = decoder(a, decoder.initial_state())
    first, state = decoder.finish(state)
    _, state = decoder(a, state)
    second, _ = decoder.finish(state)
    assert [w.text for w in [*first, *second]] == ["a", "a"]


SOUNDS = {
    "zeros": lambda _: np.zeros(20 * RATE, np.float32),
    "noise": lambda rng: (0.05 * rng.standard_normal(20 * RATE)).astype(np.float32),
    "440 Hz": lambda _: np.sin(2 * np.pi * 440 / RATE * np.arange(20 * RATE)).astype("f4") / 3,
}


@pytest.mark.parametrize("make", SOUNDS.values(), ids=SOUNDS.keys())
def test_without_speech_there_are_no_events(recognizer, make):
    audio = make(np.random.default_rng(0))
    assert list(recognizer.listen(rechunk([audio], RATE), chunk_ms=1000)) == []


def test_a_gap_is_marked_and_counts_as_time(recognizer, speech):
    listener = Listener(recognizer)
    now = time.monotonic()
    events = listener.accept(Block(np.concatenate([speech, SILENCE]), now))
    events += listener.accept(Block(speech[:0], now, 0.0, "device"))
    events += listener.accept(Block(np.concatenate([speech, SILENCE]), now + 20, 4.0, "device"))
    events += listener.finish()
    kinds = [(e.type, e.segment) for e in events if e.type != "partial"]
    assert kinds == [("final", 0), ("gap", 1), ("final", 1)]
    gap = next(e for e in events if e.type == "gap")
    assert gap.start == pytest.approx(len(speech) / RATE + 2)
    assert gap.end - gap.start == pytest.approx(4)
    last = events[-1]
    assert gap.end <= last.start < gap.end + 0.5
    assert listener.seconds == pytest.approx(2 * (len(speech) / RATE + 2) + 4)
    for event in events:
        jsonschema.validate(event.as_dict(), event_schema())


def test_recognition_that_is_too_slow_loses_the_oldest_and_says_so(tiny, speech):
    queue = BlockQueue(RATE, seconds=2)
    listener = Listener(tiny)
    events = []
    for number, block in enumerate(rechunk([np.concatenate([speech] * 3)], 160)):
        queue.put(block[:, None], float(number))
    for block in blocks_of(queue, lambda: True):
        events += listener.accept(block)
    events += listener.finish()
    gaps = [e for e in events if e.type == "gap"]
    length = 3 * len(speech) / RATE
    assert [(e.reason, e.start) for e in gaps] == [("overflow", 0)]
    lost = gaps[0].end
    assert length - 2 <= lost <= length - 2 + 2 / 6 + 0.02
    assert events[-1].type == "final"
    assert lost <= events[-1].start < events[-1].end <= length + 1e-6
    assert gaps[0].description == f"[{lost:.1f} s of audio lost: too slow to keep up]"


def test_sound_that_breaks_off_ends_its_segment_with_the_last_word(recognizer, speech):
    listener = Listener(recognizer)
    events = listener.accept(Block(speech, time.monotonic()))
    before = [e for e in events if e.type == "final"]
    events += listener.accept(Block(speech[:0], time.monotonic(), 0.0, "device"))
    assert not before
    assert [e.type for e in events][-1] == "final"
    assert events[-1].words[-1].end > 4.5


def test_latency_is_what_the_clock_says(recognizer, speech):
    listener = Listener(recognizer)
    late = time.monotonic() - 10
    events = listener.accept(Block(speech, late))
    assert events
    heard_for = len(speech) / RATE
    for event in events:
        assert event.latency_ms >= 1000 * (10 + heard_for - event.end) - 1


@pytest.mark.parametrize("block", [np.array([0.0, np.nan]), np.zeros((4, 2), np.float32)])
def test_unusable_blocks_are_refused_and_change_nothing(tiny, block):
    listener = Listener(tiny)
    listener.accept(SILENCE)
    before = listener.state
    with pytest.raises(AudioError):
        listener.accept(block)
    assert listener.state is before


def test_partials_only_show_words_that_have_stood_for_a_while(recognizer, speech):
    """Against the decoder's own hypotheses, which come and go."""
    listening = LivePipeline(recognizer.acoustic, recognizer.words)
    state = listening.initial_state()
    history: list[list[str]] = []
    shown = 0
    for chunk in torch.tensor(np.concatenate([SILENCE, speech])).split(1280):
        _, state = listening.advance(chunk, state)
        words = [*state.decoding.words, *recognizer.words.partial(state.decoding.decoder)]
        history.append([word.text for word in words])
        events, state = listening.partial(state)
        for event in events:
            texts = [word.text for word in event.words]
            # As they stand now, so they stood in the updates before, one every 80 ms.
            updates = history[-1 - round(HOLD_SECONDS / 0.08) :]
            stood = all(guess[: len(texts)] == texts for guess in updates)
            assert stood or len(texts) == len(state.decoding.words)  # final for the decoder
            shown += 1
    assert shown > 5


def test_listen_opens_the_microphone_and_closes_it(tiny, speech, monkeypatch):
    log = []

    class Microphone:
        def __init__(self, device):
            log.append(device)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            log.append("closed")

        def blocks(self):
            yield from (Block(piece, time.monotonic()) for piece in np.array_split(speech, 50))

    monkeypatch.setattr("streamasr.audio.microphone.Microphone", Microphone)
    events = tiny.listen(device="desk")
    assert next(events).type == "partial"
    assert log == ["desk"]
    assert [e.type for e in events][-1] == "final"
    assert log == ["desk", "closed"]
    for _ in tiny.listen():
        break
    assert log[2:] == [None, "closed"]
