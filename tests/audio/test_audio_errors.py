"""What cannot be read, or not whole: one clear line, and nothing lost before it."""

import os
import pathlib
import socket

import numpy as np
import pytest
import soundfile
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

from streamasr.audio import open_audio
from streamasr.errors import AudioError

__all__ = ["feed_stdin"]  # a fixture


def refusal(path):
    with pytest.raises(AudioError) as caught:
        open_audio(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


def test_missing(tmp_path):
    assert "no such file" in refusal(tmp_path / "none.wav")


def test_folder(tmp_path):
    assert "folder" in refusal(tmp_path)


def test_empty(tmp_path):
    path = tmp_path / "a.wav"
    path.touch()
    assert "empty (0 bytes)" in refusal(path)


def test_permission(tmp_path, monkeypatch):
    path = write(tmp_path / "a.wav", tone(0.1))

    def refuse(self, *args, **kwargs):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(pathlib.Path, "open", refuse)
    assert "permission denied" in refusal(path)


def test_fifo_is_refused_at_once(tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    assert 'give "-"' in refusal(path)


def test_device_and_socket(tmp_path, monkeypatch):
    assert 'give "-"' in refusal("/dev/zero")
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s")
        assert 'give "-"' in refusal("s")


def test_symlink_loop(tmp_path):
    path = tmp_path / "loop.wav"
    path.symlink_to(path)
    assert "symbolic links" in refusal(path)


def test_nul_byte_in_the_name():
    with pytest.raises(AudioError, match=r"^a\?b\.wav: is not a possible"):
        open_audio("a\0b.wav")


def test_a_line_feed_in_the_name_leaves_the_error_on_one_line(tmp_path):
    with pytest.raises(AudioError, match=r"a\?b\.wav: no such file$"):
        open_audio(tmp_path / "a\nb.wav")


@pytest.mark.parametrize("name", ["a.wav", "a.mp3", "a.txt", "a.m4a", "a.raw"])
def test_text(tmp_path, name):
    path = tmp_path / name
    path.write_text("It is a truth universally acknowledged\n" * 50)
    assert "not a recording" in refusal(path)


def test_playlists_open_no_other_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.wav", tone(0.5))
    path = tmp_path / "list.ffconcat"
    path.write_text("ffconcat version 1.0\nfile a.wav\n")
    assert "not a recording" in refusal(path)


def test_video_without_audio(tmp_path):
    path = write_av(tmp_path / "a.mp4", None, None, video=True)
    assert "no audio track" in refusal(path)


def test_implausible_sample_rate(tmp_path):
    path = write(tmp_path / "a.wav", tone(0.1), 16_000)
    path.write_bytes(path.read_bytes().replace((16_000).to_bytes(4, "little"), b"\xff\xff\xff\x7f"))
    assert "2147483647 Hz" in refusal(path)


def test_no_samples(tmp_path):
    path = write(tmp_path / "a.wav", np.zeros(0))
    assert load(path)[1] == f"{path}: contains no audio samples"


def test_no_samples_but_a_tag_behind(tmp_path):
    path = write(tmp_path / "a.wav", np.zeros(0))
    data = path.read_bytes() + b"LIST" + (12).to_bytes(4, "little") + b"INFOISFT\0\0\0\0"
    path.write_bytes(wav_header_size(data, len(data) - 8, 0))
    got, error = load(path)
    assert got.size == 0
    assert "no audio samples" in error


def test_empty_stdin(feed_stdin):
    feed_stdin(b"")
    with pytest.raises(AudioError, match=r"^stdin: is empty"):
        open_audio("-")


def test_text_on_stdin(feed_stdin):
    feed_stdin(b"hello\n" * 100)
    with pytest.raises(AudioError, match=r"^stdin: is not a recording"):
        open_audio("-")


def test_no_stdin(monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(AudioError, match=r"^stdin: "):
        open_audio("-")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_unusable_sample(tmp_path, value, rate):
    samples = np.stack([tone(3.0, rate)] * 2, axis=1)
    samples[int(1.25 * rate), 1] = value
    path = write(tmp_path / "a.wav", samples, rate, "FLOAT")
    got, error = load(path)
    assert error.startswith(f"{path}: a sample is NaN or infinite at 1.250 s")
    assert got.size == pytest.approx(1.25 * RATE, abs=1)
    assert np.isfinite(got).all()


def test_double_too_large_for_float32(tmp_path):
    samples = tone(1.0).astype(np.float64)
    samples[8_000] = 1e300
    got, error = load(write(tmp_path / "a.wav", samples, RATE, "DOUBLE"))
    assert "at 0.500 s" in error
    assert got.size == 8_000


@pytest.mark.parametrize(
    ("name", "at_least", "stated"),
    [
        ("a.wav", 3.99, "4.00 s of 8.00 s"),
        ("a.aiff", 3.99, "of 8.00 s"),
        ("a.au", 3.99, "of 8.00 s"),
        ("a.w64", 3.99, "of 8.00 s"),
        ("a.rf64", 3.99, "of 8.00 s"),
        ("a.flac", 3.5, "of 8.00 s"),
        ("a.mp3", 3.8, "of 8.00 s"),
        ("a.caf", 3.5, "of 8.00 s"),
        ("a.ogg", 1.5, "cut short: "),  # the pages of libsndfile are some seconds long
        ("a.opus", 1.5, "cut short: "),
        ("a.mkv", 3.5, "of 8.0"),
        ("a.webm", 3.0, "of 8.0"),
        ("front.m4a", 3.5, "of 8.00 s"),
    ],
)
def test_half_a_file(tmp_path, capfd, name, at_least, stated):
    path = tmp_path / name
    codecs = {"a.mkv": "flac", "a.webm": "libopus", "front.m4a": "aac"}
    rate = 48_000 if name == "a.webm" else RATE
    if name in codecs:
        options = {"movflags": "faststart"} if name == "front.m4a" else {}
        write_av(path, codecs[name], tone(8.0, rate), rate, options=options)
    else:
        subtype = {"a.opus": "OPUS", "a.caf": "ALAC_16"}.get(name)
        write(path, tone(8.0), subtype=subtype, format="OGG" if subtype == "OPUS" else None)
    data = path.read_bytes()
    whole, error = load(path)
    assert not error
    path.write_bytes(data[: len(data) // 2])
    got, error = load(path)
    assert at_least * RATE <= got.size < 0.7 * whole.size
    assert snr(got[: -RATE // 10], whole) > 40
    assert error.startswith(f"{path}: ")
    assert stated in error
    assert f"{got.size / RATE:.2f} s" in error
    assert capfd.readouterr() == ("", "")


def test_half_an_m4a_with_its_index_at_the_end(tmp_path, feed_stdin):
    path = write_av(tmp_path / "a.m4a", "aac", tone())
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    assert "index (moov) is missing" in refusal(path)
    feed_stdin(path.read_bytes())
    with pytest.raises(AudioError, match=r"^stdin: .*index"):
        open_audio("-")


@pytest.mark.parametrize(("name", "codec"), [("a.flac", None), ("a.mp3", None), ("a.m4a", "aac")])
def test_what_follows_a_damaged_place_is_decoded(tmp_path, capfd, name, codec):
    path = tmp_path / name
    if codec:
        write_av(path, codec, tone(8.0))
    else:
        write(path, tone(8.0))
    whole, _ = load(path)
    data = bytearray(path.read_bytes())
    start = len(data) // 3
    data[start : start + 3_000] = bytes(3_000)
    path.write_bytes(data)
    got, error = load(path)
    assert error.startswith(f"{path}: damaged")
    if name == "a.m4a":  # its timestamps say where the sound goes on: times stay right
        assert got.size == whole.size
        assert snr(got[-2 * RATE :], whole[-2 * RATE :]) > 40
    else:
        assert "of 8.0" in error
        assert 0.75 * whole.size < got.size < whole.size
    start = 2 * RATE
    assert snr(got[:start], whole) > 40  # as it was before the damage
    # … and after it. An MP3's decoder loses count there: find the place.
    piece = whole[-2 * RATE : -RATE]
    match = np.correlate(got[-3 * RATE :], piece).max() / np.sum(piece**2)
    assert match > 0.95
    assert capfd.readouterr() == ("", "")


def test_the_last_samples_before_a_flac_ends_are_not_lost(tmp_path):
    # libsndfile drops the whole block in which it meets the end, up to half a second.
    path = write(tmp_path / "a.flac", tone(8.0))
    data = path.read_bytes()
    for part in (0.4, 0.55, 0.7):
        path.write_bytes(data[: int(len(data) * part)])
        got, error = load(path)
        assert "of 8.00 s" in error
        assert got.size % 4_096 == 0  # whole FLAC frames, not whole blocks of ours
        assert got.size > (8.0 * part - 0.6) * RATE
        reference, _ = soundfile.read(path, frames=got.size - 8_000, dtype="float32")
        np.testing.assert_array_equal(got[: reference.size], reference)


@pytest.mark.parametrize("junk", [b"TAG" + bytes(625), b"hello world " * 300])
def test_a_tag_behind_an_mp3_is_no_damage(tmp_path, junk):
    path = write(tmp_path / "a.mp3", tone())
    path.write_bytes(path.read_bytes() + junk)
    with open_audio(path) as audio:
        got, error = collect(audio)
    assert not error
    assert got.size / RATE == pytest.approx(3.0, abs=0.05)


def test_damage_where_no_length_is_stated(tmp_path):
    options = {"write_xing": "0"}
    path = write_av(tmp_path / "a.mp3", "libmp3lame", tone(8.0), options=options)
    data = bytearray(path.read_bytes())
    data[20_000:23_000] = bytes(3_000)
    path.write_bytes(data)
    got, error = load(path)
    assert error == f"{path}: damaged or cut short: {got.size / RATE:.2f} s could be decoded"
    assert got.size > 7 * RATE
