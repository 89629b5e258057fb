"""What can be read: formats, rates, channels, memory, handles."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from audio_makers import (
    RATE,
    collect,
    feed_stdin,
    load,
    snr,
    tone,
    wav_header_size,
    write,
    write_av,
)

import streamasr.audio
from streamasr.audio import BLOCK_SECONDS, open_audio

__all__ = ["feed_stdin"]  # a fixture

SAMPLES = sorted((Path(__file__).parents[2] / "samples").glob("*.flac"))


def test_public_names():
    assert sorted(streamasr.audio.__all__) == sorted(
        ["AudioFile", "BLOCK_SECONDS", "Resampler", "SAMPLE_RATE", "open_audio", "open_raw"]
    )
    assert all(hasattr(streamasr.audio, name) for name in streamasr.audio.__all__)


def test_the_samples_are_there():
    assert len(SAMPLES) == 5


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
@pytest.mark.smoke
def test_real_recordings_equal_soundfile(path):
    expected, rate = soundfile.read(path, dtype="float32")
    with open_audio(path) as audio:
        assert audio.name == str(path)
        assert audio.sample_rate == rate
        assert audio.duration == pytest.approx(len(expected) / rate)
        got, error = collect(audio)
    assert not error
    if rate != RATE:
        expected = soxr.resample(expected, rate, RATE)
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    ("subtype", "rate", "channels", "floor"),
    [
        ("PCM_U8", 8_000, 1, 30),
        ("PCM_16", 11_025, 1, 70),
        ("PCM_16", 16_000, 2, 70),
        ("PCM_24", 44_100, 2, 110),
        ("PCM_32", 48_000, 3, 110),
        ("FLOAT", 16_000, 1, 190),
        ("DOUBLE", 96_000, 8, 110),
        ("ULAW", 8_000, 1, 25),
    ],
)
def test_wav_encodings(tmp_path, subtype, rate, channels, floor):
    mono = tone(1.3, rate)
    # Channels that differ, and whose mean is the tone.
    spread = np.linspace(0.5, 1.5, channels) if channels > 1 else np.ones(1)
    path = write(tmp_path / "a.wav", mono[:, None] * spread, rate, subtype)
    with open_audio(path) as audio:
        assert (audio.sample_rate, audio.channels) == (rate, channels)
        assert audio.duration == pytest.approx(1.3, abs=1e-3)
        got, error = collect(audio)
    expected = mono if rate == RATE else soxr.resample(mono, rate, RATE)
    assert not error
    assert got.size == expected.size
    assert snr(got, expected) > floor


@pytest.mark.parametrize(
    ("name", "codec", "rate", "floor"),
    [
        ("a.flac", None, 16_000, 70),
        ("a.ogg", None, 16_000, 10),
        ("a.opus", None, 16_000, 10),
        ("a.mp3", None, 16_000, 10),
        ("a.aiff", None, 16_000, 70),
        ("a.w64", None, 16_000, 70),
        ("a.caf", None, 16_000, 70),
        ("a.m4a", "aac", 16_000, 10),
        ("a.mp4", "aac", 44_100, 10),
        ("a.webm", "libopus", 48_000, 10),
        ("a.mkv", "flac", 16_000, 70),
        ("a.wma", "wmav2", 16_000, None),  # FFmpeg leaves the codec's delay in place
        ("a.avi", "pcm_s16le", 16_000, 70),
    ],
)
@pytest.mark.parametrize("way", ["file", "wrong extension", "stdin"])
def test_formats(tmp_path, feed_stdin, name, codec, rate, floor, way):
    samples = tone(2.6, rate)
    path = tmp_path / name
    if codec:
        write_av(path, codec, samples, rate)
    else:
        write(
            path,
            samples,
            rate,
            format="OGG" if name == "a.opus" else None,
            subtype="OPUS" if name == "a.opus" else None,
        )
    if way == "wrong extension":
        path = path.rename(tmp_path / "a.raw")
    if way == "stdin":
        feed_stdin(path.read_bytes())
    got, error = load("-" if way == "stdin" else path)
    expected = samples if rate == RATE else soxr.resample(samples, rate, RATE)
    assert not error
    assert got.size / RATE == pytest.approx(2.6, abs=0.1)
    if floor is not None:
        assert snr(got, expected) > floor


@pytest.mark.smoke
def test_a_track_beside_a_video(tmp_path):
    path = write_av(tmp_path / "film.mkv", "flac", tone(3.0), video=True)
    got, error = load(path)
    assert not error
    assert snr(got, tone(3.0)) > 70


@pytest.mark.parametrize(
    ("riff", "size"),
    [
        (0xFFFFFFFF, 0xFFFFFFFF),  # FFmpeg
        (0x7FFFF024, 0x7FFFF000),  # SoX
        (0x80000024, 0x80000000),  # arecord
        (0, 0),  # GStreamer, and recorders that were killed
        (36, 0),
    ],
)
@pytest.mark.parametrize("way", ["file", "stdin"])
def test_wav_of_a_streaming_writer_is_whole(tmp_path, feed_stdin, riff, size, way):
    path = write(tmp_path / "a.wav", tone(), subtype="PCM_16")
    path.write_bytes(wav_header_size(path.read_bytes(), riff, size))
    if way == "stdin":
        feed_stdin(path.read_bytes())
    got, error = load("-" if way == "stdin" else path)
    assert not error
    assert got.size == tone().size
    assert snr(got, tone()) > 70


def test_flac_of_a_streaming_writer_is_whole(tmp_path):
    path = write(tmp_path / "a.flac", tone())
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0  # STREAMINFO's 36 bits of total samples: 0 is unknown
    data[22:26] = bytes(4)
    path.write_bytes(data)
    with open_audio(path) as audio:
        assert audio.duration is None
        got, error = collect(audio)
    assert not error
    assert got.size == tone().size


@pytest.mark.parametrize("quiet_first", [False, True])
def test_vbr_mp3_without_a_header_is_whole(tmp_path, quiet_first):
    # Its length can only be guessed, from the bit rate of its first frames.
    samples = np.concatenate([tone(4.0), np.zeros(20 * RATE, np.float32)])
    samples = samples[::-1] if quiet_first else samples
    options = {"write_xing": "0"}
    path = write_av(tmp_path / "a.mp3", "libmp3lame", samples, options=options, vbr=True)
    joined = tmp_path / "joined.mp3"
    joined.write_bytes(path.read_bytes() * 2)
    for file, seconds in ((path, 24.0), (joined, 48.0)):
        got, error = load(file)
        assert not error
        assert got.size / RATE == pytest.approx(seconds, abs=0.3)


def test_blocks_are_about_half_a_second(tmp_path):
    path = write(tmp_path / "a.wav", tone(2.2), subtype="FLOAT")
    with open_audio(path) as audio:
        sizes = [block.size for block in audio.blocks()]
    assert sum(sizes) == round(2.2 * RATE)
    assert all(BLOCK_SECONDS <= size / RATE < BLOCK_SECONDS + 0.1 for size in sizes[:-1])


def test_blocks_are_read_once(tmp_path):
    with open_audio(write(tmp_path / "a.wav", tone(0.1))) as audio:
        audio.blocks()
        with pytest.raises(RuntimeError, match="open it again"):
            audio.blocks()


def test_ten_minutes_need_no_more_memory_than_one(tmp_path):
    path = write(tmp_path / "long.wav", np.zeros((1, 2)), 48_000, "PCM_16")
    size = 600 * 48_000 * 4
    head = wav_header_size(path.read_bytes(), size + 36, size)[:44]
    with path.open("wb") as file:  # sparse: 115 MB of zeros that take no disk
        file.write(head)
        file.truncate(44 + size)
    tracemalloc.start()
    try:
        with open_audio(path) as audio:
            total = sum(block.size for block in audio.blocks())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert total == 600 * RATE
    assert peak < 20e6


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
@pytest.mark.parametrize(("name", "codec"), [("a.wav", None), ("a.mp3", None), ("a.m4a", "aac")])
def test_handles_are_closed_when_the_consumer_stops_early(tmp_path, name, codec):
    path = tmp_path / name
    if codec:
        write_av(path, codec, tone())
    else:
        write(path, tone())

    def handles():
        links = Path("/proc/self/fd").iterdir()
        return [link for link in links if link.exists() and link.resolve() == path]

    with open_audio(path) as audio:
        for _ in audio.blocks():
            assert handles()
            break
    assert not handles()
    audio.close()
