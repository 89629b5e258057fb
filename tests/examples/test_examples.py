"""Every example does what its first line says, run as a user runs it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from streamasr import Recognizer, Transcript

from ..serving.conftest import Running, running

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
SAMPLE = ROOT / "samples" / "waiting.flac"


def run(name: str, *arguments: object) -> str:
    """Return what the example prints."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "error::DeprecationWarning", EXAMPLES / f"{name}.py"]
    done = subprocess.run(
        [*command, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def transcript(recognizer: Recognizer) -> Transcript:
    return recognizer.transcribe(SAMPLE)


@pytest.fixture(scope="module")
def expected(transcript: Transcript) -> str:
    return transcript.text


@pytest.fixture(scope="module")
def server(recognizer: Recognizer):
    with running(recognizer) as found:
        yield found


def test_transcribe_file(transcript, expected):
    *words, text = run("transcribe_file", SAMPLE).splitlines()
    assert text == expected
    assert [line.split()[-1] for line in words] == [word.text for word in transcript.words]


def test_live():
    lines = run("live", SAMPLE).splitlines()
    kinds = [line.split()[0] for line in lines]
    assert kinds[-1] == "final"
    assert "partial" in kinds
    assert "full hour" in lines[-1]


def test_arrays(recognizer):
    # Without a pause: at one, a stream with partials may keep words that a file does not.
    path = SAMPLE.with_name("amiable.flac")
    expected = recognizer.transcribe(path).text
    whole, *partials, text = run("arrays", path).splitlines()
    assert whole == expected
    assert text == expected
    assert any("even" in line for line in partials)


def test_hotwords():
    assert "hour" in run("hotwords", SAMPLE, "full hour", "Villefort")


def test_batch(tmp_path, expected):
    shutil.copy(SAMPLE, tmp_path / "one.flac")
    (tmp_path / "two.flac").write_bytes(b"fLaC, but no more")
    first, second = run("batch", tmp_path / "one.flac", tmp_path / "two.flac").splitlines()
    assert first.endswith(f"{len(expected.split())} words")
    assert second.startswith("failed: ")
    assert (tmp_path / "one.txt").read_text() == expected + "\n"


def test_websocket_client(server: Running):
    lines = run("websocket_client", server.ws, SAMPLE).splitlines()
    assert lines[-1].startswith("final ")
    assert "full hour" in lines[-1]


def test_openai_client(server: Running, expected):
    assert run("openai_client", server.http, SAMPLE).strip() == expected


def test_profile_step():
    lines = run("profile_step").splitlines()
    assert [line.split()[0] for line in lines] == ["torch", "cpu"]
    assert all(float(line.split()[-1]) < 1e-3 for line in lines)


def test_each_has_a_test_and_is_short():
    names = {path.stem for path in EXAMPLES.glob("*.py")}
    assert {f"test_{name}" for name in names} <= set(globals())
    for path in EXAMPLES.glob("*.py"):
        assert len(path.read_text().splitlines()) < 40
