"""Subtitles as others read them: the srt and webvtt-py libraries, and FFmpeg."""

from __future__ import annotations

import datetime
from pathlib import Path

import av
import pytest
import srt
import webvtt
from hypothesis import given
from hypothesis import strategies as st

from streamasr import Transcript, Word
from streamasr.events.cues import layout_cues
from streamasr.events.writers import WRITERS

TEXTS = st.text(st.characters(codec="utf-8", categories=("L", "N", "P")), min_size=1, max_size=12)


@st.composite
def transcripts(draw) -> Transcript:
    words, now = [], 0.0
    for text in draw(st.lists(TEXTS, min_size=1, max_size=40)):
        start = now + draw(st.floats(0, 2))
        now = start + draw(st.floats(0.04, 1))
        words.append(Word(text, start, now, 0.5))
    return Transcript(tuple(words), now)


def milliseconds(delta: datetime.timedelta) -> int:
    return round(delta.total_seconds() * 1000)


@given(transcript=transcripts())
def test_srt_reads_what_was_written(transcript):
    cues = layout_cues(transcript.as_tokens())
    read = list(srt.parse(WRITERS["srt"].render(transcript, source="a.wav")))
    assert [cue.index for cue in read] == list(range(1, len(cues) + 1))
    for cue, found in zip(cues, read, strict=True):
        assert milliseconds(found.start) == round(cue.start * 1000)
        assert milliseconds(found.end) == round(cue.end * 1000)
        assert found.content == "\n".join(cue.lines)


@given(transcript=transcripts())
def test_webvtt_reads_what_was_written(transcript, tmp_path_factory):
    import html

    cues = layout_cues(transcript.as_tokens())
    text = WRITERS["vtt"].render(transcript, source="a.wav")
    read = webvtt.from_string(text)
    assert len(read) == len(cues)
    for cue, found in zip(cues, read, strict=True):
        assert round(found.start_in_seconds) == pytest.approx(cue.start, abs=1)
        assert found.start.endswith(f".{round(cue.start * 1000) % 1000:03d}")
        assert found.end.endswith(f".{round(cue.end * 1000) % 1000:03d}")
        assert html.unescape(found.raw_text) == "\n".join(cue.lines)


@pytest.mark.parametrize("form", ["srt", "vtt"])
def test_ffmpeg_reads_what_was_written(recognizer, samples_folder: Path, tmp_path: Path, form):
    transcript = recognizer.transcribe(samples_folder / "jfk.flac")
    path = tmp_path / f"jfk.{form}"
    path.write_text(WRITERS[form].render(transcript, source="jfk.flac"), encoding="utf-8")
    cues = layout_cues(transcript.as_tokens())
    assert cues
    with av.open(str(path)) as container:
        (stream,) = container.streams.subtitles
        packets = [packet for packet in container.demux(stream) if packet.size]
        assert len(packets) == len(cues)
        for cue, packet in zip(cues, packets, strict=True):
            assert float(packet.pts * stream.time_base) == pytest.approx(cue.start, abs=1e-6)
            assert float(packet.duration * stream.time_base) == pytest.approx(
                cue.end - cue.start, abs=1e-6
            )
            assert bytes(packet).decode().replace("\r", "") == "\n".join(cue.lines)


def test_cues_are_readable(recognizer, samples_folder: Path):
    for name in ("jfk.flac", "dinner.flac"):
        transcript = recognizer.transcribe(samples_folder / name)
        for cue in srt.parse(WRITERS["srt"].render(transcript, source=name)):
            assert len(cue.content.splitlines()) <= 2
            assert all(len(line) <= 42 for line in cue.content.splitlines())
            assert (cue.end - cue.start).total_seconds() <= 7
