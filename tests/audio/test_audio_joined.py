"""Recordings one behind the other, and WAVs whose header does not tell their size."""

import numpy as np
import pytest
from audio_makers import RATE, Pipe, load, load_noting, snr, tone, wav_header_size, write, write_av
from test_audio_ways import WRITTEN_BY_FFMPEG, WRITTEN_BY_LIBSNDFILE, make

from streamasr.audio import open_audio


def make_link(path, codec, rate=RATE, channels=1):
    samples = np.stack([tone(1.5, rate)] * channels, axis=1)
    if codec == "FLAC":
        return write_av(path, "flac", samples[:, 0], rate, format="ogg").read_bytes()
    return write(path, samples, rate, format="OGG", subtype=codec).read_bytes()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("OPUS",), ("OPUS",)),
        (("VORBIS",), ("VORBIS",)),
        (("FLAC",), ("FLAC",)),
        (("FLAC",), ("FLAC", 48_000)),
        (("VORBIS",), ("VORBIS", 44_100, 2)),
        (("OPUS",), ("OPUS", 48_000, 2)),
        (("OPUS",), ("VORBIS",)),
    ],
    ids=str,
)
def test_all_links_of_a_chained_ogg_are_heard(tmp_path, first, second):
    path = tmp_path / "chain.ogg"
    links = [make_link(tmp_path / "link.ogg", *link) for link in (first, second, first)]
    path.write_bytes(b"".join(links))
    with open_audio(path) as audio:
        assert audio.duration == pytest.approx(4.5, abs=0.05)
    got, error = load(path)
    assert not error
    assert got.size / RATE == pytest.approx(4.5, abs=0.05)
    for index in range(3):
        start = round(index * 1.5 * RATE)
        assert snr(got[start : start + RATE], tone(1.5)[:RATE]) > 10
    np.testing.assert_array_equal(load(Pipe(path.read_bytes()))[0], got)


def test_a_recorder_that_was_cut_off_within_a_page_and_started_again(tmp_path):
    link = make_link(tmp_path / "link.ogg", "VORBIS")
    path = tmp_path / "chain.ogg"
    path.write_bytes(link[: len(link) * 3 // 4] + link)
    got, error = load(path)
    assert error.startswith(f"{path}: damaged or cut short: ")
    assert snr(got[-round(1.5 * RATE) :], tone(1.5)) > 10  # the second link is whole
    np.testing.assert_array_equal(load(Pipe(path.read_bytes()))[0], got)


def test_damage_between_pages_is_told_and_passed(tmp_path):
    link = make_link(tmp_path / "link.ogg", "OPUS")
    path = tmp_path / "chain.ogg"
    path.write_bytes(link + b"not a page" * 20 + link)
    got, error = load(path)
    assert "damaged" in error
    assert got.size / RATE == pytest.approx(3.0, abs=0.05)


# What libsndfile reads, which knows of no second recording.
HEADLESS = {"a.htk", "a.mat", *(f"NMS_ADPCM_{bits}.wav" for bits in (16, 24, 32))}
JOINABLE = [*(set(WRITTEN_BY_LIBSNDFILE) - HEADLESS), *WRITTEN_BY_FFMPEG]


@pytest.mark.parametrize("name", sorted(JOINABLE))
def test_files_put_together_are_heard_to_the_end(tmp_path, name):
    path = make(tmp_path / name)
    one, _, _ = load_noting(path)
    data = path.read_bytes()
    path.write_bytes(data * 3)
    got, error, notes = load_noting(path)
    assert (error, notes) == ("", [])
    # What a container's times or an encoder's padding do at a seam, each time.
    assert got.size == pytest.approx(3 * one.size, abs=2 * 0.14 * RATE)
    np.testing.assert_array_equal(got[: RATE // 2], one[: RATE // 2])
    last = slice(-one.size + RATE // 4, -RATE // 4)
    assert np.abs(got[last]).max() > 0.1
    for size in (None, 97):
        piped, error, notes = load_noting(Pipe(data * 3, size))
        assert (error, notes) == ("", [])
        np.testing.assert_array_equal(piped, got)


@pytest.mark.parametrize("name", sorted(HEADLESS))
def test_what_cannot_be_heard_of_files_put_together_is_told(tmp_path, name):
    path = make(tmp_path / name)
    path.write_bytes(path.read_bytes() * 2)
    for source in (path, Pipe(path.read_bytes())):
        assert load_noting(source)[1]


@pytest.mark.parametrize("name", ["a.aiff", "a.caf", "aac.m4a", "a.wma", "a.w64", "flac.mkv"])
def test_the_second_of_two_files_is_damaged(tmp_path, name):
    path = make(tmp_path / name)
    data = path.read_bytes()
    path.write_bytes(data + data[: len(data) * 2 // 3])
    for source in (path, Pipe(path.read_bytes())):
        got, error, _ = load_noting(source)
        assert got.size / RATE >= 1.4
        assert error


@pytest.mark.parametrize("name", ["a.aiff", "a.caf"])
def test_two_files_of_other_rates_and_channels(tmp_path, name):
    path = write(tmp_path / name, tone(1.0), RATE)
    second = write(tmp_path / f"b{name}", np.stack([tone(1.0, 44_100)] * 2, axis=1), 44_100)
    path.write_bytes(path.read_bytes() + second.read_bytes())
    for source in (path, Pipe(path.read_bytes())):
        got, error, notes = load_noting(source)
        assert (error, notes) == ("", [])
        assert got.size / RATE == pytest.approx(2.0, abs=0.01)
        assert snr(got[RATE + 800 : -800], tone(1.0)[800:-800]) > 10


def test_what_a_decoder_leaves_unread_is_noted(tmp_path):
    path = write(tmp_path / "a.aiff", tone(3.0))
    path.write_bytes(path.read_bytes() + b"x" * 100_000)
    told = "its last 0.1 MB are of no known format, and were not decoded"
    for source in (path, Pipe(path.read_bytes())):
        got, error, notes = load_noting(source)
        assert not error
        assert got.size == tone(3.0).size
        assert [note.split(": ", 1)[1] for note in notes] == [told]


@pytest.mark.parametrize("stated", [1, 8_000, 95_998])
def test_a_wav_that_goes_on_beyond_its_stated_size(tmp_path, stated):
    path = write(tmp_path / "a.wav", tone(3.0), subtype="PCM_16")
    path.write_bytes(wav_header_size(path.read_bytes(), stated + 36, stated))
    for source in (path, Pipe(path.read_bytes())):
        got, error, notes = load_noting(source)
        assert not error
        assert snr(got, tone(3.0)) > 70
        assert got.size == tone(3.0).size
        (note,) = notes
        assert f"its header states {stated / 2 / RATE:.2f} s, but the samples go on" in note


@pytest.mark.parametrize("padded", [True, False])
def test_text_behind_the_samples_of_a_wav_is_not_heard(tmp_path, padded):
    path = write(tmp_path / "a.wav", np.zeros(8_001), subtype="PCM_U8")
    data = path.read_bytes()
    data = data[: data.index(b"data") + 8 + 8_001] + b"\0" * padded
    path.write_bytes(data + b"LIST" + (1_000).to_bytes(4, "little") + b"INFO" + b"x" * 996)
    got, error, notes = load_noting(path)
    assert (got.size, error, notes) == (8_001, "", [])
    assert not got.any()


@pytest.mark.parametrize("name", ["mp3.wav", "aac.mp3"])
def test_the_codec_decides_not_the_first_bytes(tmp_path, capfd, name):
    path = tmp_path / name
    codec, format = {"mp3.wav": ("libmp3lame", "wav"), "aac.mp3": ("aac", "mp4")}[name]
    write_av(path, codec, tone(2.0), format=format)
    got, error, notes = load_noting(path)
    assert (error, notes) == ("", [])
    assert got.size / RATE == pytest.approx(2.0, abs=0.15)
    assert capfd.readouterr() == ("", "")
