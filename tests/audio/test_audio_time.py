"""The container's time: what stands at 5 s in it is heard at 5 s."""

from fractions import Fraction

import av
import numpy as np
import pytest
from audio_makers import RATE, Pipe, load, load_noting, snr, tone

from streamasr.audio.timeline import MOST_SILENCE, Timeline


def write_at(path, codec, pieces, rate=RATE, format=None, video=False):
    """Write tones of some seconds, each at a time of its own: (time, seconds)."""
    with av.open(str(path), "w", format=format) as container:
        audio = container.add_stream(codec, rate=rate, layout="mono")
        if video:
            track = container.add_stream("mpeg4", rate=10)
            track.width = track.height = 64
            for _ in range(60):
                picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8))
                container.mux(track.encode(picture))
            container.mux(track.encode(None))
        size = 960
        for time, seconds in pieces:
            pcm = np.round(tone(seconds, rate) * 32767).astype(np.int16)
            for start in range(0, pcm.size - size + 1, size):
                part = np.ascontiguousarray(pcm[None, start : start + size])
                frame = av.AudioFrame.from_ndarray(part, format="s16", layout="mono")
                frame.sample_rate, frame.pts = rate, round(time * rate) + start
                frame.time_base = Fraction(1, rate)
                container.mux(audio.encode(frame))
        container.mux(audio.encode(None))
    return path


def begins(samples):
    """Seconds at which sound begins."""
    return np.argmax(np.abs(samples) > 0.05) / RATE


CONTAINERS = [
    ("a.mkv", "pcm_s16le", RATE, None),
    ("a.webm", "libopus", 48_000, None),
    ("a.mka", "aac", 48_000, "matroska"),
    ("a.m4a", "aac", 48_000, None),
    ("a.mov", "pcm_s16le", RATE, None),
    ("a.opus", "libopus", 48_000, "ogg"),
    ("a.ts", "aac", 48_000, "mpegts"),
]


# PCM in a MOV has no times of its own, and those of an Ogg page are counted from its end.
@pytest.mark.parametrize(
    ("name", "codec", "rate", "format"),
    [each for each in CONTAINERS if each[0] not in ("a.mov", "a.opus")],
)
def test_a_gap_is_silence_of_its_length(tmp_path, name, codec, rate, format):
    path = write_at(tmp_path / name, codec, [(0, 1.2), (3, 1.2)], rate, format)
    for source in (path, Pipe(path.read_bytes())):
        got, error, notes = load_noting(source)
        assert not error
        (note,) = notes
        assert "replaced by silence: 1.8" in note or "replaced by silence: 1.7" in note
        assert got.size / RATE == pytest.approx(4.2, abs=0.15)
        assert np.abs(got[round(1.5 * RATE) : round(2.8 * RATE)]).max() < 0.01
        assert 2.8 + begins(got[round(2.8 * RATE) :]) == pytest.approx(3.0, abs=0.08)


def test_a_gap_between_the_pages_of_an_ogg_lengthens_it(tmp_path):
    path = write_at(tmp_path / "a.opus", "libopus", [(0, 1.2), (3, 1.2)], 48_000, "ogg")
    got, error, notes = load_noting(path)
    assert not error
    assert len(notes) == 1
    assert got.size / RATE == pytest.approx(4.2, abs=0.05)


@pytest.mark.parametrize("video", [False, True], ids=["alone", "beside a video"])
@pytest.mark.parametrize(("name", "codec", "rate", "format"), CONTAINERS)
def test_a_late_start_is_an_offset(tmp_path, name, codec, rate, format, video):
    if video and name in ("a.webm", "a.opus", "a.ts"):
        name, format = ("a.mkv", "matroska") if name != "a.ts" else (name, format)
    path = write_at(tmp_path / name, codec, [(2, 1.2)], rate, format, video)
    # An Ogg or a transport stream may begin at any time: only another track says that it is late.
    late = 2.0 if video or name not in ("a.opus", "a.ts") else 0.0
    for source in (path, Pipe(path.read_bytes())):
        got, error, _ = load_noting(source)
        assert not error
        assert begins(got) == pytest.approx(late, abs=0.08)
        assert got.size / RATE == pytest.approx(late + 1.2, abs=0.1)


def test_the_delay_of_encoders_is_no_late_start(tmp_path):
    # 1105 samples of an MP3 decoder's delay are 0.14 s at 8 kHz.
    path = write_at(tmp_path / "a.mp3", "libmp3lame", [(0, 1.2)], 8_000)
    got, error = load(path)
    assert not error
    assert begins(got) < 0.03


def test_jitter_is_no_gap(tmp_path):
    pieces = [(0.06 * n + 0.02 * (n % 2), 0.06) for n in range(30)]
    path = write_at(tmp_path / "a.mkv", "pcm_s16le", pieces)
    got, error, notes = load_noting(path)
    assert (error, notes) == ("", [])
    assert got.size == 30 * 960
    assert snr(got, np.tile(tone(0.06), 30)) > 60


def test_many_lost_packets_add_up(tmp_path):
    # 20 ms of each 80 ms are missing, which no single gap would show.
    path = write_at(tmp_path / "a.mkv", "pcm_s16le", [(0.08 * n, 0.06) for n in range(50)])
    got, error, _ = load_noting(path)
    assert not error
    assert got.size / RATE == pytest.approx(4.0, abs=0.1)


def test_an_absurd_jump_is_told_and_not_filled(tmp_path):
    path = write_at(tmp_path / "a.mkv", "pcm_s16le", [(0, 1.2), (90_000, 1.2)])
    got, _, notes = load_noting(path)
    assert got.size / RATE == pytest.approx(2.4)
    (note,) = notes
    assert "its timestamps jump by 89999 s at 1.20 s: not taken for silence" in note


def test_a_piece_cut_out_of_something_long_begins_at_once(tmp_path):
    path = write_at(tmp_path / "a.mkv", "pcm_s16le", [(7_200, 1.2)])
    got, error, notes = load_noting(path)
    assert not error
    assert got.size / RATE == pytest.approx(1.2)
    assert notes == [f"{path}: its timestamps begin at 7200.00 s: times are counted from there"]


def test_the_silence_of_all_gaps_together_is_bounded():
    notes = []
    timeline = Timeline(0.0, notes.append)
    for second in range(0, 36_000, 1_000):  # ten hours in 36 frames
        timeline.silence_before(float(second))
        timeline.advance(0.02)
    timeline.end()
    assert timeline.position < MOST_SILENCE + 1
    assert len(notes) == 2


def test_timestamps_that_go_back_are_counted_on():
    timeline = Timeline(0.0, lambda _: None)
    assert timeline.silence_before(0.0) == 0
    timeline.advance(5.0)
    assert timeline.silence_before(0.0) == 0
    timeline.advance(1.0)
    assert timeline.silence_before(2.0) == pytest.approx(1.0)
    assert timeline.silence_before(None) == 0
