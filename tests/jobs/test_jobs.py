"""Jobs that are killed, and jobs full of broken recordings, as a user meets them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from streamasr.jobs.journal import JOURNAL

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals, pipes and modes of POSIX")


def command(model: Path, *arguments: object) -> list[str]:
    return [
        sys.executable,
        "-m",
        "streamasr",
        "transcribe",
        "--model",
        str(model),
        *map(str, arguments),
    ]


def expected_texts(tiny, paths: list[Path], folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder).with_suffix(".txt")): tiny.transcribe(path).text + "\n"
        for path in paths
    }


def visible(folder: Path) -> dict[str, str]:
    """All transcripts that can be seen now, with what is in them."""
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*.txt")}


def journalled(folder: Path) -> dict[str, int]:
    """How often each recording was done; asked when nobody writes."""
    with contextlib.closing(sqlite3.connect(folder / JOURNAL)) as database:
        rows = database.execute("SELECT output, times FROM recordings WHERE problem IS NULL")
        return dict(rows.fetchall())


def test_killed_ten_times_all_are_done_once_and_whole(
    tiny, tiny_folder: Path, scatter, tmp_path: Path
):
    folder, out = tmp_path / "in", tmp_path / "out"
    expected = expected_texts(tiny, scatter(folder, 300), folder)
    assert len(set(expected.values())) > 100
    rng = random.Random(0)
    line = command(tiny_folder, "--quiet", "--workers", 2, "-o", out, folder)
    done: dict[str, int] = {}
    for _ in range(10):
        enough = len(visible(out)) + rng.randint(1, 28)
        with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            while process.poll() is None and len(seen := visible(out)) < enough:
                assert seen.items() <= expected.items()
                time.sleep(rng.random() * 0.02)
            assert process.returncode is None, "it ended before it was killed"
            process.kill()
        seen = visible(out)
        assert seen.items() <= expected.items()
        now = journalled(out)
        assert now.keys() <= seen.keys()
        # What was in the journal was not done again.
        assert all(now[name] == times == 1 for name, times in done.items())
        done = now
    assert 10 <= len(done) < 300
    subprocess.run(line, check=True, capture_output=True)
    assert visible(out) == expected
    assert journalled(out) == dict.fromkeys(expected, 1)
    assert not [path for path in out.rglob("*") if path.name.endswith(".tmp")]


def break_some(paths: list[Path], voices: np.ndarray) -> dict[Path, str]:
    """Break recordings in thirty ways; returns them, each with what its line must say."""
    rng = np.random.default_rng(1)
    of_kind = {kind: [p for p in paths if p.suffix == f".{kind}"] for kind in ("wav", "flac")}
    wavs, flacs = iter(of_kind["wav"]), iter(of_kind["flac"])
    whole = {p: p.read_bytes() for paths in of_kind.values() for p in paths}
    broken: dict[Path, str] = {}

    def put(path: Path, data: bytes, message: str) -> None:
        path.write_bytes(data)
        broken[path] = message

    for size in (0, 0, 1, 11, 43):
        path = next(wavs)
        messages = {0: "is empty (0 bytes)", 43: "no audio samples"}
        put(path, whole[path][:size], messages.get(size, "not a recording"))
    for part in (0.3, 0.5, 0.7, 0.9):
        path = next(flacs)
        put(path, whole[path][: int(part * len(whole[path]))], "could be decoded")
    for part in (0.25, 0.75):
        path = next(wavs)
        put(path, whole[path][: int(part * len(whole[path]))], "could be decoded")
    for _ in range(4):  # fuzzed all over
        path = next(flacs)
        data = np.frombuffer(whole[path], np.uint8).copy()
        data[rng.integers(0, len(data), len(data) // 3)] = rng.integers(0, 256, len(data) // 3)
        put(path, data.tobytes(), path.name)
    for size in (100, 50_000):  # noise, as of an encrypted recording
        put(next(wavs), rng.integers(0, 256, size, np.uint8).tobytes(), "not a recording")
    header = b"\0\0\0\x20ftypM4P " + bytes(20)
    put(next(wavs), header + rng.integers(0, 256, 20_000, np.uint8).tobytes(), "cannot be read")
    for text in (b"<html><body>404</body></html>", b"%PDF-1.7\n" + bytes(999), b"PK\3\4" * 99):
        put(next(wavs), text, "not a recording")
    put(next(wavs), bytes(5_000), "not a recording")
    path = next(wavs)
    soundfile.write(path, voices[:0], 16_000)
    broken[path] = "no audio samples"
    for value in (np.nan, np.inf):
        path = next(wavs)
        soundfile.write(path, np.append(voices[:8_000], [value] * 9), 16_000, subtype="FLOAT")
        broken[path] = "NaN or infinite"
    for make, message in (
        (os.mkfifo, "pipe or a device"),
        (lambda p: p.symlink_to(p.name), "symbolic link"),
        (lambda p: p.symlink_to("nowhere.wav"), "no such file"),
        (lambda p: p.symlink_to("/dev/zero"), "pipe or a device"),
    ):
        path = next(wavs)
        path.unlink()
        make(path)
        broken[path] = message
    path = next(wavs)
    path.chmod(0)
    broken[path] = "permission denied"
    return broken


def without_privilege() -> None:
    """Let file modes bind root, too: tests may run as root, whom none keeps out."""
    if os.geteuid() == 0:
        for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
            if ctypes.CDLL(None, use_errno=True).prctl(24, capability, 0, 0, 0):  # PR_CAPBSET_DROP
                raise OSError(ctypes.get_errno(), "prctl")


def test_thirty_of_three_hundred_are_broken(
    tiny, tiny_folder: Path, scatter, voices, tmp_path: Path
):
    folder, out = tmp_path / "in", tmp_path / "out"
    paths = scatter(folder, 300)
    broken = break_some(paths, voices)
    assert len(broken) == 30
    good = [path for path in paths if path not in broken]
    expected = expected_texts(tiny, good, folder)
    line = command(tiny_folder, "--workers", 2, "-o", out, folder)
    began = time.monotonic()
    done = subprocess.run(
        line, capture_output=True, text=True, check=False, preexec_fn=without_privilege
    )
    assert time.monotonic() - began < 120
    assert done.returncode == 1
    assert done.stdout == ""
    found = visible(out)
    assert {name: found[name] for name in expected} == expected
    told = done.stderr.splitlines()
    (place,) = (number for number, text in enumerate(told) if "270 of 300 files" in text)
    notes, summary, lines = told[:place], told[place], told[place + 1 :]
    assert all("amplify it" in note for note in notes)  # many are quiet
    assert summary.endswith("30 failed")
    assert len(lines) == 30
    for path, message in broken.items():
        (about,) = [text for text in lines if f"{path}:" in text]
        assert about.startswith("streamasr: error: ")
        assert message in about
    again = subprocess.run(
        line, capture_output=True, text=True, check=False, preexec_fn=without_privilege
    )
    assert again.returncode == 1
    # Two links that lead nowhere and a file without permission: only trying tells if they still do.
    assert "0 of 3 files" in again.stderr
    assert "270 done before, 27 failed before: --retry-failed" in again.stderr
    assert again.stderr.count("streamasr: error: ") == 30


def test_the_same_settings_do_nothing_and_changes_do_just_what_changed(
    transcribe, scatter, tmp_path: Path
):
    folder, out = tmp_path / "in", tmp_path / "out"
    first, second, third = scatter(folder, 3)
    assert "3 of 3 files" in transcribe("-o", out, folder).err
    assert "0 of 0 files" in transcribe("-o", out, folder).err
    second.write_bytes(first.read_bytes() if first.suffix == second.suffix else b"broken")
    (out / third.relative_to(folder).with_suffix(".txt")).unlink()
    assert "of 2 files" in transcribe("-o", out, folder).err
    assert journalled(out)[str(first.relative_to(folder).with_suffix(".txt"))] == 1
    assert "of 3 files" in transcribe("-o", out, "-f", "json", folder).err
    assert "of 0 files" in transcribe("-o", out, "-f", "json", folder).err


@pytest.mark.smoke
def test_what_failed_is_tried_again_when_asked_or_when_it_changed(
    transcribe, scatter, tmp_path: Path
):
    folder, out = tmp_path / "in", tmp_path / "out"
    bad, _ = scatter(folder, 2)
    whole = bad.read_bytes()
    bad.write_bytes(b"broken")
    line = f"streamasr: error: {bad}: is not a recording"
    for arguments, count in (([], 2), ([], 0), (["--retry-failed"], 1)):
        done = transcribe("-o", out, *arguments, folder)
        assert done.code == 1
        assert f" of {count} file" in done.err
        assert line in done.err
    bad.write_bytes(whole)
    done = transcribe("-o", out, folder)
    assert done.code == 0
    assert "1 of 1 file" in done.err
    assert "1 done before" in done.err


def test_two_runs_in_one_folder_are_one_too_many(transcribe, scatter, tmp_path: Path):
    from streamasr.jobs.journal import Journal

    (path,) = scatter(tmp_path / "in", 1)
    with Journal(tmp_path):
        done = transcribe("-o", tmp_path, path)
    assert done.code == 2
    assert done.err == f"streamasr: error: {tmp_path}: another run is writing there; " + (
        "wait for it to end\n"
    )


def test_a_damaged_journal_is_one_line(transcribe, scatter, tmp_path: Path):
    (path,) = scatter(tmp_path / "in", 1)
    (tmp_path / JOURNAL).write_bytes(b"no database " * 999)
    done = transcribe("-o", tmp_path, path)
    assert done.code == 2
    assert "delete it to begin anew" in done.err
    assert len(done.err.splitlines()) == 1


def test_many_to_stdout_come_in_the_order_given(tiny, transcribe, scatter, tmp_path: Path):
    paths = scatter(tmp_path, 7)[::-1]
    paths.insert(3, tmp_path / "missing.wav")
    done = transcribe("--stdout", *paths)
    assert done.code == 1
    assert "missing.wav: no such file" in done.err
    assert done.out.splitlines() == [tiny.transcribe(p).text for p in paths if p.exists()]


def test_a_terminal_less_log_gets_a_line_now_and_then(transcribe, scatter, tmp_path, monkeypatch):
    monkeypatch.setattr("streamasr.cli.progress._LOG_SECONDS", 0.0)
    scatter(tmp_path / "in", 5)
    done = transcribe("-o", tmp_path / "out", tmp_path / "in")
    assert "of 5 files, 0.00 h, RTFx" in done.err
    assert " left" in done.err
    assert transcribe("-q", "-o", tmp_path / "out2", tmp_path / "in").err == ""
