"""The same recording by path, by pipe and as a binary file gives the same samples and times."""

import io
import tempfile

import numpy as np
import pytest
import soundfile
from audio_makers import RATE, Pipe, load_noting, tone, write, write_av

from streamasr.audio import open_audio
from streamasr.errors import AudioError

SECONDS = 1.5

WAV = sorted(set(soundfile.available_subtypes("WAV")) - {"MPEG_LAYER_III"})

WRITTEN_BY_LIBSNDFILE = {
    **{f"{subtype}.wav": ("WAV", subtype) for subtype in WAV},
    "a.flac": ("FLAC", None),
    "vorbis.ogg": ("OGG", "VORBIS"),
    "opus.ogg": ("OGG", "OPUS"),
    "a.mp3": ("MP3", None),
    "a.aiff": ("AIFF", None),
    "float.aiff": ("AIFF", "FLOAT"),
    "a.au": ("AU", None),
    "ulaw.au": ("AU", "ULAW"),
    "a.caf": ("CAF", None),
    "alac.caf": ("CAF", "ALAC_16"),
    "a.w64": ("W64", None),
    "a.rf64": ("RF64", None),
    "a.sph": ("NIST", None),
    "a.voc": ("VOC", None),
    "a.htk": ("HTK", None),
    "a.mat": ("MAT5", None),
    "a.svx": ("SVX", None),
}

# Codec, rate, whether a video track stands beside it, and options.
WRITTEN_BY_FFMPEG = {
    "aac.m4a": ("aac", 16_000, False, {}),
    "faststart.m4a": ("aac", 44_100, False, {"movflags": "faststart"}),
    "fragmented.m4a": ("aac", 44_100, False, {"movflags": "frag_keyframe+empty_moov"}),
    "video.mp4": ("aac", 48_000, True, {}),
    "a.mov": ("pcm_s16le", 16_000, False, {}),
    "a.3gp": ("aac", 8_000, False, {}),
    "amr.3gp": ("libopencore_amrnb", 8_000, False, {}),
    "a.amr": ("libopencore_amrnb", 8_000, False, {}),
    "flac.mkv": ("flac", 16_000, False, {}),
    "video.mkv": ("libopus", 48_000, True, {}),
    "a.webm": ("libopus", 48_000, False, {}),
    "flac.oga": ("flac", 16_000, False, {}),
    "lame.mp3": ("libmp3lame", 16_000, False, {}),
    "headless.mp3": ("libmp3lame", 16_000, False, {"write_xing": "0"}),
    "mp3.wav": ("libmp3lame", 44_100, False, {}),
    "a.aac": ("aac", 16_000, False, {}),
    "a.ts": ("aac", 16_000, False, {}),
    "a.wma": ("wmav2", 16_000, False, {}),
    "a.avi": ("pcm_s16le", 16_000, True, {}),
    "a.flv": ("aac", 44_100, False, {}),
}

FORMATS = {"a.aac": "adts", "a.ts": "mpegts", "a.wma": "asf", "flac.oga": "ogg"}


def make(path):
    if path.name in WRITTEN_BY_LIBSNDFILE:
        format, subtype = WRITTEN_BY_LIBSNDFILE[path.name]
        return write(path, tone(SECONDS), format=format, subtype=subtype)
    codec, rate, video, options = WRITTEN_BY_FFMPEG[path.name]
    samples = tone(SECONDS, rate)
    format = FORMATS.get(path.name)
    return write_av(path, codec, samples, rate, options=options, video=video, format=format)


@pytest.mark.parametrize("name", [*WRITTEN_BY_LIBSNDFILE, *WRITTEN_BY_FFMPEG])
def test_path_pipe_and_upload_give_the_same(tmp_path, capfd, name):
    path = make(tmp_path / name)
    data = path.read_bytes()
    expected, error, notes = load_noting(path)
    assert (error, notes) == ("", [])
    # A codec may add a frame, of 128 ms at most, and never loses one.
    assert SECONDS - 0.07 < expected.size / RATE < SECONDS + 0.13
    with tempfile.SpooledTemporaryFile(max_size=1_000) as upload:  # as a server keeps one
        upload.write(data)
        upload.seek(0)
        for source in (Pipe(data), io.BytesIO(data), upload):
            got, error, notes = load_noting(source)
            assert (error, notes) == ("", [])
            np.testing.assert_array_equal(got, expected)
        assert not upload.closed
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["a.flac", "opus.ogg", "a.mp3", "aac.m4a", "PCM_16.wav"])
def test_a_name_says_nothing(tmp_path, capfd, name):
    path = make(tmp_path / name)
    expected, _, _ = load_noting(path)
    for other in ("a.mp3", "a.wav", "a.raw"):
        got, error, _ = load_noting(path.rename(tmp_path / other))
        path = tmp_path / other
        assert not error
        np.testing.assert_array_equal(got, expected)
    assert capfd.readouterr() == ("", "")


def test_the_text_is_the_same_by_path_and_by_pipe(tmp_path, recognizer, speech):
    words = []
    path = write_av(tmp_path / "a.webm", "libopus", speech, RATE, video=False)
    for source in (path, Pipe(path.read_bytes())):
        stream = recognizer.stream()
        with open_audio(source) as audio:
            for block in audio.blocks():
                stream.accept(block)
        words.append([(word.text, word.start, word.end) for word in stream.finish().words])
    assert len(words[0]) > 3
    assert words[0] == words[1]


def test_a_file_is_read_from_where_it_stands_and_stays_open(tmp_path):
    data = write(tmp_path / "a.flac", tone(0.5)).read_bytes()
    file = io.BytesIO(b"header" + data)
    file.seek(6)
    got, error, _ = load_noting(file)
    assert not error
    assert got.size == tone(0.5).size
    assert not file.closed


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (io.BytesIO(), "^the recording: is empty"),
        (Pipe(b""), "^the recording: is empty"),
        (io.StringIO("text"), "^the recording: must be binary: open it with mode 'rb'"),
    ],
)
def test_a_file_that_holds_nothing(source, message):
    with pytest.raises(AudioError, match=message):
        open_audio(source)


def test_a_file_at_its_end_and_its_name():
    file = io.BytesIO(b"RIFF")
    file.seek(4)
    with pytest.raises(AudioError, match=r"^talk: stands at its end: seek\(0\) first"):
        open_audio(file, name="talk")
