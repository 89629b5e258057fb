"""``streamasr enroll`` as a user meets it, and what it leaves for ``streamasr adapt``."""

from __future__ import annotations

import builtins
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from streamasr.audio.live import Block
from streamasr.enrollment import sentences
from streamasr.manifest import read_manifest

RATE = 16_000


class FakeMicrophone:
    """Somebody who says the same for every sentence, too quietly the ``quiet`` first times."""

    audio = np.zeros(0, np.float32)
    quiet = 0
    takes = 1000

    def __init__(self, _device) -> None:
        self.device = SimpleNamespace(name="Desk", sample_rate=48_000)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def blocks(self):
        for take in range(self.takes):
            audio = self.audio * (0.01 if take < self.quiet else 1)
            for piece in np.array_split(audio, 60):
                yield Block(piece.astype(np.float32), time.monotonic())
        raise KeyboardInterrupt


@pytest.fixture
def microphone(speech, monkeypatch) -> type[FakeMicrophone]:
    audio = np.concatenate([speech, np.zeros(2 * RATE, np.float32)])
    monkeypatch.setattr(FakeMicrophone, "audio", audio)
    monkeypatch.setattr("streamasr.audio.microphone.Microphone", FakeMicrophone)
    return FakeMicrophone


def test_sentences_are_recorded_one_by_one(run, microphone, tmp_path: Path):
    done = run("enroll", tmp_path / "mine", "-n", 3, "--speaker", "anna")
    assert (done.code, done.out) == (0, "")
    rows = read_manifest(tmp_path / "mine" / "manifest.tsv")
    assert [row.transcript for row in rows] == sentences()[:3]
    assert [row.path.name for row in rows] == ["001.wav", "002.wav", "003.wav"]
    assert {row.speaker for row in rows} == {"anna"}
    for row in rows:
        assert soundfile.info(row.path).duration == pytest.approx(row.duration, abs=0.01)
        assert row.duration > 4
        assert row.transcript in done.err
    assert f"streamasr adapt {tmp_path / 'mine' / 'manifest.tsv'} -o my-model" in done.err


def test_an_interrupted_enrolment_goes_on(run, microphone, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(FakeMicrophone, "takes", 2)
    assert run("enroll", tmp_path / "mine", "-n", 4).code == 130
    assert len(read_manifest(tmp_path / "mine" / "manifest.tsv")) == 2
    done = run("enroll", tmp_path / "mine", "-n", 4)
    assert done.code == 0
    assert f"1/2  {sentences()[2]}" in done.err
    rows = read_manifest(tmp_path / "mine" / "manifest.tsv")
    assert [row.transcript for row in rows] == sentences()[:4]
    assert len({row.path for row in rows}) == 4


def test_a_bad_take_is_recorded_again_and_given_up_at_last(
    run, microphone, tmp_path: Path, monkeypatch
):
    monkeypatch.setattr(FakeMicrophone, "quiet", 4)
    done = run("enroll", tmp_path / "mine", "-n", 2)
    assert done.err.count("too quiet: turn the microphone up") == 4
    rows = read_manifest(tmp_path / "mine" / "manifest.tsv")
    assert [row.transcript for row in rows] == [sentences()[1]]


def test_keys(run, microphone, tmp_path: Path, monkeypatch):
    """Record again, keep, skip, keep, quit."""
    keys = iter(["r", "", "s", "", "q"])
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr(builtins, "input", lambda _: next(keys))
    assert run("enroll", tmp_path / "mine", "-n", 5).code == 0
    rows = read_manifest(tmp_path / "mine" / "manifest.tsv")
    assert [row.transcript for row in rows] == [sentences()[0], sentences()[2]]


def test_from_a_folder_to_a_model(run, tiny_folder: Path, samples_folder: Path, tmp_path: Path):
    """Recordings with and without transcripts become a manifest, and that a model."""
    talks = tmp_path / "talks"
    talks.mkdir()
    speech, _ = soundfile.read(samples_folder / "waiting.flac")
    for number in range(6):
        path = talks / f"{number}.wav"
        soundfile.write(path, speech[number * RATE // 3 :][: 2 * RATE], RATE)
        if number != 2:
            path.with_suffix(".txt").write_text("For a full hour")
    (talks / "broken.wav").write_bytes(b"nothing")
    done = run("enroll", tmp_path / "mine", "--from", talks)
    assert done.code == 1
    assert "5 with transcript" in done.err
    assert "1 without transcript, which adapt will transcribe" in done.err
    assert "broken.wav" in done.err
    manifest = tmp_path / "mine" / "manifest.tsv"
    done = run(
        *("adapt", manifest, "-o", tmp_path / "model", "--model", tiny_folder),
        *("--trust-transcripts", "--epochs", 1, "--device", "cpu"),
    )
    assert done.code == 0
    assert (tmp_path / "model" / "model.safetensors").is_file()


def test_a_mistake_is_one_line(run, tmp_path: Path):
    done = run("enroll", tmp_path / "mine", "--from", tmp_path / "absent")
    assert (done.code, done.out) == (2, "")
    assert done.err == f"streamasr: error: {tmp_path / 'absent'}: no such folder\n"
    assert not (tmp_path / "mine").exists()
