"""``streamasr mic`` as a user meets it, with a microphone that plays a recording."""

from __future__ import annotations

import io
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import jsonschema
import numpy as np
import pytest
from rich.console import Console
from rich.text import Text

from streamasr.audio.live import Block
from streamasr.audio.microphone import DeviceChange
from streamasr.cli import console
from streamasr.cli.live_view import LiveView
from streamasr.cli.mic import _Session
from streamasr.errors import AudioError
from streamasr.events import Event, event_schema
from streamasr.transcript import Word

RATE = 16_000


class FakeMicrophone:
    """Hears ``audio`` and then is stopped, as by Ctrl-C."""

    audio = np.zeros(0, np.float32)
    gap = 0.0

    def __init__(self, device, *, notify) -> None:
        if device == "nobody":
            raise AudioError("no input device is called 'nobody': there are 0 'pulse'")
        self.device = SimpleNamespace(name="Desk", sample_rate=48_000)
        self.notify = notify

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def stop(self):
        pass

    def blocks(self):
        for piece in np.array_split(self.audio, 60):
            yield Block(piece, time.monotonic())
        if self.gap:
            self.notify(DeviceChange("Desk", present=False))
            yield Block(self.audio[:0], time.monotonic(), 0.0, "device")
            self.notify(DeviceChange("Desk", present=True))
            yield Block(self.audio[:800], time.monotonic(), self.gap, "device")


@pytest.fixture
def mic(run, tiny_folder: Path, speech, monkeypatch):
    """Call ``streamasr mic`` with the tiny model; it hears an utterance twice."""
    silence = np.zeros(2 * RATE, np.float32)
    audio = np.concatenate([speech, silence, speech, silence])
    monkeypatch.setattr(FakeMicrophone, "audio", audio)
    monkeypatch.setattr("streamasr.audio.microphone.Microphone", FakeMicrophone)
    return lambda *arguments: run("mic", "--model", tiny_folder, *arguments)


def test_each_segment_is_a_line_where_there_is_no_terminal(mic):
    done = mic()
    assert done.code == 130
    lines = done.out.splitlines()
    assert len(lines) == 2
    assert all(lines)
    assert "\x1b" not in done.out + done.err
    first, last = done.err.splitlines()
    assert first == "listening to Desk at 48000 Hz, the model loads; Ctrl-C ends"
    assert last.startswith("0:15 of audio, ")
    assert "words in 2 segments, RTF 0." in last


def test_events_are_lines_of_json(mic):
    events = [json.loads(line) for line in mic("--jsonl", "--quiet").out.splitlines()]
    assert [e["segment"] for e in events if e["type"] == "final"] == [0, 1]
    assert sum(e["type"] == "partial" for e in events) >= 5
    for event in events:
        jsonschema.validate(event, event_schema())


def test_files_are_written_beside_stdout(mic, tmp_path: Path):
    paths = [tmp_path / f"talk.{form}" for form in ("txt", "srt", "vtt", "tsv", "json", "wav")]
    done = mic("--quiet", *(part for path in paths for part in ("--save", path)))
    assert done.err == ""
    assert paths[0].read_text() == done.out
    assert json.loads(paths[4].read_text())["text"] == " ".join(done.out.split())
    assert paths[5].stat().st_size == 44 + 2 * len(FakeMicrophone.audio)
    assert all(path.stat().st_size > 100 for path in paths)


def test_lost_audio_stands_in_the_transcript_and_in_the_summary(mic, monkeypatch):
    monkeypatch.setattr(FakeMicrophone, "gap", 3.5)
    done = mic()
    assert done.out.splitlines()[2] == "[3.5 s of audio lost: the microphone was gone]"
    assert "Desk is gone: waiting for it" in done.err
    assert "Desk is back" in done.err
    assert done.err.splitlines()[-1].endswith("3.5 s of audio lost")


def test_longer_silence_makes_fewer_segments(mic):
    assert len(mic("--silence", "3").out.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--device", "nobody"), "no input device is called 'nobody'"),
        (("--save", "talk.doc"), "talk.doc: the name must end in one of .txt"),
        (("--save", "/"), "the name must end in"),
    ],
)
def test_a_mistake_is_one_line(mic, arguments, message):
    done = mic(*arguments)
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert "Traceback" not in done.err
    assert done.err.splitlines()[-1].startswith("streamasr: error: ")


def test_a_model_that_cannot_be_loaded_leaves_no_file(mic, tmp_path: Path):
    done = mic("--model", tmp_path / "absent", "--save", tmp_path / "talk.txt")
    assert done.code == 2
    assert not (tmp_path / "talk.txt").exists()


def test_a_file_that_is_there_is_not_touched(mic, tmp_path: Path):
    path = tmp_path / "talk.txt"
    path.write_text("precious")
    assert mic("--save", path).code == 2
    assert path.read_text() == "precious"


def test_the_terminal_shows_finals_as_lines_and_nothing_else_stays(mic, monkeypatch):
    screen = io.StringIO()
    terminal = Console(file=screen, force_terminal=True, width=200, legacy_windows=False)
    monkeypatch.setattr(console, "stdout", lambda: terminal)
    plain = mic("--quiet").out.splitlines()
    assert mic().code == 130
    shown = screen.getvalue()
    assert all(line in shown for line in plain)
    assert "cpu, greedy" in shown
    assert shown.endswith("\x1b[?25h") or "\x1b[?25h" in shown[-40:]


def event(kind, text: str) -> Event:
    words = tuple(Word(t, i, i + 0.5, 0.9) for i, t in enumerate(text.split()))
    return Event(kind, 0, 0.0, 1.0, words, 412.4)


def drawn(view: LiveView, terminal: Console) -> list[str]:
    with terminal.capture() as capture:
        terminal.print(view.render(64.2, 0.21))
    return capture.get().splitlines()


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize("colour", ["standard", None])
def test_nothing_is_wider_than_the_terminal(width, colour):
    terminal = Console(
        file=io.StringIO(), width=width, height=24, force_terminal=bool(colour), color_system=colour
    )
    view = LiveView(terminal, "triton-graph, beam")
    view.show(event("partial", "for a full hour he had paced up and down waiting " * 12))
    lines = drawn(view, terminal)
    plain = [Text.from_ansi(line).plain for line in lines]
    assert max(map(len, plain)) <= width
    assert (plain != lines) == bool(colour)
    assert len(plain) <= 5
    assert plain[-2].endswith("waiting")
    assert "1:04 · latency 412 ms" in plain[-1]


def test_words_that_may_still_change_are_dim():
    terminal = Console(file=io.StringIO(), width=80, force_terminal=True, color_system="standard")
    view = LiveView(terminal)
    view.show(event("partial", "for a fool"))
    assert drawn(view, terminal)[0] == "\x1b[2mfor a fool\x1b[0m"
    view.show(replace(event("partial", "for a full hour"), firm=2))
    assert drawn(view, terminal)[0] == "for a \x1b[2mfull hour\x1b[0m"
    view.show(replace(event("partial", "for a full hour"), firm=4))
    assert drawn(view, terminal)[0] == "for a full hour"


def test_the_meter_says_when_something_is_wrong_with_the_level():
    view = LiveView(Console(file=io.StringIO(), width=80))
    speech = (0.1 * np.random.default_rng(0).standard_normal(RATE)).astype(np.float32)
    view.meter.update(speech)
    assert view.meter.hint == ""
    assert -15 < view.meter.level < -5
    assert view.meter.bar().startswith("█████")
    view.meter.update(np.zeros(4 * RATE, np.float32))
    assert view.meter.hint == "silent: is it muted?"
    assert view.meter.bar() == "░" * 10
    view.meter.update(np.ones(100, np.float32))
    assert view.meter.hint == "clipping: turn it down"
    for _ in range(8):
        view.meter.update(speech[: RATE // 2])
    assert view.meter.hint == ""


@pytest.mark.parametrize("name", ["Desk", "Rabbit", "back"])
def test_a_microphone_is_told_to_be_gone_for_as_long_as_it_is(name):
    terminal = Console(file=io.StringIO(), width=80)
    session = _Session(jsonl=False, quiet=False)
    session._view = view = LiveView(terminal)
    session.notify(DeviceChange(name, present=False))
    assert f"{name} is gone: waiting for it" in drawn(view, terminal)[-1]
    session.notify(DeviceChange(name, present=True))
    assert name not in drawn(view, terminal)[-1]


def test_what_c_libraries_print_stays_off_the_screen(capfd):
    from streamasr.cli.mic import quiet_libraries

    with quiet_libraries():
        os.write(2, b"ALSA lib pcm.c:2721: Unknown PCM\n")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"
