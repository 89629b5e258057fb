"""OpenAI's routes as its clients and ``curl`` use them: every mistake is told in its shape."""

from __future__ import annotations

from pathlib import Path

import httpx
import openai
import pytest

from streamasr import Recognizer

from .conftest import Running, running


@pytest.fixture(scope="session")
def recording(samples_folder: Path) -> bytes:
    return (samples_folder / "belly.flac").read_bytes()


@pytest.fixture(scope="session")
def text(tiny, recording) -> str:
    return tiny.transcribe(recording).text


def ask(server: Running, recording: object, **fields: object) -> httpx.Response:
    url = server.http + "/v1/audio/transcriptions"
    return httpx.post(url, files={"file": recording}, data=fields, timeout=30)


@pytest.fixture(scope="session")
def roomy(tiny) -> Running:
    with running(tiny) as server:
        yield server


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/nothing", 404),
        ("GET", "/nothing", 404),
        ("GET", "/page/nothing.js", 404),
        ("POST", "/v1/audio/translations", 404),
        ("GET", "/v1/audio/transcriptions", 405),
        ("DELETE", "/v1/models/streamasr", 405),
        ("POST", "/v1/audio/transcriptions", 400),
    ],
)
def test_every_refusal_is_in_openais_shape(tiny_served, method, path, status):
    answer = httpx.request(method, tiny_served.http + path)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert error["message"]
    if status == 405:
        assert answer.headers["allow"]


def test_a_bug_of_ours_is_in_openais_shape(tiny_served, monkeypatch):
    monkeypatch.setattr("streamasr.serving.uploads._model", lambda _: 1 / 0)
    answer = httpx.get(tiny_served.http + "/v1/models")
    assert answer.status_code == 500
    error = answer.json()["error"]
    assert (error["type"], error["message"][:17]) == ("server_error", "the server failed")


def test_the_model_is_found_by_its_name(tiny_served):
    with openai.OpenAI(api_key="none", base_url=f"{tiny_served.http}/v1", max_retries=0) as client:
        (listed,) = client.models.list()
        assert client.models.retrieve("streamasr") == listed
        assert listed.created > 1_000_000_000
        with pytest.raises(openai.NotFoundError, match="there is no model 'org/whisper-1' here"):
            client.models.retrieve("org/whisper-1")
        with pytest.raises(openai.NotFoundError) as caught:
            client.models.retrieve("whisper-1")
        assert (caught.value.param, caught.value.code) == ("model", "model_not_found")


@pytest.mark.parametrize("name", ["timestamp_granularities[]", "timestamp_granularities"])
def test_granularities_come_with_brackets_and_without(roomy, recording, text, name):
    answer = ask(roomy, recording, response_format="verbose_json", **{name: "word"}).json()
    assert [word["word"] for word in answer["words"]] == text.split()
    both = {name: ["segment", "word"]}
    assert ask(roomy, recording, response_format="verbose_json", **both).json()["words"]
    plain = ask(roomy, recording, response_format="verbose_json", **{name: "segment"}).json()
    assert "words" not in plain


@pytest.mark.parametrize(
    ("fields", "param", "message"),
    [
        ({"response_format": "diarized_json"}, "response_format", "should be 'json'"),
        ({"stream": "perhaps"}, "stream", "boolean"),
        ({"timestamp_granularities[]": "letter"}, "timestamp_granularities[]", "'word'"),
        ({"timestamp_granularities": "letter"}, "timestamp_granularities", "'word'"),
        ({"language": "de"}, "language", "'de' is not spoken here, but 'en': leave it out"),
        ({"language": "klingon"}, "language", "'klingon' is not spoken here"),
        ({"include[]": "logprobs"}, "include", "'logprobs' is not served here"),
        ({"temperature": "warm"}, "temperature", "number"),
        ({"temperature": "7"}, "temperature", "less than or equal to 1"),
    ],
)
def test_a_value_that_is_not_served_is_told(tiny_served, recording, fields, param, message):
    answer = ask(tiny_served, recording, **fields)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, param)
    assert message in error["message"]
    assert error["message"].startswith(param)


@pytest.mark.parametrize("language", ["en", "EN", "en-US", "en_GB", "english", "English", ""])
def test_the_language_that_is_spoken_is_taken(roomy, recording, text, language):
    assert ask(roomy, recording, language=language).json() == {"text": text}


def test_what_other_servers_go_by_is_passed_over(roomy, recording, text):
    fields = {"prompt": "names", "temperature": "0.2", "model": "whisper-1", "vad_filter": "true"}
    assert ask(roomy, recording, **fields).json() == {"text": text}


@pytest.mark.parametrize("name", [None, "", "a.flac", 'a"; b\n.flac'])
def test_a_recording_needs_no_name(roomy, recording, text, name):
    assert ask(roomy, (name, recording)).json() == {"text": text}
    with openai.OpenAI(api_key="none", base_url=f"{roomy.http}/v1", max_retries=0) as client:
        ask_client = client.audio.transcriptions.create
        assert ask_client(model="any", file=(name, recording)).text == text


def test_a_nameless_recording_may_be_long(roomy, tiny):
    """Text in a form is bounded to a megabyte; a recording is none."""
    import io

    import numpy as np
    import soundfile

    sound = io.BytesIO()
    rng = np.random.default_rng(0)
    soundfile.write(sound, (0.1 * rng.standard_normal(700_000)).astype("f4"), 16_000, format="wav")
    assert len(sound.getvalue()) > 2**20
    expected = tiny.transcribe(sound.getvalue()).text
    assert ask(roomy, (None, sound.getvalue())).json() == {"text": expected}
    answer = ask(roomy, (None, b"no sound"))
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith("the recording: ")


def test_who_decodes_worse_than_the_model_can_says_so(tiny_folder, tiny_served):
    found = httpx.get(tiny_served.http + "/readyz").json()
    assert (found["status"], found["decoder"], found["degraded"]) == ("ready", "greedy", False)
    recognizer = Recognizer.from_pretrained(tiny_folder)
    recognizer.degraded, recognizer.decoder_reason = True, "the search is not installed"
    with running(recognizer) as server:
        found = httpx.get(server.http + "/readyz").json()
        assert (found["degraded"], found["reason"]) == (True, "the search is not installed")
