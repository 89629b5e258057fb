"""``streamasr transcribe`` as a user meets it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from streamasr.jobs.journal import JOURNAL

from ..conftest import REPOSITORY

COMMAND = [sys.executable, "-m", "streamasr", "transcribe", "--quiet", "--model"]


def write(path: Path, samples: np.ndarray, rate: int = 16_000, **options) -> Path:
    soundfile.write(path, samples, rate, **options)
    return path


@pytest.mark.smoke
def test_text_goes_to_stdout_and_the_rest_to_stderr(transcribe, tiny, samples_folder: Path):
    path = samples_folder / "belly.flac"
    done = transcribe(path)
    assert done.code == 0
    assert done.out == tiny.transcribe(path).text + "\n"
    assert "1 of 1 file, 3.3 s of audio" in done.err
    assert "RTF" in done.err


def test_a_line_per_recording_in_the_order_given(transcribe, tiny, samples_folder: Path):
    paths = [samples_folder / name for name in ("waiting.flac", "belly.flac", "waiting.flac")]
    done = transcribe("--quiet", *paths)
    assert done.out.splitlines() == [tiny.transcribe(p).text for p in paths]
    assert done.err == ""


@pytest.mark.parametrize("chunk_ms", [40, 333, 100_000])
def test_the_chunk_size_does_not_change_the_text(transcribe, tiny, samples_folder, chunk_ms):
    path = samples_folder / "belly.flac"
    assert transcribe("--chunk-ms", chunk_ms, path).out == tiny.transcribe(path).text + "\n"


@pytest.mark.smoke
def test_json_holds_words_with_times(transcribe, samples_folder: Path):
    done = transcribe("--format", "json", samples_folder / "belly.flac")
    document = json.loads(done.out)
    words = [word for segment in document["segments"] for word in segment["words"]]
    assert " ".join(word["word"] for word in words) == document["text"]
    assert document["duration"] == pytest.approx(3.275)
    assert {"word", "start", "end", "confidence"} <= set(words[0])


@pytest.mark.parametrize("form", ["txt", "json", "jsonl", "srt", "vtt", "tsv", "ctm"])
def test_a_file_per_recording(transcribe, samples_folder: Path, tmp_path: Path, form):
    folder = tmp_path / "made" / "here"
    done = transcribe(
        "-f", form, "-o", folder, samples_folder / "belly.flac", samples_folder / "amiable.flac"
    )
    assert (done.code, done.out) == (0, "")
    names = [f"amiable.{form}", f"belly.{form}"]
    assert sorted(p.name for p in folder.iterdir()) == [JOURNAL, *names]
    assert all((folder / name).stat().st_size > 20 for name in names)


def test_stdin_is_read_as_a_container(tiny_folder: Path, tiny, samples_folder: Path):
    path = samples_folder / "belly.flac"
    command = [*COMMAND, str(tiny_folder), "-"]
    done = subprocess.run(command, input=path.read_bytes(), capture_output=True, check=True)
    assert done.stdout.decode() == tiny.transcribe(path).text + "\n"
    assert done.stderr == b""


def test_stdin_goes_into_a_folder_anew_each_time(
    tiny_folder: Path, tiny, samples_folder: Path, tmp_path: Path
):
    command = [*COMMAND, str(tiny_folder), "-o", str(tmp_path), "-"]
    for name in ("belly", "amiable"):
        path = samples_folder / f"{name}.flac"
        subprocess.run(command, input=path.read_bytes(), check=True)
        assert (tmp_path / "stdin.txt").read_text() == tiny.transcribe(path).text + "\n"


def test_one_by_one_a_folder_is_mirrored_and_what_is_done_stays_done(
    transcribe, tiny, samples_folder: Path, tmp_path: Path
):
    folder, out = tmp_path / "in" / "deep", tmp_path / "out"
    folder.mkdir(parents=True)
    for name in ("belly", "amiable"):
        (folder / f"{name}.flac").symlink_to(samples_folder / f"{name}.flac")
    line = ("--timings", "-o", out, folder.parent, folder / "belly.flac")
    assert "2 of 2 files" in transcribe(*line).err
    for name in ("belly", "amiable"):
        expected = tiny.transcribe(samples_folder / f"{name}.flac").text + "\n"
        assert (out / "deep" / f"{name}.txt").read_text() == expected
    assert "0 of 0 files" in (again := transcribe(*line)).err
    assert "2 done before" in again.err
    samples, _ = soundfile.read(samples_folder / "belly.flac", dtype="int16")
    raw = tmp_path / "raw.pcm"
    raw.write_bytes(samples.tobytes())
    for rate, done in ((16_000, "1 of 1"), (16_000, "0 of 0"), (8_000, "1 of 1")):
        assert done in transcribe("--raw", "--rate", rate, "-o", out, raw).err


@pytest.fixture
def listener(tiny_folder: Path, samples_folder: Path):
    """A process that has heard raw samples on stdin and still waits for more; and the samples."""
    audio, _ = soundfile.read(samples_folder / "dinner.flac", dtype="int16")
    command = [*COMMAND, str(tiny_folder), "--raw", "--rate", "16000", "-"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(audio.tobytes())
        process.stdin.flush()
        yield process, audio


def test_raw_samples_from_stdin_give_words_before_they_end(listener, tiny):
    process, audio = listener
    early = process.stdout.read(10)  # would wait for ever if words came only at the end
    process.stdin.close()
    text = (early + process.stdout.read()).decode()
    assert process.wait() == 0
    stream = tiny.stream()
    stream.accept(audio)
    assert text == stream.finish().text + "\n"


def test_ctrl_c_prints_the_last_words_and_exits_130(listener):
    process, _ = listener
    early = process.stdout.read(10)
    process.send_signal(signal.SIGINT)
    text = (early + process.stdout.read()).decode()
    assert process.wait() == 130
    assert text.endswith("\n")
    assert len(text) > 10


def test_a_reader_that_leaves_is_no_error(tiny_folder: Path, samples_folder: Path):
    path = samples_folder / "dinner.flac"
    command = " ".join([*COMMAND, str(tiny_folder), *[str(path)] * 3, "| head -c 1"])
    done = subprocess.run(command, shell=True, capture_output=True, check=False)
    assert done.stderr == b""


def test_timings_show_the_share_of_each_stage(transcribe, samples_folder: Path):
    done = transcribe("--timings", samples_folder / "belly.flac")
    rows = {line.split()[1]: line for line in done.err.splitlines() if "│" in line}
    assert {"audio", "frontend", "lstm", "decoder"} <= set(rows)
    assert all("%" in row for row in rows.values())


def cases(folder: Path) -> dict[str, tuple[Path, str]]:
    """Bad inputs, each with what its line must say."""
    speech = (0.1 * np.random.default_rng(0).standard_normal(16_000)).astype(np.float32)
    nan = speech.copy()
    nan[8_000] = np.nan
    text = folder / "text.wav"
    text.write_text("this is no recording\n" * 40)
    empty = folder / "empty.wav"
    empty.touch()
    whole = write(folder / "whole.flac", np.tile(speech, 5))
    hollow = folder / "hollow"
    hollow.mkdir()
    cut = folder / "cut.flac"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    return {
        "empty file": (empty, "empty"),
        "text named .wav": (text, "text.wav"),
        "truncated flac": (cut, "of 5.00 s could be decoded"),
        "no samples": (write(folder / "none.wav", speech[:0]), "no audio samples"),
        "NaN samples": (write(folder / "nan.wav", nan, subtype="FLOAT"), "NaN"),
        "missing file": (folder / "nowhere.wav", "nowhere.wav"),
        "hollow folder": (hollow, "a folder without recordings"),
    }


@pytest.mark.parametrize(
    "case",
    [
        "empty file",
        "text named .wav",
        "truncated flac",
        "no samples",
        "NaN samples",
        "missing file",
        "hollow folder",
    ],
)
def test_a_bad_file_is_one_line_and_the_others_are_done(
    transcribe, tiny, samples_folder: Path, tmp_path: Path, case
):
    path, message = cases(tmp_path)[case]
    good = samples_folder / "belly.flac"
    done = transcribe("--quiet", path, good)
    assert done.code == 1
    (line,) = done.err.splitlines()
    assert line.startswith("streamasr: error: ")
    assert message in line
    assert done.out.splitlines()[-1] == tiny.transcribe(good).text


def test_an_unreadable_file_is_one_line(transcribe, samples_folder: Path, monkeypatch):
    good = samples_folder / "belly.flac"
    opened = Path.open

    def refuse(path: Path, *arguments, **options):
        if path.name == "amiable.flac":
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *arguments, **options)

    # Tests may run as root, whom no file mode keeps out.
    monkeypatch.setattr(Path, "open", refuse)
    done = transcribe("--quiet", samples_folder / "amiable.flac", good)
    assert done.code == 1
    assert len(done.err.splitlines()) == 1
    assert "Permission denied" in done.err or "permission" in done.err
    assert len(done.out.splitlines()) == 1


def test_what_was_heard_of_a_truncated_file_is_kept(transcribe, tmp_path: Path, samples_folder):
    cut = tmp_path / "cut.flac"
    data = (samples_folder / "dinner.flac").read_bytes()
    cut.write_bytes(data[: len(data) * 2 // 3])
    done = transcribe(cut)
    assert done.code == 1
    assert len(done.out) > 40
    assert "0 of 1 file" in done.err
    assert "1 failed" in done.err


def test_eight_channels_at_96_khz_are_fine(transcribe, tmp_path: Path):
    rng = np.random.default_rng(0)
    path = write(tmp_path / "wide.wav", 0.1 * rng.standard_normal((96_000, 8)), 96_000)
    done = transcribe(path)
    assert done.code == 0
    assert "1.0 s of audio" in done.err


SAMPLE = str(REPOSITORY / "samples" / "belly.flac")
SAME = str(REPOSITORY / "samples" / ".." / "samples" / "belly.flac")
USAGE = {
    "no file": ([], "Missing argument"),
    "unknown format": (["-f", "doc", "a.wav"], "doc"),
    "raw without a rate": (["--raw", "-"], "--rate 16000"),
    "a rate without raw": (["--rate", "8000", "a.wav"], "--raw"),
    "stdin twice": (["-", "-"], "read only once"),
    "two srt on stdout": (["-f", "srt", "a.wav", "b.wav"], "--output-dir"),
    "one output for two": (["-o", "out", SAMPLE, SAME], "both be written to"),
    "no chunk": (["--chunk-ms", "0", "a.wav"], "--chunk-ms"),
    "unknown backend": (["--backend", "abacus", "a.wav"], "abacus"),
    "backend without its GPU": (["--backend", "triton", SAMPLE], "use auto or torch"),
    "hotwords without a search": (["--decoder", "greedy", "--hotwords", "h", "a"], "--hotwords"),
    "readings without a search": (["--decoder", "greedy", "--nbest", "2", "a"], "--nbest needs"),
    "no hotwords": (["--hotwords", "none.txt", SAMPLE], "none.txt: cannot be read"),
}


@pytest.mark.parametrize(("arguments", "message"), USAGE.values(), ids=USAGE.keys())
def test_wrong_usage_exits_2_and_says_what_to_do(transcribe, arguments, message):
    done = transcribe(*arguments)
    assert (done.code, done.out) == (2, "")
    assert message in " ".join(done.err.replace("│", " ").split())
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--formatted",), "tagger.safetensors: missing"),
        (("--remove-fillers",), "tagger.safetensors: missing"),
        (("--plain", "--mask-profanity"), "--mask-profanity is for formatted text"),
        (("-f", "ctm", "--remove-fillers"), "--remove-fillers is for formatted text"),
    ],
)
def test_formatted_text_that_cannot_be_had_is_one_line(
    transcribe, samples_folder: Path, arguments, message
):
    done = transcribe(*arguments, samples_folder / "belly.flac")
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert done.err.count("\n") == 1


def test_plain_text_is_the_recognised_words(run, recognizer, samples_folder: Path):
    path = samples_folder / "waiting.flac"
    transcript = recognizer.transcribe(path)
    assert run("transcribe", "-q", path).out == transcript.text + "\n"
    assert run("transcribe", "-q", "--plain", path).out == transcript.plain_text + "\n"


def test_a_missing_model_is_one_line(run, samples_folder: Path, tmp_path: Path):
    done = run("transcribe", "--model", tmp_path / "none", samples_folder / "belly.flac")
    assert done.code == 2
    assert done.err == f"streamasr: error: {tmp_path / 'none'}: no such model folder\n"


def test_an_output_folder_that_cannot_be_made_is_one_line(transcribe, samples_folder, tmp_path):
    (tmp_path / "file").touch()
    done = transcribe("-o", tmp_path / "file" / "x", samples_folder / "belly.flac")
    assert done.code == 2
    assert len(done.err.splitlines()) == 1


def test_version_and_help(run):
    assert run("--version").out.startswith("streamasr 0.")
    done = run("--help")
    assert all(name in done.out for name in ("transcribe", "evaluate", "train"))


def test_help_is_quick_because_torch_is_not_imported():
    code = "import sys, streamasr, streamasr.cli; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
