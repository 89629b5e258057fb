"""Slips of the pen are one line each, before a model is loaded or a microphone opened."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest


@pytest.fixture
def unloaded(run, monkeypatch, tmp_path: Path, samples_folder: Path):
    """Call a command in a folder of its own; it fails if it goes as far as to load a model."""

    def refuse(*_arguments, **_options):
        raise AssertionError("too late")

    monkeypatch.setattr("streamasr.api.load_bundle", refuse)
    monkeypatch.setattr("streamasr.tuning.run.load_rescorer", refuse)
    monkeypatch.setattr("streamasr.audio.microphone.Microphone", refuse)
    monkeypatch.setattr("streamasr.jobs.local.LocalPool", refuse)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.flac").write_bytes((samples_folder / "belly.flac").read_bytes())
    (tmp_path / "model").mkdir()
    (tmp_path / "good.tsv").write_text("path\ttranscript\ngood.flac\thello\n")
    (tmp_path / "gone.tsv").write_text("path\ttranscript\ngone.flac\thello\n")
    (tmp_path / "some.tsv").write_text(
        "path\ttranscript\ngood.flac\ta\n1.flac\tb\n2.flac\tc\n1.flac\td\n"
    )
    (tmp_path / "heavy.txt").write_text("hello\t100\n")
    (tmp_path / "plain.txt").write_text("hello\n")
    (tmp_path / "there.txt").touch()
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    return run


ONE = {
    "transcribe, a name": (1, "transcribe gone.flac", "gone.flac: no such file"),
    "transcribe, names": (1, "transcribe --workers 2 gone.flac", "gone.flac: no such file"),
    "transcribe, an address": (
        1,
        "transcribe http://x/a.mp3",
        "is an address, not a file",
    ),
    "transcribe, a pattern": (1, "transcribe *.mp3", "*.mp3: matches no file"),
    "transcribe, a folder": (1, "transcribe model", "model: a folder without recordings"),
    "transcribe, nothing": (1, ["transcribe", ""], "an empty file name"),
    "transcribe, a list": (1, "transcribe gone.tsv", "gone.flac: no such file"),
    "transcribe, a model": (2, "transcribe --model none good.flac", "none: no such model folder"),
    "transcribe, hotwords": (2, "transcribe --hotwords none good.flac", "none: cannot be read"),
    "transcribe, a weight": (
        2,
        "transcribe --hotwords heavy.txt good.flac",
        "heavy.txt:1: 'hel",
    ),
    "transcribe, output": (2, "transcribe -o good.flac good.flac", "good.flac: cannot be made"),
    "evaluate, a list": (2, "evaluate none.tsv", "none.tsv: cannot be read"),
    "evaluate, a recording": (2, "evaluate gone.tsv", "gone.flac: no such file"),
    "evaluate, a model": (2, "evaluate --model none good.tsv", "none: no such model folder"),
    "evaluate, hotwords": (2, "evaluate --hotwords none good.tsv", "none: cannot be read"),
    "tune, a recording": (2, "tune --model model gone.tsv", "gone.flac: no such file"),
    "tune, a model": (2, "tune --model none good.tsv", "none: no such model folder"),
    "mic, a model": (2, "mic --model none", "none: no such model folder"),
    "mic, hotwords": (2, "mic --hotwords none", "none: cannot be read"),
    "mic, a format": (2, "mic --save a.doc", "a.doc: the name must end in one of"),
    "mic, a file": (2, "mic --save there.txt", "there.txt exists"),
    "mic, a file's folder": (2, "mic --save none/a.txt", "there is no folder none"),
    "serve, a model": (2, "serve --port 0 --model none", "none: no such model folder"),
    "serve, hotwords": (2, "serve --port 0 --hotwords none", "none: cannot be read"),
    "serve, a host": (2, "serve --port 0 --host 192.0.2.1", "192.0.2.1:0 cannot be listened on"),
    "serve, tokens": (2, "serve --port 0 --token-file none", "none"),
    "serve, a key": (
        2,
        "serve --port 0 --tls-key good.tsv --tls-certificate good.tsv",
        "not a certificate and its key",
    ),
    **{
        f"{command}, {option}": (2, f"{command} --model model {options}", message)
        for command in (
            "transcribe good.flac",
            "transcribe good.flac --workers 2",
            "evaluate good.tsv",
            "evaluate good.tsv --live",
            "mic",
            "serve --port 0",
        )
        for option, options, message in (
            ("triton", "--backend triton", "--backend triton needs an NVIDIA GPU, and PyTorch"),
            ("beam", "--decoder beam", "model/beam.json: missing"),
            ("hotwords, no beam", "--hotwords plain.txt", "model/beam.json: missing"),
        )
    },
    "transcribe, readings": (
        2,
        "transcribe --model model --nbest 2 good.flac",
        "model/beam.json: missing",
    ),
    "tune, no beam": (2, "tune --model model good.tsv", "model/graph.safetensors: "),
    "train, a recipe": (2, "train none.toml", "none.toml: cannot be read"),
}


@pytest.mark.parametrize(("code", "line", "message"), ONE.values(), ids=ONE.keys())
def test_a_slip_is_one_line_before_anything_is_loaded(unloaded, code, line, message):
    done = unloaded(*(line.split() if isinstance(line, str) else line))
    assert (done.code, done.out) == (code, "")
    (said,) = done.err.splitlines()
    assert said.startswith("streamasr: error: ")
    assert message in said


@pytest.mark.parametrize("command", ["evaluate", "evaluate --live", "tune --model model"])
def test_all_missing_recordings_are_named_at_once(unloaded, command):
    done = unloaded(*command.split(), "some.tsv")
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines() == [
        f"streamasr: error: {name}.flac: no such file" for name in (1, 2)
    ]


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
@pytest.mark.parametrize("option", ["mic --silence", "mic --longest", "profile --seconds"])
def test_a_number_of_seconds_is_finite(unloaded, option, value):
    done = unloaded(*option.split(), value)
    assert done.code == 2
    assert "Invalid value" in done.err


def test_a_port_that_is_taken_is_one_line(unloaded):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = unloaded("serve", "--port", port)
    assert done.code == 2
    assert f"127.0.0.1:{port} cannot be listened on" in done.err


def test_hotwords_that_were_folded_are_named(transcribe, samples_folder: Path, tmp_path: Path):
    path = tmp_path / "names.txt"
    names = ["José", "O’Brien", "plain", *(f"Zürich {letter}" for letter in "abcdef")]
    path.write_text("\n".join(names), encoding="utf-8")
    note, error = transcribe("--hotwords", path, samples_folder / "belly.flac").err.splitlines()
    assert "'José' is matched as 'jose'; 'O’Brien' is matched as \"o'brien\"; " in note
    assert note.endswith("; and 3 more")
    assert "plain" not in note.split(":", 1)[1]
    assert "beam.json" in error
    assert len(transcribe("-q", "--hotwords", path, path).err.splitlines()) == 1


def test_what_is_there_is_done_beside_what_is_not(transcribe, tiny, samples_folder: Path):
    good = samples_folder / "belly.flac"
    for options in ((), ("--stdout",)):
        done = transcribe(*options, "gone.flac", good, "*.none", "ftp://x/y.wav")
        assert done.code == 1
        assert done.out == tiny.transcribe(good).text + "\n"
        errors = [line for line in done.err.splitlines() if "error" in line]
        assert len(errors) == 3
        assert done.err.splitlines()[:3] == errors, "told before anything is loaded"
