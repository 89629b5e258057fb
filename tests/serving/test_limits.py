"""What clients do wrong harms no other, and leaves nothing behind."""

from __future__ import annotations

import gc
import json
import struct
import time
from contextlib import ExitStack, suppress
from socket import SHUT_RDWR

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.websockets import WebSocket
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from streamasr.serving import ServeSettings
from streamasr.serving.scheduler import StreamHandle
from streamasr.serving.settings import read_tokens
from streamasr.serving.streams import ClientStream

from .conftest import running

START = json.dumps({"type": "start", "sample_rate": 16_000})
NAN = struct.pack("<4f", 0.0, float("nan"), 0.0, 0.0)


def conversation(address: str, messages: list) -> tuple[list, int]:
    """Send ``messages``; return what came back, and the code that the server closed with."""
    answers = []
    with connect(address) as socket:
        with suppress(ConnectionClosed):
            for message in messages:
                socket.send(message)
        while True:
            try:
                answers.append(socket.recv(timeout=5))
            except ConnectionClosed as closed:
                return answers, closed.rcvd.code if closed.rcvd else 1006


@pytest.mark.parametrize(
    ("messages", "code", "reason"),
    [
        (["{"], 1008, "one JSON object"),
        (["[1, 2]"], 1008, "one JSON object"),
        (['"' + "[" * 50_000], 1008, "one JSON object"),
        (['{"type": "hello"}'], 1008, "must be a start: type"),
        (['{"type": "start", "sample_rate": 7}'], 1008, "sample_rate"),
        ([b"\0\0"], 1008, "must be a start"),
        ([START, b"\0\0\0"], 1008, "3 bytes are no 16-bit samples"),
        ([START, "eof"], 1008, "one JSON object"),
        ([START, START], 1008, "binary messages"),
        ([START.replace("}", ', "format": "pcm_f32le"}'), NAN], 1008, "sample 1 "),
        ([START, b"\0" * 300_000], 1009, ""),
        (['{"type": "start", "' + "ü" * 100 + '": 1}'], 1008, "Extra inputs"),
        (['{"type": "start", "\\ud800": 1}'], 1008, "must be a start"),
        ([START, *[b"\0" * 160_000] * 5], 1008, "a stream may be 20 s long"),
    ],
)
def test_a_mistake_closes_the_stream_with_a_reason(tiny_served, messages, code, reason):
    with connect(tiny_served.ws + "/v1/stream") as other:
        other.send(START)
        other.send(b"\0\0" * 1600)
        answers, closed = conversation(tiny_served.ws + "/v1/stream", messages)
        assert closed == code
        if reason:
            assert reason in json.loads(answers[-1])["message"]
        other.send(b"\0\0" * 1600)
        other.send('{"type": "end"}')
        assert json.loads([*other][-1]) == {"type": "done"}
    tiny_served.wait_until_empty()


def test_a_frame_of_100_mb_is_refused_before_it_is_sent(tiny_served):
    with connect(tiny_served.ws + "/v1/stream") as socket:
        socket.send(START)
        header = b"\x82\xff" + (100_000_000).to_bytes(8, "big") + b"mask"
        socket.socket.sendall(header + b"\0" * 1000)
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=5)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009
    tiny_served.wait_until_empty()


@pytest.mark.parametrize("messages", [[], [START], [START, b"\0\0" * 1600]])
def test_a_silent_client_is_let_go(tiny_served, messages):
    answers, closed = conversation(tiny_served.ws + "/v1/stream", messages)
    assert closed == 1008
    assert "no audio for 3 s" in json.loads(answers[-1])["message"]
    tiny_served.wait_until_empty()


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        (["{}"], "a text message is"),
        (['{"config": {"sample_rate": "many"}}'], "config: sample_rate"),
        ([b"\0" * 3], "no 16-bit samples"),
        ([b"\0" * 2, '{"config": {"sample_rate": 7}}'], "config: sample_rate"),
        (['{"config": {"max_alternatives": -1}}'], "config: max_alternatives"),
        (['{"config": 1}'], "config: Input should be"),
    ],
)
def test_vosk_clients_are_told_what_was_wrong(tiny_served, messages, reason):
    answers, closed = conversation(tiny_served.ws, messages)
    assert closed == 1008
    assert reason in json.loads(answers[-1])["error"]
    tiny_served.wait_until_empty()


def test_no_more_streams_than_allowed(tiny_served):
    with ExitStack() as callers:
        for _ in range(4):
            socket = callers.enter_context(connect(tiny_served.ws + "/v1/stream"))
            socket.send(START)
            socket.send(b"\0\0" * 1600)
        while len(tiny_served.server.scheduler) < 4:
            time.sleep(0.01)
        answers, closed = conversation(tiny_served.ws + "/v1/stream", [START])
        assert closed == 1013
        assert "4 streams are open" in json.loads(answers[-1])["message"]
        assert httpx.get(tiny_served.http + "/readyz").status_code == 503
        upload = httpx.post(
            tiny_served.http + "/v1/audio/transcriptions", files={"file": ("a.wav", b"RIFF")}
        )
        assert upload.status_code == 503
    tiny_served.wait_until_empty()
    assert httpx.get(tiny_served.http + "/readyz").status_code == 200


def test_an_upload_is_bounded(tiny_served):
    def pieces():
        for _ in range(10):
            yield b"\0" * 100_000

    answer = httpx.post(
        tiny_served.http + "/v1/audio/transcriptions",
        content=pieces(),
        headers={"content-type": "multipart/form-data; boundary=x"},
    )
    assert answer.status_code in (400, 413)
    files = {"file": ("long.wav", b"\0" * 500_000)}
    answer = httpx.post(tiny_served.http + "/v1/audio/transcriptions", files=files)
    assert answer.status_code == 413
    assert "400000 bytes" in answer.json()["error"]["message"]
    tiny_served.wait_until_empty()


def test_callers_that_vanish_leave_nothing_behind(tiny_served):
    for number in range(200):
        with connect(tiny_served.ws + "/v1/stream") as socket:
            socket.send(START)
            socket.send(b"\1\0" * (1600 + number))
            if number % 2:
                socket.socket.shutdown(SHUT_RDWR)
        tiny_served.wait_until_empty()
    until = time.monotonic() + 5
    while left := left_behind():
        assert time.monotonic() < until, f"left behind: {left}"
        time.sleep(0.1)


def left_behind() -> list[str]:
    """Names only: a list of the objects would keep them."""
    gc.collect()
    # Not isinstance: there are objects that warn of any question.
    kinds = (ClientStream, StreamHandle, WebSocket)
    return [type(o).__name__ for o in gc.get_objects() if type(o) in kinds]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from(["/", "/v1/stream"]),
    first=st.sampled_from([START, '{"config": {"sample_rate": 16000}}', None]),
    messages=st.lists(
        st.one_of(
            st.binary(max_size=4000),
            st.text(max_size=50),
            st.recursive(
                st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=10),
                lambda inner: st.dictionaries(
                    st.sampled_from(["type", "config", "eof", "reset", "sample_rate", "x"]), inner
                ),
                max_leaves=5,
            ).map(json.dumps),
        ),
        max_size=6,
    ),
)
def test_any_messages_end_in_an_orderly_way(tiny_served, path, first, messages):
    _, closed = conversation(
        tiny_served.ws + path, [m for m in (first, *messages) if m is not None]
    )
    assert closed in (1000, 1008)
    tiny_served.wait_until_empty()


def test_only_those_who_show_a_token_come_in(tiny, tmp_path):
    (tmp_path / "tokens").write_text("sesame\nanother\n")
    tokens = ServeSettings(tokens=read_tokens(tmp_path / "tokens"))
    with running(tiny, tokens) as server:
        for shown in (None, "Bearer wrong", "Basic sesame", "sesame", "Bearer"):
            headers = {"authorization": shown} if shown else {}
            for path in ("/v1/models", "/metrics", "/docs", "/openapi.json"):
                assert httpx.get(server.http + path, headers=headers).status_code == 401, shown
            for path in ("/", "/v1/stream"):
                with pytest.raises(InvalidStatus, match="403"):
                    connect(server.ws + path, additional_headers=headers)
        for path in ("/", "/healthz", "/page/app.js"):
            assert httpx.get(server.http + path).status_code == 200
        shown = {"authorization": "Bearer another"}
        assert httpx.get(server.http + "/v1/models", headers=shown).status_code == 200
        with connect(server.ws + "/v1/stream", additional_headers=shown):
            pass
        protocols = ["streamasr", "bearer.sesame"]
        with connect(server.ws + "/v1/stream", subprotocols=protocols) as socket:
            assert socket.subprotocol == "streamasr"


def test_pages_of_others_may_not_connect(tiny):
    with running(tiny, ServeSettings(origins=frozenset({"https://friend.example"}))) as server:
        for origin in (
            "https://evil.example",
            "null",
            "https://127.0.0.1.evil.example",
            "http://[",
        ):
            with pytest.raises(InvalidStatus, match="403"):
                connect(server.ws + "/v1/stream", origin=origin)
        for origin in ("https://friend.example", server.http, None):
            with connect(server.ws + "/v1/stream", origin=origin):
                pass
