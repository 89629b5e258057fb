"""What the command says of a recording's sound, one by one and in a batch."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import soundfile


def write(path: Path, samples: np.ndarray, **options) -> Path:
    soundfile.write(path, samples, 16_000, **options)
    return path


def write_two_tracks(path: Path, first: np.ndarray, second: np.ndarray) -> Path:
    with av.open(str(path), "w") as container:
        for language in ("eng", "ger"):
            stream = container.add_stream("flac", rate=16_000, layout="mono")
            stream.metadata["language"] = language
        for stream, samples in zip(container.streams.audio, (first, second), strict=True):
            pcm = np.round(samples[None] * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(pcm, format="s16", layout="mono")
            frame.sample_rate, frame.pts = 16_000, 0
            for packet in (*stream.encode(frame), *stream.encode(None)):
                container.mux(packet)
    return path


@pytest.fixture
def inverted(tmp_path: Path, speech) -> Path:
    return write(tmp_path / "inverted.flac", np.stack([speech, -speech], axis=1))


@pytest.mark.parametrize("way", [(), ("--stdout",), ("--output-dir", "out")], ids=str)
def test_a_note_is_a_line_on_stderr(transcribe, inverted, tmp_path, monkeypatch, way):
    monkeypatch.chdir(tmp_path)
    done = transcribe(inverted, *way)
    assert done.code == 0
    note = f"{inverted}: two channels cancel each other: using the left one"
    assert done.err.splitlines().count(note) == 1
    (tmp_path / "out" / "inverted.txt").unlink(missing_ok=True)
    assert transcribe(inverted, "--quiet", *way).err == ""


@pytest.mark.parametrize("way", [(), ("--stdout",)], ids=str)
def test_a_recording_without_words_says_its_level(transcribe, tmp_path, monkeypatch, way):
    # The tiny model finds words in anything; its transcript is emptied here.
    from streamasr import Stream, Transcript
    from streamasr.decoding import WordDecoder

    monkeypatch.setattr(
        Stream, "finish", lambda stream: Transcript((), stream.state.samples / 16_000)
    )
    monkeypatch.setattr(WordDecoder, "transcript", lambda _, __, duration: Transcript((), duration))
    path = write(tmp_path / "quiet.wav", np.full(16_000, 0.001), subtype="FLOAT")
    done = transcribe(path, *way)
    assert done.code == 0
    said = "nothing was recognised in its 1.0 s: its level is -60.0 dBFS, its peak -60.0 dBFS"
    assert f"{path}: {said}; amplify it" in done.err


@pytest.mark.parametrize("way", [(), ("--stdout",)], ids=str)
def test_a_track_is_chosen(transcribe, tmp_path, speech, way):
    path = write_two_tracks(tmp_path / "a.mkv", speech[:32_000], speech[32_000:64_000])
    alone = write(tmp_path / "alone.flac", speech[32_000:64_000])
    expected = transcribe(alone, *way).out
    for track in ("2", "ger"):
        done = transcribe(path, "--track", track, *way)
        assert (done.code, done.out) == (0, expected)
        assert "using" not in done.err
    assert "2 audio tracks, 1 (eng), 2 (ger): using 1 (eng)" in transcribe(path, *way).err
    missing = transcribe(path, "--track", "3", *way)
    assert missing.code == 1
    assert f"error: {path}: has no audio track 3; there are 1 (eng), 2 (ger)" in missing.err


def test_a_track_of_raw_samples_is_refused(transcribe, tmp_path):
    done = transcribe(tmp_path / "a.raw", "--raw", "--rate", 16_000, "--track", 2)
    assert done.code == 2
    assert "--raw input has no tracks" in done.err


def test_any_chunk_size_gives_the_same_text_of_a_file_that_breaks_off(
    transcribe, tmp_path, samples_folder
):
    data = (samples_folder / "jfk.flac").read_bytes()
    path = tmp_path / "cut.flac"
    path.write_bytes(data[: len(data) // 2])
    runs = [transcribe(path, "--chunk-ms", size) for size in (7, 320, 20_000)]
    assert {run.code for run in runs} == {1}
    assert len({run.out for run in runs}) == 1
    assert len(runs[0].out) > 10
