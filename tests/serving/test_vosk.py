"""vosk-server's messages, one by one: what its ``asr_server.py`` answers, ours does."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import soxr
from websockets.sync.client import connect

from streamasr.api import Listener

RATE = 16_000


@contextmanager
def asking(address: str) -> Iterator[Callable[[object], dict]]:
    """Send a message, bytes or an object, and return its answer."""
    with connect(address) as socket:

        def ask(message: object) -> dict:
            socket.send(message if isinstance(message, bytes) else json.dumps(message))
            return json.loads(socket.recv(timeout=30))

        ask.tell = lambda message: socket.send(json.dumps(message))  # type: ignore[attr-defined]
        yield ask


def pcm(samples: np.ndarray) -> bytes:
    return (samples * 32767).astype("<i2").tobytes()


def final_text(recognizer, samples: np.ndarray) -> str:
    listener = Listener(recognizer)
    events = [*listener.accept((samples * 32767).astype("<i2")), *listener.finish()]
    return " ".join(e.plain_text for e in events if e.type == "final" and e.text)


def test_a_reset_ends_the_segment_and_the_stream_goes_on(served, recognizer, speech):
    """As a client does that decides by itself where an utterance ends."""
    half = int(2.6 * RATE)
    texts = [final_text(recognizer, part) for part in (speech[:half], speech[half:])]
    assert all(texts)
    with asking(served.ws) as ask:
        assert ask(pcm(speech[:half])).keys() == {"partial"}
        first = ask({"reset": 1})
        assert first["text"] == texts[0]
        assert ask(b"") == {"partial": ""}
        ask(pcm(speech[half:]))
        second = ask({"eof": 1})
        assert second["text"] == texts[1]
    # Times count on.
    assert all(word["end"] <= 2.6 for word in first["result"])
    assert all(2.6 <= word["start"] <= len(speech) / RATE for word in second["result"])
    served.wait_until_empty()


def test_a_reset_of_nothing_says_nothing(tiny_served):
    with asking(tiny_served.ws) as ask:
        assert ask({"reset": 1}) == {"text": ""}
        assert ask(pcm(np.zeros(1600))) == {"partial": ""}
        assert ask({"reset": 1}) == {"text": ""}
        assert ask({"reset": 1}) == {"text": ""}
        assert ask({"eof": 1}) == {"text": ""}
    tiny_served.wait_until_empty()


def test_a_config_in_mid_stream_holds_for_what_follows(served, recognizer, speech):
    """It names what changes; what it leaves out stays."""
    half = int(2.6 * RATE)
    other = np.clip(soxr.resample(speech[half:], RATE, 48_000), -1, 1)
    with asking(served.ws) as ask:
        ask(pcm(speech[:half]))
        ask.tell({"config": {"words": False}})
        first = ask({"reset": 1})
        assert first == {"text": final_text(recognizer, speech[:half])}
        ask.tell({"config": {"sample_rate": 48_000.0}})
        ask(pcm(other))
        assert ask({"eof": 1}) == {"text": final_text(recognizer, speech[half:])}
    served.wait_until_empty()


def test_words_come_unless_they_are_not_asked_for(served, speech):
    with asking(served.ws) as ask:
        ask(pcm(speech))
        assert ask({"eof": 1}).keys() == {"result", "text"}


def test_alternatives_have_the_shape_that_is_asked_for(served, speech):
    with asking(served.ws) as ask:
        ask.tell({"config": {"max_alternatives": 3, "words": False}})
        ask(pcm(speech))
        (only,) = ask({"reset": 1})["alternatives"]
        assert only.keys() == {"confidence", "text"}
        assert 0 < only["confidence"] <= 1
        assert ask({"eof": 1}) == {"alternatives": [{"confidence": 1.0, "text": ""}]}


@pytest.mark.parametrize("config", [{"phrase_list": ["one", "two"]}, {"model": "other"}, {}])
def test_what_is_not_ours_to_give_is_passed_over(tiny_served, config):
    with asking(tiny_served.ws) as ask:
        ask.tell({"config": config})
        assert ask({"eof": 1}) == {"text": ""}
    tiny_served.wait_until_empty()
