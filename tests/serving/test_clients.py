"""Clients that nobody here wrote, or that speak as they do, get what ``transcribe`` gives."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jsonschema
import numpy as np
import openai
import pytest
import soundfile
import webvtt
from websockets.sync.client import connect

from streamasr.events import Event, event_schema
from streamasr.manifest import read_manifest

SAMPLES = ["amiable", "belly", "dinner", "jfk", "waiting"]


def pcm_of(path: Path) -> bytes:
    samples, rate = soundfile.read(path, dtype="float32")
    assert rate == 16_000
    return (samples * 32767).astype("<i2").tobytes()


@pytest.fixture(scope="session")
def expected(recognizer, samples_folder) -> dict[str, str]:
    return {
        u.path.stem: recognizer.transcribe(u.path).text
        for u in read_manifest(samples_folder / "samples.tsv")
    }


@pytest.fixture(scope="session")
def finals(recognizer, samples_folder) -> dict[str, list[Event]]:
    """What one live listener hears: it begins afresh at pauses, as ``streamasr mic`` does."""
    found = {}
    for name in SAMPLES:
        pcm = np.frombuffer(pcm_of(samples_folder / f"{name}.flac"), "<i2")
        found[name] = [e for e in recognizer.listen([pcm]) if e.type == "final" and e.text]
    return found


@pytest.fixture(scope="session")
def live(finals) -> dict[str, str]:
    return {name: " ".join(e.text for e in events) for name, events in finals.items()}


def vosk_client(address: str, pcm: bytes, rate: int = 16_000) -> list[dict]:
    """Do as vosk-server's example client: one answer for each message, 0.2 s each."""
    answers = []
    with connect(address) as socket:
        socket.send(json.dumps({"config": {"sample_rate": rate, "words": True}}))
        size = int(rate * 0.2) * 2
        for start in range(0, len(pcm), size):
            socket.send(pcm[start : start + size])
            answers.append(json.loads(socket.recv()))
        socket.send('{"eof" : 1}')
        answers.append(json.loads(socket.recv()))
    return answers


def own_client(address: str, pcm: bytes, size: int = 3200) -> list[dict]:
    with connect(address + "/v1/stream") as socket:
        socket.send(json.dumps({"type": "start", "sample_rate": 16_000}))
        for start in range(0, len(pcm), size):
            socket.send(pcm[start : start + size])
        socket.send(json.dumps({"type": "end"}))
        return [json.loads(message) for message in socket]


def plain_words(text: str) -> list[str]:
    """Return the words of a text without numbers."""
    return "".join(c for c in text.lower() if c.isalpha() or c in " '").split()


def text_of(events: list[dict], kind: str = "type") -> str:
    finals = [e["text"] for e in events if e.get(kind) == "final"]
    return " ".join(text for text in finals if text)


@pytest.mark.parametrize("name", SAMPLES)
def test_vosk_clients_get_the_plain_words_of_a_listener(served, samples_folder, finals, name):
    plain = " ".join(e.plain_text for e in finals[name])
    assert plain == plain.lower()
    answers = vosk_client(served.ws, pcm_of(samples_folder / f"{name}.flac"))
    results = [a for a in answers if "text" in a]
    assert " ".join(r["text"] for r in results if r["text"]) == plain
    words = [w for r in results for w in r.get("result", [])]
    assert [w["word"] for w in words] == plain.split()
    assert all(w.keys() == {"conf", "start", "end", "word"} for w in words)
    assert all(a.keys() == {"partial"} for a in answers if "text" not in a)
    partials = [a["partial"] for a in answers if a.get("partial")]
    assert partials
    assert all(partial == partial.lower() for partial in partials)


@pytest.mark.parametrize("name", SAMPLES)
def test_our_own_events_fit_their_schema(served, samples_folder, live, name):
    events = own_client(served.ws, pcm_of(samples_folder / f"{name}.flac"))
    assert events.pop() == {"type": "done"}
    assert text_of(events) == live[name]
    for event in events:
        jsonschema.validate(event, event_schema())
    segments = [e["segment"] for e in events]
    assert segments == sorted(segments)


def test_without_a_pause_a_listener_gives_what_transcribe_gives(live, expected):
    paused = ("jfk", "waiting")
    assert {name: live[name] for name in SAMPLES if name not in paused} == {
        name: text for name, text in expected.items() if name not in paused
    }


def test_many_at_once_get_what_each_gets_alone(served, samples_folder, live):
    """Streams of different lengths and message sizes join and leave the same passes."""
    jobs = [(name, size) for name in SAMPLES for size in (640, 5000, 32_000)]
    with ThreadPoolExecutor(len(jobs)) as pool:
        found = pool.map(
            lambda job: own_client(served.ws, pcm_of(samples_folder / f"{job[0]}.flac"), job[1]),
            jobs,
        )
        for (name, _), events in zip(jobs, found, strict=True):
            assert text_of(events) == live[name]
    served.wait_until_empty()


@pytest.mark.parametrize("rate", [8_000, 48_000])
def test_any_sample_rate_is_served(served, samples_folder, rate):
    from math import gcd

    from scipy.signal import resample_poly

    samples, own = soundfile.read(samples_folder / "waiting.flac")
    common = gcd(rate, own)
    other = resample_poly(samples, rate // common, own // common)
    pcm = (np.clip(other, -1, 1) * 32767).astype("<i2").tobytes()
    text = " ".join(a.get("text", "") for a in vosk_client(served.ws, pcm, rate))
    assert len(text.split()) > 5


@pytest.fixture(scope="session")
def client(served):
    with openai.OpenAI(api_key="none", base_url=f"{served.http}/v1", max_retries=0) as found:
        yield found


@pytest.mark.parametrize("name", SAMPLES)
def test_the_openai_client_gets_what_transcribe_gives(client, samples_folder, expected, name):
    path = samples_folder / f"{name}.flac"
    assert client.audio.transcriptions.create(model="any", file=path).text == expected[name]


def test_the_openai_client_gets_every_format(client, samples_folder, expected):
    def ask(**options):
        path = samples_folder / "jfk.flac"
        return client.audio.transcriptions.create(model="any", file=path, **options)

    assert ask(response_format="text").strip() == expected["jfk"]
    verbose = ask(response_format="verbose_json", timestamp_granularities=["word", "segment"])
    assert verbose.text == expected["jfk"]
    assert [w.word for w in verbose.words] == plain_words(expected["jfk"])
    assert " ".join(s.text for s in verbose.segments) == expected["jfk"]
    assert verbose.duration == pytest.approx(11.0, abs=0.1)
    cues = webvtt.from_string(ask(response_format="vtt"))
    assert " ".join(cue.text.replace("\n", " ") for cue in cues) == expected["jfk"]
    assert "-->" in ask(response_format="srt")


def test_the_openai_client_gets_words_as_they_come(client, samples_folder, expected):
    path = samples_folder / "jfk.flac"
    events = [*client.audio.transcriptions.create(model="any", file=path, stream=True)]
    assert "".join(e.delta for e in events[:-1]) == events[-1].text == expected["jfk"]
    assert events[-1].type == "transcript.text.done"


def test_what_is_no_recording_is_one_line(client, tmp_path):
    (tmp_path / "notes.wav").write_text("this is no sound")
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError, match=r"notes\.wav: \w"):
            client.audio.transcriptions.create(
                model="any", file=tmp_path / "notes.wav", stream=stream
            )
    assert [m.id for m in client.models.list()] == ["streamasr"]
