"""What one recording breaks, whatever it is, is that recording's line; the others are done."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from streamasr import AudioError, RecognizerOptions, Stream
from streamasr.decoding import WordDecoder
from streamasr.jobs import turns, work
from streamasr.jobs.journal import JOURNAL
from streamasr.jobs.local import LocalPool, OwnPool
from streamasr.jobs.on_ray import RayPool
from streamasr.jobs.pool import Pool
from streamasr.jobs.tasks import Outcome, Settings, Task

NAMES_OF_BYTES = pytest.mark.skipif(
    sys.platform in ("win32", "darwin"), reason="file names are Unicode there"
)


class Bomb(str):
    """A path that no worker can take over: making it anew fails."""

    def __reduce__(self):
        return int, ("no number",)


@pytest.fixture
def pools(monkeypatch, tiny_folder: Path):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # for actors
    settings = Settings(RecognizerOptions(str(tiny_folder)))
    return {
        "own": lambda: OwnPool(settings),
        "processes": lambda: LocalPool(settings, 1),
        "ray": lambda: RayPool(settings, 1),
    }


def outcomes(pool: Pool, tasks: list[Task]) -> dict[int, Outcome]:
    try:
        pool.open()
        return {o.task.id: o for found in pool.run(tasks) for o in found or ()}
    finally:
        pool.close()


@pytest.mark.parametrize("engine", ["own", "processes", "ray"])
def test_an_error_that_nobody_foresaw_is_one_outcome(pools, engine, tiny, samples_folder):
    good = str(samples_folder / "belly.flac")
    # No path at all; pieces that cannot be counted; and, for other processes, an error on the way.
    tasks = [Task(0, 7), Task(1, good), Task(2, good, -1, 1)]
    if engine != "own":
        tasks.append(Task(3, Bomb("bomb.wav")))
    found = outcomes(pools[engine](), tasks)
    assert found[1].transcript.text == tiny.transcribe(good).text
    assert found[1].problem is None
    assert found[0].problem.startswith("7: cannot be transcribed (AttributeError: ")
    assert found[2].problem.startswith(f"{good}: cannot be transcribed (ValueError: ")
    if engine != "own":
        assert found[3].problem.startswith("bomb.wav: 3 workers crashed while processing it (")
        assert "no number" in found[3].problem
    assert len(found) == len(tasks)


def test_a_step_that_fails_begins_a_new_worker(pools, tiny, samples_folder, monkeypatch):
    good = str(samples_folder / "belly.flac")
    step = work.Worker.step

    def fail(self):
        if any(task.path == "bad.wav" for task in self._waiting):
            raise MemoryError("no room")
        return step(self)

    monkeypatch.setattr(work.Worker, "step", fail)
    found = outcomes(pools["own"](), [Task(0, "bad.wav"), Task(1, good)])
    assert (
        found[0].problem == "bad.wav: 3 workers crashed while processing it (MemoryError: no room)"
    )
    assert found[1].transcript.text == tiny.transcribe(good).text


@pytest.mark.parametrize("error", [ValueError("odd"), OSError(5, "I/O error"), KeyError("rate")])
@pytest.mark.parametrize("arguments", [[], ["--stdout"], ["-o", "out"]], ids=" ".join)
def test_whatever_a_library_raises_is_one_line(
    transcribe, samples_folder: Path, monkeypatch, tmp_path, arguments, error
):
    opened = work.open_audio

    def refuse(path, **options):
        if "amiable" in str(path):
            raise error
        return opened(path, **options)

    monkeypatch.chdir(tmp_path)
    for module in (turns, work):
        monkeypatch.setattr(module, "open_audio", refuse)
    paths = [samples_folder / "amiable.flac", samples_folder / "belly.flac"]
    done = transcribe("-q", *arguments, *paths)
    assert done.code == 1
    (line,) = done.err.splitlines()
    kind = type(error).__name__
    assert line.startswith(f"streamasr: error: {paths[0]}: cannot be transcribed ({kind}: ")
    texts = [done.out] if "-o" not in arguments else [Path("out/belly.txt").read_text()]
    assert len("".join(texts).splitlines()) == 1


@pytest.mark.parametrize("arguments", [[], ["--stdout"], ["-o", "out"]], ids=" ".join)
def test_words_that_cannot_be_found_are_one_line(
    transcribe, samples_folder: Path, monkeypatch, tmp_path, arguments
):
    def failing_once(method):
        calls = []

        def fail(self, *arguments):
            calls.append(arguments)
            if len(calls) == 1:
                raise IndexError("out of range")
            return method(self, *arguments)

        return fail

    monkeypatch.chdir(tmp_path)
    for owner, name in ((Stream, "finish"), (WordDecoder, "transcript")):
        monkeypatch.setattr(owner, name, failing_once(getattr(owner, name)))
    done = transcribe("-q", *arguments, *[samples_folder / f"{n}.flac" for n in ("jfk", "belly")])
    assert done.code == 1
    (line,) = done.err.splitlines()
    assert line.endswith(".flac: cannot be transcribed (IndexError: out of range)")
    lines = done.out.splitlines()
    if not arguments:  # words that had been printed as they came stay, on a line of their own
        lines.pop(0)
    assert len(lines or list(Path("out").glob("*.txt"))) == 1


@NAMES_OF_BYTES
@pytest.mark.parametrize(
    "arguments",
    [["{}/[!l]*"], ["{}"], ["--workers", "1", "{}"], ["{}/list.tsv"], []],
    ids=["pattern", "folder", "workers", "manifest", "files"],
)
def test_a_name_that_is_not_utf8_is_a_name(
    transcribe, tiny, samples_folder: Path, tmp_path: Path, arguments
):
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    whole = (samples_folder / "belly.flac").read_bytes()
    names = [os.fsdecode(name) for name in (b"\xe9\xa0.flac", b"\xed\xa0\x80.wav")]
    for name in names:
        (folder / name).write_bytes(whole)
    rows = ["path", *names]
    (folder / "list.tsv").write_bytes(os.fsencode("\n".join(rows) + "\n"))
    given = [a.format(folder) for a in arguments] or [folder / name for name in names]
    out = tmp_path / os.fsdecode(b"out\xff")
    for _ in range(2):
        done = transcribe("-f", "json", "-o", out, *given)
        assert (done.code, done.out) == (0, ""), done.err
        assert "Traceback" not in done.err
    assert "0 of 0 files" in done.err
    assert "2 done before" in done.err
    assert sorted(p.name for p in out.iterdir()) == [
        JOURNAL,
        *sorted(f"{Path(name).stem}.json" for name in names),
    ]
    for name in names:
        document = json.loads((out / f"{Path(name).stem}.json").read_text())
        assert document["text"] == tiny.transcribe(folder / name).text
        assert "?" in document["source"]


@NAMES_OF_BYTES
def test_a_name_that_is_not_utf8_is_done_on_ray(
    tiny_folder: Path, tiny, samples_folder: Path, tmp_path: Path
):
    path = tmp_path / os.fsdecode(b"caf\xe9.flac")
    path.write_bytes((samples_folder / "belly.flac").read_bytes())
    # Ray looks at the command line of the process itself.
    line = [sys.executable, "-m", "streamasr", "transcribe", "--model", tiny_folder, "--quiet"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [*line, "--engine", "ray", "--workers", "1", "--stdout", path],
        capture_output=True,
        check=False,
        env=environment,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode() == tiny.transcribe(path).text + "\n"


def test_a_cluster_that_cannot_be_reached_is_one_line(
    transcribe, samples_folder: Path, monkeypatch
):
    import ray

    def refuse(**_options):
        raise ConnectionError("Ray is trying to start at 192.0.2.1\nand more")

    monkeypatch.setattr(ray, "init", refuse)
    done = transcribe("--engine", "ray", "--stdout", samples_folder / "belly.flac")
    assert done.code == 2
    assert done.err == (
        "streamasr: error: Ray cannot be started or reached: Ray is trying to start at 192.0.2.1\n"
    )


@NAMES_OF_BYTES
def test_a_missing_file_of_such_a_name_is_one_line(transcribe, tmp_path: Path):
    name = os.fsdecode(b"caf\xe9.wav")
    done = transcribe(tmp_path / name)
    assert done.code == 1
    assert done.err.startswith(f"streamasr: error: {tmp_path}/caf")
    assert "no such file" in done.err


@NAMES_OF_BYTES
def test_a_model_folder_of_such_a_name_is_named_in_transcripts(
    run, tiny_folder: Path, samples_folder: Path, tmp_path: Path
):
    import shutil

    model = tmp_path / os.fsdecode(b"mod\xe8le")
    shutil.copytree(tiny_folder, model)
    path = samples_folder / "belly.flac"
    done = run("transcribe", "--model", model, "-f", "json", "-o", tmp_path / "out", path)
    assert done.code == 0
    document = json.loads((tmp_path / "out" / "belly.json").read_text())
    assert document["made_by"]["model"] == "mod?le"


def test_an_output_that_could_not_be_written_is_tried_again(
    transcribe, samples_folder: Path, tmp_path: Path
):
    out = tmp_path / "out"
    (out / "belly.txt").mkdir(parents=True)
    for _ in range(2):
        done = transcribe("-o", out, samples_folder / "belly.flac", samples_folder / "jfk.flac")
        assert done.code == 1
        assert "cannot write" in done.err.splitlines()[-1]
        assert "failed before" not in done.err
    assert "1 done before" in done.err
    (out / "belly.txt").rmdir()
    done = transcribe("-o", out, samples_folder / "belly.flac", samples_folder / "jfk.flac")
    assert done.code == 0
    assert "1 of 1 file" in done.err
    assert (out / "belly.txt").is_file()


def test_a_recording_that_could_not_be_opened_is_tried_again(
    transcribe, samples_folder: Path, tmp_path: Path, monkeypatch
):
    path = tmp_path / "in" / "belly.flac"
    path.parent.mkdir()
    path.write_bytes((samples_folder / "belly.flac").read_bytes())

    def refuse(path, **options):
        raise AudioError(f"{path}: cannot be opened: permission denied")

    # Tests may run as root, whom no file mode keeps out.
    with monkeypatch.context() as patch:
        patch.setattr("streamasr.jobs.job._can_be_read", lambda _: False)
        patch.setattr(work, "open_audio", refuse)
        assert transcribe("-o", tmp_path / "out", path.parent).code == 1
    done = transcribe("-o", tmp_path / "out", path.parent)
    assert done.code == 0
    assert "1 of 1 file" in done.err
