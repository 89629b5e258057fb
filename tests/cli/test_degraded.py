"""A language model that cannot be used is never passed over in silence, whoever decodes."""

from __future__ import annotations

import json
import logging
import multiprocessing
import shutil
import signal
import sys
import warnings
from pathlib import Path

import pytest

from streamasr import DegradedWarning, Recognizer, RecognizerOptions
from streamasr.decoding.loading import BeamMissing
from streamasr.jobs import local
from streamasr.jobs.tasks import Settings

REASON = "the search is not installed"
MESSAGE = f"decoding is greedy, with far more errors than the model makes otherwise: {REASON}"


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model folder with settings of a beam search, on a machine that has no such search."""
    shutil.copytree(tiny_folder, tmp_path / "model")
    (tmp_path / "model" / "beam.json").write_text("{}")

    def missing(*_: object, **__: object) -> None:
        raise BeamMissing(REASON)

    monkeypatch.setattr("streamasr.decoding.choice.load_beam", missing)
    return tmp_path / "model"


@pytest.mark.smoke
def test_python_is_warned_where_the_recognizer_is_made(folder: Path):
    with pytest.warns(DegradedWarning, match=MESSAGE) as caught:
        recognizer = Recognizer.from_pretrained(folder)
    with pytest.warns(DegradedWarning, match=MESSAGE) as caught_again:
        Recognizer.from_options(recognizer.options)
    assert [warning.filename for warning in (*caught, *caught_again)] == [__file__] * 2
    assert recognizer.degraded
    assert recognizer.decoder_reason == REASON


def test_greedy_that_was_asked_for_or_is_all_there_is_is_no_warning(folder: Path, tiny):
    assert not Recognizer.from_pretrained(folder, decoder="greedy").degraded
    assert not tiny.degraded


@pytest.mark.parametrize(
    "options",
    [(), ("--timings",), ("--stdout",), ("-f", "json"), ("--output-dir", "out")],
    ids=" ".join,
)
def test_transcribe_says_it_once_however_quiet(run, folder, samples_folder, options, monkeypatch):
    monkeypatch.chdir(folder.parent)
    paths = [samples_folder / name for name in ("belly.flac", "waiting.flac")]
    done = run("transcribe", "--quiet", "--model", folder, *options, *paths)
    assert done.code == 0
    assert done.err.count(f"streamasr: warning: {MESSAGE}\n") == 1
    assert done.err.count("greedy") == 1


@pytest.mark.parametrize("live", [(), ("--live",)], ids=["", "live"])
def test_evaluate_says_it_and_its_json_stays_json(run, folder, samples_folder, live):
    done = run(
        "evaluate",
        "--quiet",
        "--json",
        "--limit",
        "1",
        *live,
        "--model",
        folder,
        samples_folder / "samples.tsv",
    )
    assert json.loads(done.out)["decoder"] == "greedy"
    assert done.err.count(MESSAGE) == 1


def test_the_microphone_says_it(run, folder, monkeypatch):
    # What is said before the first block is heard: the session itself is not this test's.
    def run_session(*_: object) -> None:
        return

    class Microphone:
        def __init__(self, *_: object, **__: object) -> None:
            self.device = type("Device", (), {"name": "toy", "sample_rate": 16_000})

        def __enter__(self) -> Microphone:
            return self

        def __exit__(self, *_: object) -> None:
            return

        def stop(self) -> None:
            return

    monkeypatch.setattr("streamasr.audio.microphone.Microphone", Microphone)
    monkeypatch.setattr(sys.modules["streamasr.cli.mic"]._Session, "run", run_session)
    done = run("mic", "--quiet", "--model", folder)
    assert done.err == f"streamasr: warning: {MESSAGE}\n"


def test_the_log_of_the_server_says_it(run, folder, monkeypatch):
    monkeypatch.setattr("streamasr.serving.running.run", lambda _: False)
    loggers = [logging.getLogger(name) for name in ("streamasr", "uvicorn")]
    before = [(logger, [*logger.handlers], logger.level) for logger in loggers]
    try:
        done = run("serve", "--model", folder, "--decoders", "1", "--port", "0")
    finally:
        for logger, handlers, level in before:
            logger.handlers, logger.level = handlers, level
    lines = [json.loads(line) for line in done.err.splitlines()]
    assert [(line["level"], line["message"]) for line in lines] == [("warning", MESSAGE)]


def test_a_worker_process_leaves_it_to_the_command(folder: Path):
    before = signal.getsignal(signal.SIGINT)
    ours, theirs = multiprocessing.Pipe()
    ours.close()  # it has loaded when it finds that nobody is there
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            local._serve(theirs, Settings(RecognizerOptions(str(folder))))
    finally:
        signal.signal(signal.SIGINT, before)
        theirs.close()


def test_workers_tell_the_command(folder: Path):
    pool = local.OwnPool(Settings(RecognizerOptions(str(folder))))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegradedWarning)
        assert pool.open().degraded == REASON
    pool.close()
