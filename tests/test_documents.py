"""The documents are right: their Python runs, what they name exists, their links lead on."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import typer
from typer.testing import CliRunner

import streamasr
from streamasr import Recognizer
from streamasr.audio import open_audio
from streamasr.audio.live import Block
from streamasr.cli import app

from .conftest import REPOSITORY
from .serving.conftest import Running, running

DOCUMENTS = [
    *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((REPOSITORY / "docs").glob("*.md")),
]
SAMPLE = REPOSITORY / "samples" / "waiting.flac"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def fenced(path: Path, language: str) -> list[str]:
    return [text for found, text in FENCE.findall(path.read_text("utf-8")) if found == language]


def prose(path: Path) -> str:
    return FENCE.sub("", path.read_text("utf-8"))


@pytest.fixture(scope="module")
def server(recognizer: Recognizer):
    with running(recognizer) as found:
        yield found


class RecordedMicrophone:
    """The sample, as a microphone gives it."""

    def __init__(self, device: int | str | None = None) -> None:
        assert device is None

    def __enter__(self) -> RecordedMicrophone:
        return self

    def __exit__(self, *_: object) -> None: ...

    def blocks(self) -> Iterator[Block]:
        with open_audio(SAMPLE) as audio:
            for number, samples in enumerate(audio.blocks()):
                yield Block(samples, float(number))


@pytest.mark.parametrize("name", ["README.md", "docs/guide.md"])
def test_python_runs(name, server: Running, recognizer, tmp_path, monkeypatch, capsys):
    with open_audio(SAMPLE) as audio:
        samples = np.concatenate([*audio.blocks()])
    for file in ("talk.wav", "talk.mp3"):
        soundfile.write(tmp_path / file, samples, 16_000)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("streamasr.audio.microphone.Microphone", RecordedMicrophone)
    blocks = fenced(REPOSITORY / name, "python")
    assert blocks
    for block in blocks:
        code = block.replace("http://127.0.0.1:2700", server.http)
        code = code.replace("48_000", "16_000").replace('open("talk.mp3", "rb")', "recording")
        with (tmp_path / "talk.mp3").open("rb") as recording:
            exec(compile(code, name, "exec"), {"samples": samples, "recording": recording})
        printed = capsys.readouterr().out
        assert "could wait no longer" in " ".join(printed.split())


def test_python_of_the_text_layer_runs():
    (block, *_) = fenced(REPOSITORY / "docs/text.md", "python")
    space: dict[str, object] = {}
    *_, call, expected = block.strip().splitlines()
    exec(block, space)
    assert str(eval(call, space)) == expected.removeprefix("# ")


def commands() -> Iterator[tuple[str, list[str]]]:
    for path in DOCUMENTS:
        if path.name == "experiments.md":  # a diary, of commands as they were
            continue
        for text in [*fenced(path, ""), *re.findall(r"`([^`\n]+)`", prose(path))]:
            for line in text.replace("\\\n", " ").splitlines():
                words = line.removeprefix("$ ").partition("  #")[0]
                if re.match(r"streamasr [a-z]", words):
                    yield f"{path.name}: {line}", shlex.split(words.replace("…", ""))[1:]


def test_commands_exist():
    """Every `streamasr …` of the documents names a command and options that there are."""
    group = typer.main.get_command(app)
    count = 0
    for place, (name, *rest) in commands():
        command = group.commands.get(name)  # type: ignore[attr-defined]
        assert command, place
        if hasattr(command, "commands") and rest:
            command = command.commands[rest.pop(0)]
        options = {text for p in command.params for text in (*p.opts, *p.secondary_opts)}
        for word in rest:
            if re.match(r"--?[a-zA-Z]", word):
                assert word.partition("=")[0] in options, f"{place}: {word}"
        count += 1
    assert count > 50


def transcriptions() -> Iterator[tuple[str, str]]:
    """Yield the guide's calls of ``transcribe -q``, with what it says that they print."""
    for block in fenced(REPOSITORY / "docs/guide.md", ""):
        command, _, printed = block.partition("\n")
        if command.startswith("$ streamasr transcribe -q "):
            yield command, printed


@pytest.mark.parametrize(("command", "printed"), [*transcriptions()])
def test_the_guide_shows_what_is_printed(command, printed, tmp_path, monkeypatch):
    """Digits may differ: another machine's arithmetic, or a model that was trained on."""
    for path in (REPOSITORY / "samples").glob("*.flac"):
        shutil.copy(path, tmp_path)
    (tmp_path / "broken.mp3").write_text("no audio")
    monkeypatch.chdir(tmp_path)
    found = CliRunner().invoke(app, shlex.split(command)[2:])
    shown = printed.partition("…")[0]
    said = [line for line in shown.splitlines() if not line.startswith("streamasr: error")]
    assert found.exit_code == (len(said) != len(shown.splitlines()))
    digits = re.compile(r"\d")
    assert digits.sub("0", found.stdout).startswith(digits.sub("0", "\n".join(said)))


def anchors(path: Path) -> set[str]:
    heads = re.findall(r"^#+ (.+)$", FENCE.sub("", path.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(path)):
        if link.startswith(("http://", "https://")):
            continue
        file, _, anchor = link.partition("#")
        target = path.parent / file if file else path
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


@pytest.mark.parametrize("name", ["architecture.md", "guide.md"])
def test_files_exist(name):
    """Files and folders that a document names are there."""
    roots = [REPOSITORY / folder for folder in ("", "streamasr", "kernels/persistent_lstm")]
    text = prose(REPOSITORY / "docs" / name)
    named = set(re.findall(r"`([\w/]+(?:\.py|\.toml|\.schema\.json|/))(?:`|\s)", text))
    assert len(named) > 3
    missing = [found for found in named if not any((root / found).exists() for root in roots)]
    assert missing == []


def test_classes_exist():
    """Classes that the architecture's document names are defined in one of the packages."""
    text = prose(REPOSITORY / "docs/architecture.md")
    named = set(re.findall(r"`(?:[a-z]+\.)*([A-Z][a-z]\w+)[`.(]", text))
    sources = [*(REPOSITORY / "streamasr").rglob("*.py"), *(REPOSITORY / "kernels").rglob("*.py")]
    defined = "\n".join(path.read_text("utf-8") for path in sources)
    missing = [name for name in named if not re.search(rf"^(class )?{name}\b", defined, re.M)]
    assert len(named) > 20
    assert missing == []


def test_the_reference_has_all_that_is_exported():
    text = (REPOSITORY / "docs/api.md").read_text("utf-8")
    named = {name for found in re.findall(r"members: \[(.*)\]", text) for name in found.split(", ")}
    named |= {*streamasr.errors.__all__}
    assert {name for name in streamasr.__all__ if not name.startswith("__")} <= named


def test_lengths():
    """The README is read whole, and so are results."""
    assert len((REPOSITORY / "README.md").read_text("utf-8").splitlines()) <= 150
    assert len((REPOSITORY / "docs/results.md").read_text("utf-8").splitlines()) <= 120


def test_tables_are_those_of_the_benchmarks():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.report", "--check"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
