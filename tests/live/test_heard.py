"""``streamasr mic`` heard through a real sound system, from PulseAudio to the last event."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import soundfile

from streamasr.events import event_schema

from .conftest import SoundServer, wait

RATE = 16_000


class Session:
    """A running ``streamasr mic --jsonl``, and what it has said so far."""

    def __init__(self, server: SoundServer, folder: Path, *arguments: object) -> None:
        self.recording = folder / "heard.wav"
        command = [sys.executable, "-m", "streamasr", "mic", "--jsonl", "--save", self.recording]
        self.process = subprocess.Popen(
            [*map(str, command), *map(str, arguments)],
            env={**server.environment, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []
        self.notes: list[str] = []
        self._readers = [
            threading.Thread(target=self._read, args=(self.process.stdout, self.lines)),
            threading.Thread(target=self._read, args=(self.process.stderr, self.notes)),
        ]
        for reader in self._readers:
            reader.start()

    @staticmethod
    def _read(pipe, lines: list[str]) -> None:
        for line in pipe:
            lines.append(line)

    @property
    def heard_seconds(self) -> float:
        return self.recording.stat().st_size / 2 / RATE if self.recording.exists() else 0.0

    def events(self, *types: str) -> list[dict]:
        found = [json.loads(line) for line in list(self.lines)]
        return [event for event in found if event["type"] in types]

    def listens(self, seconds: float = 0.7) -> None:
        """Wait until sound arrives: what is played before that is lost to any program."""
        before = self.heard_seconds
        wait(
            lambda: self.heard_seconds > before + seconds or self.process.poll() is not None,
            60,
            f"nothing is heard: {self.notes}",
        )
        assert self.process.poll() is None, self.notes

    def says(self, count: int, *types: str, seconds: float = 20) -> None:
        """Wait for so many events of some types."""
        wait(lambda: len(self.events(*types)) >= count, seconds, f"only {self.lines} {self.notes}")

    def end(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        code = self.process.wait(timeout=60)
        for reader in self._readers:
            reader.join(timeout=20)
        return code

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(timeout=20)
        for reader in self._readers:
            reader.join(timeout=20)
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()


@pytest.fixture
def start(sound_server: SoundServer, tmp_path: Path) -> Iterator[Callable[..., Session]]:
    sessions: list[Session] = []

    def call(*arguments: object) -> Session:
        sessions.append(Session(sound_server, tmp_path, *arguments))
        return sessions[-1]

    yield call
    for session in sessions:
        session.close()


@pytest.fixture
def cable(sound_server: SoundServer) -> Iterator[str]:
    """A null sink that the default source listens to; unplugged afterwards, if it still is in."""
    module = sound_server.plug_in()
    yield module
    if module in [line.split()[0] for line in sound_server.pactl("list", "short").splitlines()]:
        sound_server.unplug(module)


def words_of(events: list[dict]) -> str:
    return " ".join(event["text"] for event in events)


@pytest.mark.parametrize(
    ("rate", "channels", "device"),
    [(16_000, 1, ("--device", "0")), (48_000, 2, ("--device", "pul"))],
    ids=["16 kHz mono, by index", "48 kHz stereo, by name"],
)
def test_the_words_are_those_of_transcribe(
    sound_server, start, said, recognizer, rate, channels, device
):
    module = sound_server.plug_in(rate, channels)
    try:
        session = start(*device)
        session.listens()
        sound_server.play(said)
        session.says(1, "final")
        assert session.end() == 130
    finally:
        sound_server.unplug(module)
    finals = session.events("final")
    assert words_of(finals) == recognizer.transcribe(said).text
    # What the microphone heard was saved, and says the very same words again.
    heard, saved_rate = soundfile.read(session.recording, dtype="float32")
    assert saved_rate == RATE
    again = recognizer.listen(np.array_split(heard, len(heard) // 800))
    assert [e.text for e in again if e.type == "final"] == [e["text"] for e in finals]
    schema = event_schema()
    for line in session.lines:
        jsonschema.validate(json.loads(line), schema)
    partials = session.events("partial")
    assert len(partials) >= 5
    assert all(0 <= e["latency_ms"] < 5_000 for e in session.events("partial", "final"))
    assert "words in 1 segment" in session.notes[-1]
    # The recording of the session is what was played, at the place where the words stand.
    begins = int(finals[0]["start"] * RATE)
    assert np.abs(heard[begins : begins + 4 * RATE]).max() > 0.1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_a_signal_in_mid_sentence_flushes_the_last_words(
    sound_server, start, cable, said, tmp_path, number
):
    subtitles, text = tmp_path / "talk.srt", tmp_path / "talk.txt"
    session = start("--save", subtitles, "--save", text)
    session.listens()
    with subprocess.Popen(["paplay", said], env=sound_server.environment) as player:
        session.says(4, "partial")
        assert session.end(number) == 130
        player.terminate()
    finals = session.events("final")
    shown = session.events("partial")[-1]["text"].split()
    assert len(finals) == 1
    assert finals[0]["text"].split()[: len(shown) - 2] == shown[: len(shown) - 2]
    assert text.read_text() == finals[0]["text"] + "\n"
    assert subtitles.read_text().startswith("1\n00:00:")


def test_what_was_final_survives_sigkill(sound_server, start, cable, said, tmp_path):
    text, document = tmp_path / "talk.txt", tmp_path / "talk.json"
    session = start("--save", text, "--save", document)
    session.listens()
    sound_server.play(said)
    session.says(1, "final")
    time.sleep(0.2)
    assert session.end(signal.SIGKILL) == -signal.SIGKILL
    words = words_of(session.events("final"))
    assert text.read_text() == words + "\n"
    assert json.loads(document.read_text())["text"] == words
    heard, rate = soundfile.read(session.recording)
    assert len(heard) / rate > 4.5


def test_a_device_that_vanishes_is_waited_for(sound_server, start, said, tmp_path):
    module = sound_server.plug_in()
    text = tmp_path / "talk.txt"
    session = start("--save", text)
    session.listens()
    sound_server.play(said)
    sound_server.unplug(module)
    session.says(1, "final")  # what was said before is final at once
    wait(lambda: any("is gone" in n for n in session.notes), 10, f"{session.notes}")
    time.sleep(1)
    assert session.process.poll() is None
    module = sound_server.plug_in()
    try:
        session.listens()
        sound_server.play(said)
        session.says(2, "final")
        assert session.end() == 130
    finally:
        sound_server.unplug(module)
    kinds = [event["type"] for event in session.events("final", "gap")]
    assert kinds == ["final", "gap", "final"]
    gap = session.events("gap")[0]
    assert gap["reason"] == "device"
    assert 1 < gap["end"] - gap["start"] < 30
    assert any("is back" in note for note in session.notes)
    assert "s of audio lost: the microphone was gone]" in text.read_text().splitlines()[1]
    assert session.heard_seconds >= gap["end"]


def test_a_process_that_is_held_up_loses_nothing(sound_server, start, cable, said, recognizer):
    session = start()
    session.listens()
    with subprocess.Popen(["paplay", said], env=sound_server.environment) as player:
        session.says(2, "partial")
        session.process.send_signal(signal.SIGSTOP)
        time.sleep(4)
        session.process.send_signal(signal.SIGCONT)
        assert player.wait(timeout=30) == 0
    session.says(1, "final")
    assert session.end() == 130
    assert session.events("gap") == []
    assert words_of(session.events("final")) == recognizer.transcribe(said).text


def test_devices_are_listed(sound_server, cable):
    done = subprocess.run(
        [sys.executable, "-m", "streamasr", "devices"],
        env=sound_server.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "pulse" in done.stdout
    assert done.stdout.count("*") == 1
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("device", "message"),
    [("97", "no input device 97: there are 0 'pulse'"), ("nobody", "is called 'nobody'")],
)
def test_a_device_that_is_not_there_is_one_line(sound_server, cable, device, message):
    done = subprocess.run(
        [sys.executable, "-m", "streamasr", "mic", "--device", device],
        env=sound_server.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_no_sound_server_is_one_line(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "streamasr", "mic"],
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path), "PULSE_SERVER": "unix:/nowhere"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("streamasr: error: ")
