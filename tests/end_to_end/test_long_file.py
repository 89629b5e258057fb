"""An hour in one file takes no more memory than five minutes."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from streamasr.api import Recognizer
from streamasr.audio import open_audio
from streamasr.samples import rechunk

HOURS = 1


def resident_megabytes() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux: reads /proc")
def test_memory_is_flat_from_minute_five_on(recognizer: Recognizer, speech, tmp_path: Path):
    path = tmp_path / "long.wav"
    with soundfile.SoundFile(path, "w", 16_000, 1, "PCM_16") as file:
        loop = np.tile(speech, 20)
        while file.frames < HOURS * 3600 * 16_000:
            file.write(loop)
    stream = recognizer.stream()
    levels: list[float] = []
    with open_audio(path) as audio:
        for chunk in rechunk(audio.blocks(), 16_000):
            stream.accept(chunk)
            if stream.state.samples % (60 * 16_000) < 16_000:
                levels.append(resident_megabytes())
    transcript = stream.finish()
    assert transcript.duration >= HOURS * 3600
    assert len(levels) >= HOURS * 60
    assert max(levels[5:]) - levels[5] < 50
    # The carried state must not drift into silence, or into babble.
    words = np.histogram([w.start for w in transcript.words], bins=24)[0]
    assert words.min() > 0.7 * words.max()
