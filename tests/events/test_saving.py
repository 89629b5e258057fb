"""What is final is on disk, in every format, whenever the program dies."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import wave
from pathlib import Path

import numpy as np
import pytest

from streamasr.errors import OutputError
from streamasr.events import Event
from streamasr.events.saving import SAVED, open_saver
from streamasr.events.writers import WRITERS
from streamasr.transcript import Transcript, Word


@pytest.fixture
def saving():
    """Begin a file and close it when all is over."""
    with contextlib.ExitStack() as stack:
        yield lambda path: stack.enter_context(open_saver(path))


def segment(number: int, text: str, start: float) -> Event:
    words = tuple(
        Word(t, start + 0.3 * i, start + 0.3 * i + 0.25, 0.9) for i, t in enumerate(text.split())
    )
    return Event("final", number, start, words[-1].end, words)


EVENTS = [
    segment(0, "for a full hour he had paced up and down waiting but he could wait no longer", 1),
    Event("partial", 1, 8, 8.5, (Word("never", 8, 8.5, 0.5),)),
    Event("final", 1, 8, 8),
    Event("gap", 2, 9, 11.0, reason="overflow"),
    segment(2, "stuff it into you", 12),
]


@pytest.mark.parametrize("form", [f for f in SAVED if f != "wav"])
@pytest.mark.smoke
def test_every_final_is_on_disk_at_once(saving, tmp_path: Path, form):
    path = tmp_path / f"talk.{form}"
    saver = saving(path)
    sizes = [path.stat().st_size]
    for event in EVENTS:
        saver.write(event)
        sizes.append(path.stat().st_size)
    # Nothing is closed: this is what a SIGKILL leaves.
    grown = [after > before for before, after in itertools.pairwise(sizes)]
    assert grown == [True, False, False, True, True] or form == "json"
    text = path.read_text()
    assert "never" not in text
    # Subtitles break lines.
    assert "stuff it into you" in text
    assert "no longer" in " ".join(text.split())


def test_subtitles_are_those_of_the_writer(saving, tmp_path: Path):
    path = tmp_path / "talk.srt"
    saver = saving(path)
    for event in EVENTS:
        saver.write(event)
    words = [
        w
        for e in EVENTS
        if e.type != "partial"
        for w in (
            e.words
            or [Word("[2.0 s of audio lost: too slow to keep up]", 9, 11.0, 0.0)]
            * (e.type == "gap")
        )
    ]
    expected = WRITERS["srt"].render(Transcript(tuple(words), 13), source="")
    # One by one, a last cue may stay until its shortest time; the texts and numbers are the same.
    times = re.compile(r"\d\d:\d\d:\d\d,\d{3} --> \d\d:\d\d:\d\d,\d{3}")
    assert times.sub("", path.read_text()) == times.sub("", expected)
    assert path.read_text().startswith("1\n00:00:01,000 --> ")


def test_webvtt_has_one_header(saving, tmp_path: Path):
    path = tmp_path / "talk.vtt"
    saver = saving(path)
    assert path.read_text() == "WEBVTT\n"
    for event in EVENTS:
        saver.write(event)
    text = path.read_text()
    assert text.count("WEBVTT") == 1
    assert text.count("\n\n") == text.count(" --> ")


def test_json_is_whole_after_each_event(saving, tmp_path: Path):
    path = tmp_path / "talk.json"
    saver = saving(path)
    lengths = [len(json.loads(path.read_text())["segments"])]
    for event in EVENTS:
        saver.write(event)
        lengths.append(len(json.loads(path.read_text())["segments"]))
    assert lengths == sorted(lengths)
    document = json.loads(path.read_text())
    words = [w["word"] for s in document["segments"] for w in s["words"]]
    assert document["text"].split() == words
    assert document["gaps"] == [{"start": 9, "end": 11.0, "reason": "overflow"}]
    assert [s["id"] for s in document["segments"]] == list(range(lengths[-1]))
    assert document["duration"] == pytest.approx(EVENTS[-1].end, abs=1e-3)


def test_a_recording_is_valid_before_it_is_closed(saving, tmp_path: Path):
    path = tmp_path / "talk.wav"
    saver = saving(path)
    samples = np.array([0.5, -0.5, 1.5, -1.5], np.float32)
    saver.write_audio(samples)
    saver.write_audio(samples, lost_seconds=1.5)
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16_000, 1, 2)
        pcm = np.frombuffer(file.readframes(10**6), "<i2")
    assert len(pcm) == 8 + 24_000
    assert pcm[:4].tolist() == [16384, -16384, 32767, -32768]
    assert not pcm[4:24_004].any()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("talk.doc", r"must end in one of \.txt, \.srt"),
        ("there.txt", "exists: choose another name"),
        ("no/folder.txt", "cannot write .*there is no folder"),
    ],
)
def test_what_cannot_be_saved_is_said_at_once(tmp_path: Path, name, message):
    (tmp_path / "there.txt").write_text("precious")
    with pytest.raises(OutputError, match=message):
        open_saver(tmp_path / name)
    assert (tmp_path / "there.txt").read_text() == "precious"
