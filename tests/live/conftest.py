"""A sound system without hardware: PulseAudio with a null sink whose monitor is the microphone."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PROGRAMS = ("pulseaudio", "pactl", "paplay")
REQUIRED = "STREAMASR_REQUIRE_SOUND"
"""Set in CI, where these tests must run."""


def missing() -> str:
    """Return what is missing for a sound system, or nothing."""
    for program in PROGRAMS:
        if shutil.which(program) is None:
            return f"{program}: apt install pulseaudio pulseaudio-utils"
    if not any(Path("/usr/lib").glob("*/alsa-lib/libasound_module_pcm_pulse.so")):
        return "ALSA's PulseAudio plugin: apt install libasound2-plugins"
    try:
        import sounddevice  # noqa: F401
    except (ImportError, OSError) as error:
        return f"sounddevice and PortAudio ({error}): apt install libportaudio2"
    return ""


@dataclass
class SoundServer:
    """A running PulseAudio, in a folder of its own; ``environment`` leads programs to it."""

    environment: dict[str, str]

    def pactl(self, *arguments: object) -> str:
        return subprocess.run(
            ["pactl", *map(str, arguments)],
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
        ).stdout.strip()

    def plug_in(self, rate: int = 48_000, channels: int = 2) -> str:
        """Load a null sink; return the module, which is the microphone's cable."""
        return self.pactl(
            "load-module",
            "module-null-sink",
            "sink_name=cable",
            f"rate={rate}",
            f"channels={channels}",
        )

    def unplug(self, module: str) -> None:
        self.pactl("unload-module", module)

    def play(self, path: Path) -> None:
        """Play a recording to its end."""
        subprocess.run(["paplay", path], env=self.environment, check=True, timeout=60)


@pytest.fixture(scope="session")
def sound_server() -> Iterator[SoundServer]:
    if lacking := missing():
        assert not os.environ.get(REQUIRED), f"{REQUIRED} is set, but there is no {lacking}"
        pytest.skip(f"needs {lacking}")
    # A socket's path must be short.
    with tempfile.TemporaryDirectory(prefix="pulse") as folder:
        environment = {
            **os.environ,
            "HOME": folder,
            "XDG_RUNTIME_DIR": folder,
            "PULSE_RUNTIME_PATH": f"{folder}/pulse",
        }
        environment.pop("PULSE_SERVER", None)
        command = ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1"]
        with subprocess.Popen(
            [*command, "--load=module-native-protocol-unix"],
            env=environment,
            stderr=subprocess.DEVNULL,
        ) as process:
            server = SoundServer(environment)
            try:
                _wait(lambda: _answers(server), 20, "PulseAudio does not answer")
                yield server
            finally:
                process.terminate()


def _answers(server: SoundServer) -> bool:
    try:
        return "Server Name" in server.pactl("info")
    except subprocess.SubprocessError:
        return False


def _wait(condition: Callable[[], bool], seconds: float, otherwise: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.05)


wait = _wait
