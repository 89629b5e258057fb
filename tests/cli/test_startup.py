"""What is slow to import waits until it is used: help, mistakes and plain values come at once."""

from __future__ import annotations

import subprocess
import sys

import pytest

import streamasr
from streamasr import cli

SLOW = {"av", "jiwer", "langcodes", "numba", "numpy", "soundfile", "soxr", "torch", "torchaudio"}
COMMANDS = sorted(c.name or c.callback.__name__ for c in cli.app.registered_commands)
REPORT = f"""
import sys
print("imported:", *sorted({SLOW!r} & sys.modules.keys()))
"""


def output_of(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code + REPORT], capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.mark.smoke
@pytest.mark.parametrize(
    "code", ["import streamasr", "import streamasr.cli", "import streamasr as s; s.Event; s.Word"]
)
def test_importing_is_light(code):
    assert output_of(code) == "imported:\n"


@pytest.mark.smoke
def test_the_options_of_every_command_are_shown_without_its_libraries():
    helps = output_of(
        "from streamasr.cli import app\n"
        "for command in app.registered_commands:\n"
        "    name = command.name or command.callback.__name__.replace('_', '-')\n"
        "    app([name, '--help'], standalone_mode=False)"
    )
    assert helps.splitlines()[-1] == "imported:"
    assert helps.count("Usage: ") == len(COMMANDS)
    assert {"adapt", "enroll", "mic", "serve", "transcribe"} <= set(COMMANDS)


def test_every_public_name_is_there_and_listed():
    assert set(streamasr.__all__) <= set(dir(streamasr))
    for name in streamasr.__all__:
        assert getattr(streamasr, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'Recogniser'"):
        _ = streamasr.Recogniser
