import io
import os
import sys
import threading

import numpy as np
import pytest
from audio_makers import RATE, collect, feed_stdin, tone

from streamasr.audio import open_raw
from streamasr.errors import AudioError

__all__ = ["feed_stdin"]  # a fixture


def pcm(samples):
    return (samples * 32767).astype("<i2")


@pytest.mark.parametrize("way", ["file", "stdin"])
@pytest.mark.parametrize("channels", [1, 3])
def test_raw_samples(tmp_path, feed_stdin, way, channels):
    data = np.stack([pcm(tone(1.3))] * channels, axis=1)
    path = tmp_path / "a.pcm"
    path.write_bytes(data.tobytes())
    feed_stdin(data.tobytes())
    source = "-" if way == "stdin" else path
    with open_raw(source, sample_rate=RATE, channels=channels) as audio:
        assert audio.name == ("stdin" if way == "stdin" else str(path))
        assert audio.duration == (None if way == "stdin" else pytest.approx(1.3))
        got, error = collect(audio)
    assert not error
    np.testing.assert_allclose(got, data[:, 0] / 32768, atol=1e-7)


def test_full_scale_and_byte_order(tmp_path):
    path = tmp_path / "a.pcm"
    path.write_bytes(b"\x00\x80\xff\x7f\x01\x00")
    with open_raw(path, sample_rate=RATE) as audio:
        got, _ = collect(audio)
    np.testing.assert_array_equal(got, np.array([-32768, 32767, 1], np.float32) / 32768)


def test_resampled(tmp_path):
    path = tmp_path / "a.pcm"
    path.write_bytes(pcm(tone(2.0, 8_000)).tobytes())
    with open_raw(path, sample_rate=8_000) as audio:
        got, _ = collect(audio)
    assert got.size == 2 * RATE


@pytest.mark.parametrize("channels", [1, 2])
def test_half_a_sample_at_the_end(tmp_path, channels):
    path = tmp_path / "a.pcm"
    path.write_bytes(np.full(4 * channels, 8_192, "<i2").tobytes() + b"x")
    with open_raw(path, sample_rate=RATE, channels=channels) as audio:
        got, error = collect(audio)
    np.testing.assert_array_equal(got, np.full(4, 0.25, np.float32))
    assert error.startswith(f"{path}: ends in the middle of a sample, 1 byte(s)")


def test_a_live_pipe_is_read_as_data_arrives(monkeypatch):
    reader, writer = os.pipe()
    with io.TextIOWrapper(os.fdopen(reader, "rb")) as stdin, os.fdopen(writer, "wb", 0) as out:
        monkeypatch.setattr(sys, "stdin", stdin)
        # Ends a reader that waits for more than there is, so that the test fails, not hangs.
        rescue = threading.Timer(5, out.close)
        rescue.start()
        with open_raw("-", sample_rate=RATE) as audio:
            blocks = audio.blocks()
            sizes = []
            for data in (b"\1\0" * 10, b"\2\0" * 7 + b"\3", b"\0" + b"\4\0" * 2):
                out.write(data)
                sizes.append(next(blocks).size)
            assert sizes == [10, 7, 3]
            assert not out.closed
            out.close()
            assert list(blocks) == []
        rescue.cancel()
        assert not stdin.closed


def test_empty(tmp_path, feed_stdin):
    feed_stdin(b"")
    with open_raw("-", sample_rate=RATE) as audio:
        assert collect(audio)[1] == "stdin: contains no audio samples"
    path = tmp_path / "a.pcm"
    path.touch()
    with pytest.raises(AudioError, match="is empty"):
        open_raw(path, sample_rate=RATE)


@pytest.mark.parametrize("wrong", [{"sample_rate": 0}, {"sample_rate": RATE, "channels": 0}])
def test_implausible_numbers(tmp_path, wrong):
    path = tmp_path / "a.pcm"
    path.write_bytes(bytes(100))
    with pytest.raises(AudioError, match=r"a\.pcm: .*(0 Hz|0 channels)"):
        open_raw(path, **wrong)


def test_a_missing_file_and_a_fifo(tmp_path):
    with pytest.raises(AudioError, match="no such file"):
        open_raw(tmp_path / "none", sample_rate=RATE)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(AudioError, match="feed it to standard input"):
        open_raw(tmp_path / "fifo", sample_rate=RATE)
