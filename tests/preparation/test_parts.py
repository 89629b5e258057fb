"""Parts of recordings, against slices of all their samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from streamasr.errors import AudioError, OutputError
from streamasr.preparation.parts import PartNames, cut, write_flac

RATE = 16_000


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    path = tmp_path_factory.mktemp("parts") / "long.wav"
    samples = (np.random.default_rng(3).integers(-9_000, 9_000, 50_001) / 32768).astype(np.float32)
    soundfile.write(path, samples, RATE)
    return path, samples


@given(
    spans=st.lists(
        st.tuples(st.floats(0, 3.5), st.floats(0, 2) | st.just(float("inf"))), max_size=6
    )
)
def test_parts_are_slices(recording, spans):
    path, samples = recording
    wanted = sorted((start, start + length) for start, length in spans)
    found = list(cut(path, wanted))
    assert len(found) == len(wanted)
    for part, (start, end) in zip(found, wanted, strict=True):
        last = len(samples) if end == float("inf") else round(end * RATE)
        assert np.array_equal(part, samples[round(start * RATE) : last])


def test_parts_before_damage_are_kept(recording, tmp_path: Path):
    path, samples = recording
    short = tmp_path / "short.wav"
    short.write_bytes(path.read_bytes()[:-40_000])  # 1.9 of 3.1 s are left
    parts = cut(short, [(0.5, 1.0), (1.0, 2.5), (2.5, 3.0)])
    assert np.array_equal(next(parts), samples[8_000:16_000])
    with pytest.raises(AudioError, match="damaged or cut short"):
        next(parts)


def test_names_are_those_of_the_data_set_and_all_different(tmp_path: Path):
    names, talk = PartNames(tmp_path), Path("in/talk.wav")
    given = [("a/b 1", 0.0), ("a-b-1", 0.0), ("A-B-1", 0.0), ("", 12.5), ("", 12.5), ("..", 0.0)]
    assert [names(talk, name, start).name for name, start in given] == [
        "a-b-1.flac",
        "a-b-1-2.flac",
        "A-B-1-3.flac",
        "talk-000012.50.flac",
        "talk-000012.50-2.flac",
        "part.flac",
    ]


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path):
    (tmp_path / "parts").write_text("a file")
    with pytest.raises(OutputError, match="cannot be written"):
        write_flac(tmp_path / "parts" / "a.flac", np.zeros(10, np.float32))
