"""Stdout and stderr that are full, closed, left by their reader, or no UTF-8."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from streamasr.cli import console

pytestmark = pytest.mark.skipif(os.name != "posix", reason="a POSIX shell")

FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
TRANSCRIBE = ["", "--stdout", "--format json"]


@pytest.fixture
def shell(tiny_folder: Path, samples_folder: Path):
    """Run a line of shell in which $RUN is the command and $FILE a recording."""

    def call(line: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
        env = {
            **os.environ,
            "RUN": f"{sys.executable} -m streamasr",
            "MODEL": str(tiny_folder),
            "FILE": str(samples_folder / "belly.flac"),
            **environment,
        }
        env.pop("PYTHONUNBUFFERED", None)
        return subprocess.run(line, shell=True, capture_output=True, env=env, check=False)

    return call


@FULL
@pytest.mark.parametrize(
    "command",
    [*(f"transcribe -q --model $MODEL {option} $FILE $FILE" for option in TRANSCRIBE), "--version"],
)
def test_a_full_disk_behind_stdout_is_one_line(shell, command):
    done = shell(f"$RUN {command} >/dev/full")
    assert done.returncode == 1
    assert done.stderr == (b"streamasr: error: stdout cannot be written: no space left on device\n")


@pytest.mark.parametrize("option", TRANSCRIBE)
def test_a_closed_stdout_is_one_line(shell, option):
    done = shell(f"$RUN transcribe -q --model $MODEL {option} $FILE $FILE >&-")
    assert done.returncode == 1
    assert done.stderr.startswith(b"streamasr: error: stdout is closed: ")
    assert done.stderr.count(b"\n") == 1


def test_a_closed_stdout_is_no_matter_where_files_are_written(shell, tmp_path: Path):
    done = shell(f"$RUN transcribe --model $MODEL -o {tmp_path} $FILE >&-")
    assert done.returncode == 0
    assert (tmp_path / "belly.txt").stat().st_size > 10


@pytest.mark.parametrize("target", [pytest.param("/dev/full", marks=FULL), "&-"])
def test_a_stderr_that_takes_nothing_costs_no_transcript(shell, tiny, samples_folder, target):
    done = shell(f"$RUN transcribe --model $MODEL $FILE none.wav 2>{target}")
    assert done.returncode == 1
    assert done.stdout.decode() == tiny.transcribe(samples_folder / "belly.flac").text + "\n"
    assert done.stderr == b""


@pytest.mark.parametrize("option", TRANSCRIBE)
def test_a_reader_that_left_is_told_nothing(shell, option):
    line = f"($RUN transcribe -q --model $MODEL {option} $FILE $FILE; echo $? >&2) | true"
    assert shell(line).stderr in (b"1\n", b"0\n")  # 0 where a pipe took all before


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "utf-8", "utf-16"])
def test_json_is_json_in_any_encoding(shell, samples_folder: Path, tmp_path: Path, encoding):
    name = "Łódź 東京 café 🎙.flac"
    (tmp_path / name).write_bytes((samples_folder / "belly.flac").read_bytes())
    done = shell(
        f"cd {tmp_path} && $RUN transcribe -q --model $MODEL --format json *.flac",
        PYTHONIOENCODING=encoding,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout.decode(encoding))["source"] == name


def test_a_line_feed_in_a_name_makes_no_second_line(transcribe, tmp_path: Path):
    path = tmp_path / "a\nb.flac"
    path.write_bytes(b"no sound")
    done = transcribe("-q", "-o", tmp_path / "out", path)
    assert done.code == 1
    assert done.err.count("\n") == 1


def test_a_name_is_no_markup(run, tiny_folder, samples_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(console, "stderr", Console(stderr=True, force_terminal=True, width=200))
    path = tmp_path / "[red]x.flac"
    path.write_bytes((samples_folder / "belly.flac").read_bytes())
    assert "[red]x.flac" in run("transcribe", "--model", tiny_folder, path).err
    manifest = tmp_path / "list.tsv"
    manifest.write_text("path\tspeaker\ttranscript\n[red]x.flac\t[/red]\thello\n")
    assert "[/red]" in run("evaluate", "--model", tiny_folder, manifest).out
