"""Recordings that are there already, with whatever says what is said in them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from streamasr.enrollment.imports import Cue, import_recordings, read_cues
from streamasr.enrollment.session import Session
from streamasr.errors import ConfigError
from streamasr.manifest import read_manifest

RATE = 16_000
SRT = """1
00:00:01,000 --> 00:00:02,500
<i>Good</i> morning.

2
00:00:03,000 --> 00:00:04,000
How are
you?
"""


def sound(path: Path, seconds: float = 5.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(round(seconds * RATE)) / RATE
    soundfile.write(path, 0.1 * np.sin(time * 440 * (1 + time)), RATE)
    return path


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    root = tmp_path / "recordings"
    sound(root / "alone.wav", 1)
    sound(root / "beside.flac", 2).with_suffix(".txt").write_text("Hello\nthere.\n")
    sound(root / "talk" / "film.wav").with_suffix(".srt").write_text(SRT.replace("\n", "\r\n"))
    sound(root / "listed.wav", 1.5)
    (root / "table.csv").write_text('file_name,text\nlisted.wav,"Well, well"\nabsent.wav,x\n')
    (root / ".hidden.wav").write_bytes(b"")
    (root / "broken.wav").write_bytes(b"RIFFnothing")
    (root / "other.csv").write_text("a,b\n1,2\n")
    return root


def test_each_way_to_say_what_was_said(recordings: Path, tmp_path: Path):
    problems: list[str] = []
    session = Session(tmp_path / "mine", "anna")
    counts = import_recordings(recordings, session, problems.append)
    assert counts == {"transcribed": 2, "cues": 2, "untranscribed": 1, "known": 0}
    assert len(problems) == 2
    assert "absent.wav: in a table, but there is no such recording" in problems[0]
    assert "broken.wav" in problems[1]
    rows = read_manifest(session.manifest)
    assert {row.speaker for row in rows} == {"anna"}
    assert {(row.path.name, row.transcript, round(row.duration, 2)) for row in rows} == {
        ("alone.wav", "", 1.0),
        ("beside.flac", "Hello there.", 2.0),
        ("listed.wav", "Well, well", 1.5),
        ("talk-film-0001.wav", "Good morning.", 1.5),
        ("talk-film-0002.wav", "How are you?", 1.0),
    }
    whole, _ = soundfile.read(recordings / "talk" / "film.wav", dtype="int16")
    part, _ = soundfile.read(tmp_path / "mine" / "talk-film-0002.wav", dtype="int16")
    assert np.abs(part - whole[3 * RATE : 4 * RATE]).max() <= 1
    assert sum(row.path.is_relative_to(recordings) for row in rows) == 3


def test_a_second_time_there_is_nothing_new(recordings: Path, tmp_path: Path):
    import_recordings(recordings, Session(tmp_path / "mine", "anna"))
    before = (tmp_path / "mine" / "manifest.tsv").read_text()
    counts = import_recordings(recordings, Session(tmp_path / "mine", "anna"))
    assert counts == {"transcribed": 0, "cues": 0, "untranscribed": 0, "known": 5}
    assert (tmp_path / "mine" / "manifest.tsv").read_text() == before


def test_a_manifest_is_a_table(tmp_path: Path):
    root = tmp_path / "old"
    sound(root / "a.wav", 1)
    (root / "manifest.tsv").write_text('path\tduration_s\ttranscript\na.wav\t1\tA "B" C\n')
    session = Session(tmp_path / "mine", "")
    assert import_recordings(root, session)["transcribed"] == 1
    assert session.rows[0].transcript == 'A "B" C'


def test_cues_of_both_kinds(tmp_path: Path):
    path = tmp_path / "x.vtt"
    path.write_text("WEBVTT\n\nNOTE a comment\n\n1:02:03.500 --> 1:02:04.000 align:start\nYes\n")
    assert read_cues(path) == [Cue(3723.5, 3724.0, "Yes")]
    path.write_text(SRT)
    assert read_cues(path) == [Cue(1, 2.5, "Good morning."), Cue(3, 4, "How are you?")]
    path.write_text("WEBVTT\n")
    with pytest.raises(ConfigError, match="no cue with times and text"):
        read_cues(path)


def test_what_is_no_folder_of_recordings_is_said(tmp_path: Path):
    session = Session(tmp_path / "mine", "")
    with pytest.raises(ConfigError, match="absent: no such folder"):
        import_recordings(tmp_path / "absent", session)
    with pytest.raises(ConfigError, match="there is no recording in it"):
        import_recordings(tmp_path, session)
