"""What ``transcribe`` and ``accept`` take: however the sound comes, the words are the same."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given
from hypothesis import strategies as st

from streamasr import AudioError, ConfigError, Listener

from .test_recognizer import pieces_of


@pytest.fixture(scope="session")
def at_44100(speech) -> np.ndarray:
    return soxr.resample(speech[:40_000], 16_000, 44_100)


class Pipe(io.RawIOBase):
    """A binary file that can be read once, and not sought in."""

    name = 7  # as a pipe's, a file descriptor

    def __init__(self, data: bytes) -> None:
        self._rest = io.BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        return self._rest.read(size)


def test_a_recording_is_a_path_a_file_or_bytes(tiny, samples_folder: Path):
    path = samples_folder / "waiting.flac"
    data = path.read_bytes()
    expected = tiny.transcribe(path)
    assert expected.words
    with path.open("rb") as file:
        assert tiny.transcribe(file) == expected
        assert not file.closed
    for source in (str(path), data, bytearray(data), memoryview(data), io.BytesIO(data)):
        assert tiny.transcribe(source) == expected
    assert tiny.transcribe(Pipe(data)) == expected  # type: ignore[arg-type]


def test_samples_are_what_a_recording_of_them_is(tiny, at_44100, tmp_path: Path):
    whole = np.round(at_44100 * 32767).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", whole, 44_100)
    expected = tiny.transcribe(tmp_path / "a.wav")
    assert expected.words
    assert tiny.transcribe(whole, sample_rate=44_100) == expected
    floats = (whole / np.float64(32768)).tolist()
    assert tiny.transcribe(floats, sample_rate=44_100) == expected


@pytest.mark.parametrize(
    ("source", "options", "error", "message"),
    [
        (np.zeros(100), {}, ConfigError, "samples need their sample_rate"),
        (np.zeros((2, 100)), {"sample_rate": 8_000}, AudioError, "must be mono"),
        (np.zeros(100), {"sample_rate": 0}, AudioError, "a sample rate of 0 Hz"),
        (np.zeros(100), {"sample_rate": -1}, AudioError, "a sample rate of -1 Hz"),
        ("talk.wav", {"sample_rate": 8_000}, ConfigError, "a recording states its own"),
        (b"no sound", {}, AudioError, "^the recording: "),
        (b"", {}, AudioError, "^the recording: is empty"),
        (io.StringIO("text"), {}, AudioError, "must be binary: open it with mode 'rb'"),
        (None, {"sample_rate": 8_000}, AudioError, "must be mono"),
        (np.zeros(100), {"sample_rate": 8_000, "track": 1}, ConfigError, "samples have none"),
        ("talk.wav", {}, AudioError, r"^talk\.wav: no such file"),
    ],
)
def test_what_is_no_recording_is_one_line(tiny, source, options, error, message):
    with pytest.raises(error, match=message) as caught:
        tiny.transcribe(source, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [tempfile.TemporaryFile, tempfile.SpooledTemporaryFile])
def test_a_temporary_file_that_is_open_as_text_is_one_line(tiny, kind):
    with kind(mode="w+") as file, pytest.raises(AudioError, match="must be binary"):
        tiny.transcribe(file)


def test_a_file_is_called_by_its_name(tiny, tmp_path: Path):
    path = tmp_path / "notes.txt"
    path.write_text("no sound")
    with path.open("rb") as file, pytest.raises(AudioError, match=f"^{path}: "):
        tiny.transcribe(file)


def test_a_track_is_chosen(tiny, samples_folder: Path):
    path = samples_folder / "waiting.flac"
    assert tiny.transcribe(path, track=1) == tiny.transcribe(path)
    with pytest.raises(AudioError, match=f"^{path}: .*track"):
        tiny.transcribe(path, track=2)


def heard(tiny, pieces: list[np.ndarray], rate: int) -> list[tuple[str, float, float]]:
    stream = tiny.stream()
    words = [word for piece in pieces for word in stream.accept(piece, sample_rate=rate)]
    finished = stream.finish()
    assert list(finished.words[: len(words)]) == words
    return [(w.text, w.start, w.end) for w in finished.words]


@given(cuts=st.lists(st.integers(0, 110_000), max_size=30))
def test_any_split_at_any_rate_gives_the_same_words(tiny, at_44100, cuts):
    whole = heard(tiny, [at_44100], 44_100)
    assert whole
    assert heard(tiny, pieces_of(at_44100, cuts), 44_100) == whole


def test_no_sample_is_lost_where_the_rate_changes(tiny, speech):
    stream = tiny.stream()
    stream.accept(np.zeros(4_800, np.float32), sample_rate=48_000)
    stream.accept(np.zeros(1_600, np.float32))
    stream.accept(np.zeros(4_410, np.float32), sample_rate=44_100)
    assert stream.finish().duration == pytest.approx(0.3)


def test_a_listener_takes_any_rate(recognizer, speech):
    other = soxr.resample(speech, 16_000, 48_000)
    expected = [e.text for e in recognizer.listen([speech]) if e.type == "final"]
    found = recognizer.listen(np.array_split(other, 40), sample_rate=48_000)
    assert [e.text for e in found if e.type == "final"] == expected


@pytest.mark.parametrize("rate", [0, -1, 1_000_000, 44_100.5, float("nan")])
def test_a_rate_that_cannot_be_changes_nothing(tiny, rate):
    stream, listener = tiny.stream(), Listener(tiny)
    for hearer in (stream, listener):
        before = hearer.state
        with pytest.raises(AudioError, match=r"a sample rate of .* Hz: whole numbers from"):
            hearer.accept(np.zeros(100, np.float32), sample_rate=rate)
        assert hearer.state is before


def test_an_unusable_sample_is_named_by_its_place_at_its_own_rate(tiny):
    for hearer in (tiny.stream(), Listener(tiny)):
        hearer.accept(np.zeros(1_600, np.float32))
        for _ in range(3):
            hearer.accept(np.zeros(1_000, np.float32), sample_rate=48_000)
        with pytest.raises(AudioError, match=r"^sample 7801 \(0\.16 s\) is NaN"):
            hearer.accept(np.array([0.0, np.nan]), sample_rate=48_000)
