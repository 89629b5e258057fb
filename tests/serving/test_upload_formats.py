"""An upload is matched as the same file is by path."""

from __future__ import annotations

import logging

import httpx
import numpy as np
import pytest
import soundfile


@pytest.mark.parametrize("name", ["chain.opus", "joined.wav", "a.mp3"])
def test_an_upload_gives_the_text_and_times_of_the_file(tiny_served, tiny, tmp_path, speech, name):
    path = tmp_path / name
    opus = name.endswith("opus")
    kind = {"format": "OGG", "subtype": "OPUS"} if opus else {}
    soundfile.write(path, speech[:32_000], 16_000, **kind)
    if name != "a.mp3":
        path.write_bytes(path.read_bytes() * 2)
    by_path = tiny.transcribe(path)
    answer = httpx.post(
        tiny_served.http + "/v1/audio/transcriptions",
        files={"file": (name, path.read_bytes())},
        data={"response_format": "verbose_json", "timestamp_granularities[]": "word"},
    ).json()
    assert answer["text"] == by_path.text
    assert answer["duration"] == pytest.approx(by_path.duration, abs=1e-3)
    assert by_path.duration == pytest.approx(2.0 if name == "a.mp3" else 4.0, abs=0.05)
    times = [(word["start"], word["end"]) for word in answer["words"]]
    np.testing.assert_allclose(times, [(w.start, w.end) for w in by_path.words], atol=1e-3)


@pytest.mark.parametrize("stream", ["false", "true"])
def test_a_note_on_an_upload_is_logged(tiny_served, tmp_path, speech, caplog, stream):
    path = tmp_path / "inverted.flac"
    soundfile.write(path, np.stack([speech[:32_000], -speech[:32_000]], axis=1), 16_000)
    with caplog.at_level(logging.INFO, "streamasr.serving"):
        answer = httpx.post(
            tiny_served.http + "/v1/audio/transcriptions",
            files={"file": ("50%s.flac", path.read_bytes())},
            data={"stream": stream},
        )
    assert answer.status_code == 200
    assert "error" not in answer.text
    note = "50%s.flac: two channels cancel each other: using the left one"
    assert caplog.messages.count(note) == 1
