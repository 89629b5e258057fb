"""``streamasr enroll`` and ``adapt`` through a real sound system: a recording played into it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import soundfile

from streamasr.enrollment import sentences
from streamasr.manifest import read_manifest

from .conftest import SoundServer

RATE = 16_000


def test_a_played_voice_is_enrolled_and_adapted_to(
    sound_server: SoundServer, speech, tiny_folder: Path, tmp_path: Path
):
    cable = sound_server.plug_in()
    played = tmp_path / "played.wav"
    soundfile.write(played, np.concatenate([speech[: 4 * RATE], np.zeros(3 * RATE)]), RATE)
    command = [sys.executable, "-m", "streamasr"]
    environment = {**sound_server.environment, "OMP_NUM_THREADS": "1"}
    folder = tmp_path / "mine"
    try:
        with subprocess.Popen(
            [*command, "enroll", str(folder), "-n", "5", "--hands-free"],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            deadline = time.monotonic() + 150
            while process.poll() is None and time.monotonic() < deadline:
                sound_server.play(played)
            assert process.poll() == 0, process.kill() or process.stderr.read()
    finally:
        sound_server.unplug(cable)
    rows = read_manifest(folder / "manifest.tsv")
    assert [row.transcript for row in rows] == sentences()[:5]
    # A take whose sentence was shown late, on a busy machine, lacks the first words.
    assert all(1 < row.duration < 6 for row in rows), [row.duration for row in rows]
    assert max(row.duration for row in rows) > 2.5
    done = subprocess.run(
        [
            *(*command, "adapt", str(folder / "manifest.tsv"), "-o", str(tmp_path / "model")),
            *("--model", str(tiny_folder), "--trust-transcripts", "--epochs", "1"),
        ],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "model" / "model.safetensors").is_file()
