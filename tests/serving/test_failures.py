"""What fails, is too slow, or leaves: everybody is told, and the server goes on."""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from types import SimpleNamespace

import httpx
import numpy as np
import openai
import pytest
import soundfile
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from streamasr.events import Event
from streamasr.serving import ServeSettings
from streamasr.serving.metrics import Metrics
from streamasr.serving.scheduler import Scheduler
from streamasr.serving.sockets import Server, send
from streamasr.serving.streams import MAX_EVENTS, ClientStream, SlowConsumer

from .conftest import Running, running

START = json.dumps({"type": "start"})


def wav_of(samples: np.ndarray) -> io.BytesIO:
    found = io.BytesIO()
    soundfile.write(found, samples, 16_000, format="wav", subtype="PCM_16")
    found.name = "talk.wav"
    found.seek(0)
    return found


def last_words(socket: ClientConnection) -> tuple[dict, int]:
    """Return the last message, and the code that the server closed with."""
    answer = {}
    with suppress(ConnectionClosed):
        while True:
            answer = json.loads(socket.recv(timeout=10))
    assert socket.close_code is not None
    return answer, socket.close_code


@contextmanager
def talking(server: Running, path: str, speech: np.ndarray) -> Iterator[ClientConnection]:
    """Open a stream and say a little, until it is heard."""
    with connect(server.ws + path) as socket:
        if path == "/v1/stream":
            socket.send(START)
        socket.send((speech[:48_000] * 32767).astype("<i2").tobytes())
        socket.recv(timeout=20)
        yield socket


def test_when_a_search_fails_its_caller_is_told_and_the_others_go_on(
    tiny, samples_folder, speech, monkeypatch, caplog
):
    def fail(_heard: object) -> None:
        raise MemoryError("none left")

    expected = tiny.transcribe(samples_folder / "waiting.flac").text
    with (
        running(tiny) as server,
        ThreadPoolExecutor(2) as pool,
        openai.OpenAI(api_key="none", base_url=f"{server.http}/v1", max_retries=0) as client,
        talking(server, "/v1/stream", speech) as own,
        talking(server, "/", speech) as vosk,
    ):
        ask = partial(client.audio.transcriptions.create, model="any")
        long = np.tile(speech, 200)
        upload = pool.submit(ask, file=wav_of(long))
        stream = iter(ask(file=wav_of(long), stream=True))
        assert next(stream).type == "transcript.text.delta"
        while len(server.server.scheduler) < 4:
            time.sleep(0.01)
        victims = [*server.server.scheduler._streams.values()]
        with talking(server, "/v1/stream", speech) as bystander:
            for victim in victims:
                monkeypatch.setattr(victim._session, "decode", fail)
            for caller in (own, vosk, bystander):
                caller.send((speech[48_000:] * 32767).astype("<i2").tobytes())
            answer, code = last_words(own)
            assert (answer["type"], code) == ("error", 1011)
            assert "recognition failed" in answer["message"]
            answer, code = last_words(vosk)
            assert code == 1011
            assert "recognition failed" in answer["error"]
            with pytest.raises(openai.InternalServerError, match="recognition failed"):
                upload.result(timeout=10)
            with pytest.raises(openai.APIError, match="recognition failed"):
                list(stream)
            bystander.send('{"type": "end"}')
            assert last_words(bystander) == ({"type": "done"}, 1000)
        server.wait_until_empty()
        assert httpx.get(server.http + "/healthz").status_code == 200
        assert ask(file=wav_of(speech)).text == expected
        found = httpx.get(server.http + "/metrics").text
        assert 'streamasr_errors_total{reason="internal"} 4.0' in found
    assert [str(record.exc_info[1]) for record in caplog.records if record.exc_info] == [
        "none left"
    ] * 4


def test_a_server_whose_model_has_stopped_says_so(tiny):
    with running(tiny) as server:
        assert httpx.get(server.http + "/healthz").status_code == 200
        server.server.scheduler.close()
        answer = httpx.get(server.http + "/healthz")
        assert answer.status_code == 503
        assert "restart the server" in answer.json()["status"]


def test_a_recording_whose_sender_has_left_is_heard_no_further(served, speech):
    """It takes seconds to transcribe; nobody waits for it after half of one."""
    body = wav_of(np.tile(speech, 100))
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(served.http + "/v1/audio/transcriptions", files={"file": body}, timeout=0.5)
    began = time.monotonic()
    served.wait_until_empty(60)
    assert time.monotonic() - began < 3


@pytest.mark.parametrize("stream", ["false", "true"])
def test_a_caller_is_missed_even_where_there_is_nothing_to_tell(served, stream):
    """Half an hour of silence gives no words in which to notice that nobody waits for them."""
    silence = io.BytesIO()
    soundfile.write(silence, np.zeros(30 * 60 * 16_000, np.int16), 16_000, format="flac")
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            served.http + "/v1/audio/transcriptions",
            files={"file": silence.getvalue()},
            data={"stream": stream},
            timeout=1.5,
        )
    assert len(served.server.scheduler) == 1
    began = time.monotonic()
    served.wait_until_empty(60)
    assert time.monotonic() - began < 3


def test_events_whose_reader_has_left_are_made_no_longer(served, speech):
    body = wav_of(np.tile(speech, 100))
    with httpx.stream(
        "POST",
        served.http + "/v1/audio/transcriptions",
        files={"file": body},
        data={"stream": "true"},
    ) as answer:
        next(answer.iter_lines())
    began = time.monotonic()
    served.wait_until_empty(60)
    assert time.monotonic() - began < 3


def test_metrics_count_what_was_served(tiny, speech):
    with running(tiny) as server:
        with talking(server, "/v1/stream", speech) as socket:
            assert "streamasr_streams 1.0" in httpx.get(server.http + "/metrics").text
            socket.send('{"type": "end"}')
            last_words(socket)
        httpx.post(server.http + "/v1/audio/transcriptions", files={"file": wav_of(speech)})
        lines = httpx.get(server.http + "/metrics").text.splitlines()
        values = {
            name: float(value)
            for name, _, value in (
                line.rpartition(" ") for line in lines if not line.startswith("#")
            )
        }
        assert values["streamasr_streams"] == values["streamasr_waiting_seconds"] == 0
        assert values['streamasr_opened_total{protocol="events"}'] == 1
        assert values['streamasr_opened_total{protocol="upload"}'] == 1
        heard = 3 + len(speech) / 16_000
        assert values["streamasr_audio_seconds_total"] == pytest.approx(heard, abs=0.1)
        assert values["streamasr_tick_seconds_count"] > 0
        assert values['streamasr_latency_seconds_count{type="final"}'] > 0
        assert values["streamasr_upload_rtf_count"] == 1


def test_who_does_not_read_is_let_go(tiny):
    async def never(_message: str) -> None:
        await asyncio.Event().wait()

    scheduler = Scheduler(tiny, Metrics())
    server = Server(scheduler, ServeSettings(idle_seconds=0.05))
    try:
        with pytest.raises(SlowConsumer, match=r"nothing was read for 0\.05 s"):
            asyncio.run(send(SimpleNamespace(send_text=never), server, "{}"))  # type: ignore[arg-type]
    finally:
        scheduler.close()


def test_what_nobody_reads_does_not_pile_up(tiny):
    async def run() -> None:
        stream = ClientStream(scheduler, ServeSettings(), live=True)
        for number in range(10 * MAX_EVENTS):
            stream._take([Event("partial", 0, 0.0, number)])
        assert len(stream.take_events()) == 1
        for number in range(MAX_EVENTS + 1):
            stream._take([Event("final", number, 0.0, 1.0)])
        assert len(scheduler) == 0
        with pytest.raises(SlowConsumer):
            await stream.accept(np.zeros(10, np.float32))

    scheduler = Scheduler(tiny, Metrics())
    try:
        asyncio.run(run())
    finally:
        scheduler.close()
