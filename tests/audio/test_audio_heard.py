"""What would be lost in silence: channels that cancel, silent tracks, other scales, low levels."""

import subprocess
import sys

import av
import numpy as np
import pytest
from audio_makers import RATE, Pipe, load, load_noting, snr, tone, write

from streamasr.audio import open_audio
from streamasr.audio.mixer import Mixer
from streamasr.errors import AudioError, AudioWarning


def mix(samples, rate=RATE, size=None):
    notes = []
    mixer = Mixer(samples.shape[1], rate, notes.append)
    size = size or len(samples)
    parts = [mixer.process(samples[n : n + size]) for n in range(0, len(samples), size)]
    return np.concatenate([*parts, mixer.flush()]), notes


def test_channels_that_cancel_each_other_are_not_averaged(tmp_path):
    path = write(tmp_path / "a.flac", np.stack([tone(), -tone()], axis=1))
    got, error, notes = load_noting(path)
    assert not error
    assert snr(got, tone()) > 70
    assert notes == [f"{path}: two channels cancel each other: using the left one"]


@pytest.mark.parametrize(
    ("gains", "expected", "note"),
    [
        ((1, 1), 1, ""),
        ((0, 1), 1, ""),  # a channel that is silent does not make the other one quieter
        ((0, 0, 0, 0, 0, 0, 1, 0), 1, ""),
        ((0.5, 1), 0.75, ""),
        ((1, -0.9), 1, "two channels cancel each other: using the left one"),
        ((-0.6, 1), 0.2, ""),
        ((-0.85, 1), -0.85, "two channels cancel each other: using the left one"),
        ((1, -0.5, -0.5), 1, "3 channels cancel each other: using number 1"),
        ((-0.4, -0.5, 1), 1, "3 channels cancel each other: using number 3"),
    ],
)
def test_what_is_heard_of_channels(gains, expected, note):
    got, notes = mix(tone()[:, None] * np.float32(gains))
    assert snr(got, np.float32(expected) * tone()) > 60
    assert notes == [note] * bool(note)


def test_two_speakers_on_two_channels_are_both_heard():
    generator = np.random.default_rng(1)
    voices = generator.standard_normal((3 * RATE, 2)).astype(np.float32) * 0.1
    got, notes = mix(voices)
    assert not notes
    np.testing.assert_allclose(got, voices.mean(axis=1), atol=1e-6)


def test_channels_that_cancel_for_a_while_are_averaged_again():
    rumble, voice = tone(frequency=50.0), tone(frequency=700.0)
    silence = np.zeros_like(voice)
    left, right = np.concatenate([rumble, voice]), np.concatenate([-rumble, silence])
    got, _ = mix(np.stack([left, right], axis=1))
    assert snr(got[: len(rumble)], rumble) > 60
    # Both have sounded by now: one alone is half of the mean.
    assert snr(got[-RATE:], voice[-RATE:] / 2) > 60


@pytest.mark.parametrize("size", [1, 7, 320, 1_000, 16_000])
def test_blocks_of_any_size_are_mixed_alike(size):
    samples = tone(1.0)[:, None] * np.float32([1, -0.95])
    samples[:3_000] = 0
    samples[8_000:] = np.abs(samples[8_000:])
    np.testing.assert_array_equal(mix(samples, size=size)[0], mix(samples)[0])


@pytest.mark.parametrize("way", [lambda path: path, lambda path: Pipe(path.read_bytes())])
def test_samples_on_the_scale_of_integers_are_refused_with_a_remedy(tmp_path, way):
    samples = np.stack([tone(), -tone()], axis=1) * 32768
    samples[:RATE] /= 32768
    path = write(tmp_path / "a.wav", samples, subtype="FLOAT")
    got, error, _ = load_noting(way(path))
    assert got.size >= RATE
    assert np.abs(got).max() <= 16
    assert "floats lie in [-1, 1]: divide those on the scale of 16-bit integers by 32768" in error
    assert "at 1.00" in error


def test_floats_a_little_beyond_full_scale_are_heard(tmp_path):
    path = write(tmp_path / "a.wav", tone() * 8, subtype="FLOAT")
    got, error = load(path)
    assert not error
    np.testing.assert_allclose(got, tone() * 8)


def write_tracks(path, tracks):
    """Write tracks of sound: (samples, language, title)."""
    with av.open(str(path), "w") as container:
        streams = []
        for _, language, title in tracks:
            stream = container.add_stream("aac" if path.suffix == ".mp4" else "flac", rate=RATE)
            stream.layout = "mono"
            stream.metadata.update({"language": language, "title": title})
            streams.append(stream)
        length = max(len(samples) for samples, *_ in tracks)
        for start in range(0, length, 1024):
            for stream, (samples, *_) in zip(streams, tracks, strict=True):
                part = np.round(samples[None, start : start + 1024] * 32767).astype(np.int16)
                if part.size:
                    frame = av.AudioFrame.from_ndarray(part, format="s16", layout="mono")
                    frame.sample_rate, frame.pts = RATE, start
                    container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode(None))
    return path


LOW, HIGH, SILENT = tone(frequency=300.0), tone(frequency=900.0), np.zeros(3 * RATE, np.float32)


@pytest.mark.parametrize(
    ("track", "expected"),
    [(1, LOW), (2, HIGH), ("2", HIGH), ("ger", HIGH), ("GER", HIGH), ("en", LOW)],
)
@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_a_track_by_number_or_language(tmp_path, track, expected, suffix):
    path = write_tracks(tmp_path / f"a{suffix}", [(LOW, "eng", "Film"), (HIGH, "ger", "")])
    for source in (path, Pipe(path.read_bytes())):
        got, error, notes = load_noting(source, track=track)
        assert (error, notes) == ("", [])
        assert snr(got, expected) > 10


@pytest.mark.parametrize(
    ("wanted", "tag"),
    [
        ("de", "ger"),
        ("de", "deu"),
        ("ger", "de"),
        ("deu", "ger"),
        ("DE", "GER"),
        ("en", "eng"),
        ("eng", "en"),
        ("en", "en-GB"),
        ("en-GB", "eng"),
        ("en_GB", "en-GB"),
        ("fr", "fre"),
        ("fr", "fra"),
        ("fra", "fre"),
        ("zh", "chi"),
        ("zh", "zho"),
        ("zho", "zh-Hant-TW"),
        ("zh", "cmn"),
        ("he", "iw"),
        ("gsw", "gsw"),
    ],
)
def test_a_language_is_found_in_any_of_its_codes(tmp_path, wanted, tag):
    path = write_tracks(tmp_path / "a.mkv", [(LOW, "pol", ""), (SILENT, "", ""), (HIGH, tag, "")])
    got, error, _ = load_noting(path, track=wanted)
    assert not error
    assert snr(got, HIGH) > 10


@pytest.mark.parametrize(
    ("wanted", "tag"),
    [("de", "dut"), ("en-GB", "en-US"), ("nb", "nno"), ("en", "enm"), ("und", "und"), ("d", "ger")],
)
def test_another_language_is_not_taken_for_it(tmp_path, wanted, tag):
    path = write_tracks(tmp_path / "a.mkv", [(LOW, "pol", ""), (HIGH, tag, "")])
    with pytest.raises(AudioError, match="has no audio track in "):
        open_audio(path, track=wanted)


def test_the_track_with_the_very_tag_comes_first(tmp_path):
    path = write_tracks(tmp_path / "a.mkv", [(LOW, "en-US", ""), (HIGH, "en", "")])
    assert snr(load_noting(path, track="en")[0], HIGH) > 10


def test_codes_of_languages_are_loaded_only_where_one_is_asked_for(tmp_path):
    path = write_tracks(tmp_path / "a.mkv", [(LOW, "ger", ""), (HIGH, "eng", "")])
    code = """
import sys
from streamasr.audio import open_audio
for track in (None, 2, "eng"):
    open_audio(sys.argv[1], track=track, on_note=print).close()
assert "langcodes" not in sys.modules
open_audio(sys.argv[1], track="en").close()
assert "langcodes" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code, path], check=True)


def test_which_of_several_tracks_was_taken_is_noted(tmp_path):
    path = write_tracks(tmp_path / "a.mkv", [(LOW, "eng", "Film"), (HIGH, "ger", "")])
    got, error, notes = load_noting(path)
    assert not error
    assert snr(got, LOW) > 60
    told = "has 2 audio tracks, 1 (eng Film), 2 (ger): using 1 (eng Film); --track takes another"
    assert notes == [f"{path}: {told}"]
    with open_audio(path) as audio, pytest.warns(AudioWarning, match="using 1"):
        list(audio.blocks())


@pytest.mark.parametrize("way", [lambda path: path, lambda path: Pipe(path.read_bytes())])
def test_a_silent_default_track_gives_way_to_one_that_is_not(tmp_path, way):
    path = write_tracks(
        tmp_path / "a.mkv", [(SILENT, "", ""), (HIGH, "", "Mic"), (LOW / 9, "", "")]
    )
    got, error, notes = load_noting(way(path))
    assert not error
    assert snr(got, HIGH) > 60
    assert len(notes) == 1
    assert "using 2 (Mic), since the default one is silent" in notes[0]


def test_where_all_tracks_are_silent_the_default_one_is_heard(tmp_path):
    path = write_tracks(tmp_path / "a.mkv", [(SILENT, "eng", ""), (SILENT, "ger", "")])
    got, _, notes = load_noting(path)
    assert got.size == SILENT.size
    assert "using 1 (eng); " in notes[0]


def test_a_default_track_that_begins_with_silence_is_heard(tmp_path):
    late = np.concatenate([np.zeros(2 * RATE, np.float32), LOW])
    path = write_tracks(tmp_path / "a.mkv", [(late, "", ""), (HIGH, "", "")])
    got, _, _ = load_noting(path)
    assert snr(got, late) > 60


@pytest.mark.parametrize("track", [0, 3, "fr", "-1", ""])
def test_a_track_that_is_not_there(tmp_path, track):
    path = write_tracks(tmp_path / "a.mkv", [(LOW, "eng", ""), (HIGH, "ger", "")])
    with pytest.raises(AudioError, match=r"no audio track .*; there are 1 \(eng\), 2 \(ger\)"):
        open_audio(path, track=track)


def test_the_only_track_of_a_wav(tmp_path):
    path = write(tmp_path / "a.wav", tone(0.5))
    assert load_noting(path, track=1)[0].size == tone(0.5).size
    with pytest.raises(AudioError, match="has no audio track 2; there are 1"):
        open_audio(path, track=2)


@pytest.mark.parametrize(
    ("gain", "words", "parts"),
    [
        (1.0, 3, ()),
        (1.0, 0, ("nothing was recognised in its 3.0 s: its level is -", "its peak -")),
        (0.01, 3, ("very quiet, so that words may be missing", "amplify it", "volume=")),
        (0.001, 0, ("nothing was recognised", "amplify it")),
        (0.0, 0, ("nothing was recognised in its 3.0 s: it is digital silence",)),
    ],
)
def test_what_is_said_of_a_level(tmp_path, gain, words, parts):
    path = write(tmp_path / "a.wav", tone() * np.float32(gain), subtype="FLOAT")
    with open_audio(path) as audio:
        list(audio.blocks())
    said = audio.level.note_on(words, 3.0)
    assert all(part in said for part in parts)
    assert bool(said) == bool(parts)


def test_the_level_of_a_square_wave_is_that_of_full_scale(tmp_path):
    path = write(tmp_path / "a.wav", np.tile([0.5, -0.5], RATE).astype(np.float32), subtype="FLOAT")
    with open_audio(path) as audio:
        list(audio.blocks())
    assert audio.level.rms == audio.level.peak == pytest.approx(20 * np.log10(0.5))
