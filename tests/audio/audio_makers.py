"""Recordings made for the tests, and short ways to read them."""

import io
import os
import struct
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from streamasr.audio import AudioFile, open_audio
from streamasr.errors import AudioError

RATE = 16_000


def tone(seconds=3.0, rate=RATE, frequency=440.0):
    """A swelling tone with a little noise: no two places are alike, and codecs keep it."""
    t = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(0).standard_normal(t.size)
    envelope = 0.2 + 0.2 * t / seconds
    return (envelope * np.sin(2 * np.pi * frequency * t) + 0.02 * noise).astype(np.float32)


def write(path: Path, samples, rate=RATE, subtype=None, format=None):
    soundfile.write(path, samples, rate, subtype=subtype, format=format)
    return path


def write_av(
    path: Path, codec, samples, rate=RATE, *, options=None, format=None, video=False, vbr=False
):
    """Write mono samples with FFmpeg, with a video track beside them if asked for."""
    with av.open(str(path), "w", options=options or {}, format=format) as container:
        audio = None
        if codec:
            audio = container.add_stream(codec, rate=rate, layout="mono")
            audio.bit_rate = 48_000
            audio.codec_context.qscale = vbr
        if video:
            track = container.add_stream("mpeg4", rate=10)
            track.width = track.height = 64
            for _ in range(10):
                picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8))
                container.mux(track.encode(picture))
            container.mux(track.encode(None))
        if audio is not None:
            pcm = np.round(samples * 32767).astype(np.int16)
            for start in range(0, pcm.size, 1024):
                part = np.ascontiguousarray(pcm[None, start : start + 1024])
                frame = av.AudioFrame.from_ndarray(part, format="s16", layout="mono")
                frame.sample_rate, frame.pts = rate, start
                container.mux(audio.encode(frame))
            container.mux(audio.encode(None))
    return path


def wav_header_size(data: bytes, riff: int, size: int) -> bytes:
    """The bytes of a WAV with other sizes in its header."""
    at = data.index(b"data") + 4
    return (
        data[:4] + struct.pack("<I", riff) + data[8:at] + struct.pack("<I", size) + data[at + 4 :]
    )


def collect(audio: AudioFile):
    """All samples, and the error's text ("" without one)."""
    blocks, message = [np.zeros(0, np.float32)], ""
    try:
        for block in audio.blocks():
            assert block.dtype == np.float32
            assert block.ndim == 1
            assert block.flags.c_contiguous
            assert 0 < block.size <= RATE
            blocks.append(block)
    except AudioError as error:
        message = str(error)
    return np.concatenate(blocks), message


def load(source):
    with open_audio(source) as audio:
        return collect(audio)


def load_noting(source, **options):
    """All samples, the error's text ("" without one), and the notes."""
    notes = []
    try:
        with open_audio(source, on_note=notes.append, **options) as audio:
            got, message = collect(audio)
    except AudioError as error:
        return np.zeros(0, np.float32), str(error), notes
    return got, message, notes


class Pipe(io.RawIOBase):
    """A binary file that can only be read forwards, `most` bytes at a time."""

    def __init__(self, data: bytes, most: int | None = None):
        self._file = io.BytesIO(data)
        self._most = most

    def readable(self):
        return True

    def read(self, size=-1):
        if self._most is not None:
            size = self._most if size < 0 else min(size, self._most)
        return self._file.read(size)


def snr(got, reference):
    """Signal to noise in dB of `got` against `reference`, over the length both have."""
    n = min(len(got), len(reference))
    noise = np.sum((got[:n] - reference[:n]) ** 2, dtype=np.float64)
    return 10 * np.log10(np.sum(reference[:n] ** 2, dtype=np.float64) / max(noise, 1e-20))


@pytest.fixture
def feed_stdin(monkeypatch):
    """A function that puts bytes on standard input through a real pipe."""
    import threading

    opened = []

    def feed(data: bytes):
        reader, writer = os.pipe()

        def write_all():
            try:
                with os.fdopen(writer, "wb") as out:
                    out.write(data)
            except BrokenPipeError:
                pass

        thread = threading.Thread(target=write_all)
        thread.start()
        stdin = io.TextIOWrapper(os.fdopen(reader, "rb"))
        monkeypatch.setattr(sys, "stdin", stdin)
        opened.append((stdin, thread))

    yield feed
    for stdin, thread in opened:
        stdin.close()
        thread.join(10)
