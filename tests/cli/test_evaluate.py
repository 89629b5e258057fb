"""``streamasr evaluate`` and what it counts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from streamasr.errors import ModelError
from streamasr.fingerprint import fingerprint
from streamasr.tokens import Tokens
from streamasr.wer import count_errors

from ..conftest import save_tiny, write_graph
from ..decoding.models import arpa_of

ARPA = arpa_of({(word,): (-1.0, 0.0) for word in ("<s>", "</s>", "<unk>", "one", "word")})


@pytest.fixture
def evaluate(run, tiny_folder: Path, samples_folder: Path):
    manifest = samples_folder / "samples.tsv"
    return lambda *a: run("evaluate", "--model", tiny_folder, manifest, *a)


@pytest.mark.smoke
def test_json_is_one_object_with_the_figures(evaluate, tiny, samples_folder: Path):
    done = evaluate("--json", "--limit", 2)
    figures = json.loads(done.out)
    assert figures["utterances"] == 2
    assert figures["hours"] == pytest.approx((10.435 + 5.415) / 3600)
    assert figures["rtf"] > 0
    texts = [tiny.transcribe(samples_folder / f"{n}.flac").text for n in ("dinner", "waiting")]
    lines = (samples_folder / "samples.tsv").read_text().splitlines()[1:3]
    expected = count_errors([line.split("\t")[3] for line in lines], texts)
    assert figures["wer"] == pytest.approx(expected.wer)
    assert figures["cer"] == pytest.approx(expected.cer)
    assert figures["substitutions"] == expected.substitutions
    assert figures["chunk_ms"] == 1280


def test_a_table_by_speaker_and_the_worst_side_by_side(evaluate):
    done = evaluate("--worst", 2, "--chunk-ms", 1000)
    assert all(name in done.out for name in ("librispeech-1089", "jfk", "librivox", "all"))
    assert done.out.count("  ref  ") == done.out.count("  hyp  ") == 2
    assert "5 utterances" in done.out


def test_a_missing_manifest_is_one_line(run, tmp_path: Path):
    done = run("evaluate", tmp_path / "none.tsv")
    assert done.code == 2
    assert len(done.err.splitlines()) == 1
    assert "cannot be read as a manifest" in done.err


def test_errors_are_counted_over_the_corpus():
    counts = count_errors(
        ["THE CAT SAT", "ON THE MAT", ""], ["the cat sat", "in mat today", "noise"]
    )
    assert counts.words == 6
    assert counts.insertions >= 1
    errors = counts.substitutions + counts.deletions + counts.insertions
    # "on the mat" to "in mat today" takes three edits, and the noise is one word too many.
    assert errors == 4
    assert counts.wer == pytest.approx(4 / 6)


@pytest.mark.parametrize(
    ("reference", "hypothesis", "wer"), [("", "", 0.0), ("", "a", 1.0), ("A B", "", 1.0)]
)
def test_errors_of_nothing(reference, hypothesis, wer):
    assert count_errors([reference], [hypothesis]).wer == wer


@pytest.fixture
def damaged(samples_folder: Path, tmp_path: Path) -> Path:
    """A manifest: a recording, one that breaks off, and one that is no audio."""
    audio = (samples_folder / "belly.flac").read_bytes()
    (tmp_path / "good.flac").write_bytes(audio)
    (tmp_path / "short.flac").write_bytes(audio[: len(audio) // 2])
    (tmp_path / "text.flac").write_text("no audio\n" * 1000)
    lines = [f"{name}.flac\tone word" for name in ("short", "text", "good")]
    path = tmp_path / "some.tsv"
    path.write_text("\n".join(["path\ttranscript", *lines]) + "\n")
    return path


def error_lines(done, *names: str) -> None:
    """Check that the recordings of these names, and no others, have a line each."""
    lines = [line for line in done.err.splitlines() if "error" in line]
    assert len(lines) == len(names)
    for line, name in zip(lines, names, strict=True):
        assert line.startswith("streamasr: error: ")
        assert f"{name}: " in line


@pytest.mark.parametrize("live", [(), ("--live",)], ids=["streamed", "live"])
def test_a_damaged_recording_does_not_end_the_others(run, tiny_folder, damaged: Path, live):
    command = ("evaluate", "--model", tiny_folder, damaged, *live)
    done = run(*command, "--json")
    assert done.code == 1
    figures = json.loads(done.out)
    assert figures["utterances"] == 1
    assert [Path(each["path"]).name for each in figures["failed"]] == ["short.flac", "text.flac"]
    assert "damaged or cut short" in figures["failed"][0]["error"]
    error_lines(done, "short.flac", "text.flac")
    if not live:
        done = run(*command)
        assert (done.code, done.out.rstrip()[-21:]) == (1, "; 2 of 3 not measured")
        error_lines(done, "short.flac", "text.flac")


def test_a_figure_over_nothing_is_none(run, tiny_folder, damaged: Path):
    command = ("evaluate", "--model", tiny_folder, damaged, "--limit", 2)
    for live in ((), ("--live",)):
        figures = json.loads(run(*command, *live, "--json").out)
        assert (figures["utterances"], figures["wer"], len(figures["failed"])) == (0, None, 2)
        done = run(*command, *live)
        assert (done.code, done.out) == (1, "nothing measured; 2 of 2 not measured\n")


def test_tune_leaves_a_damaged_recording_out(run, tmp_path: Path, damaged: Path):
    folder = save_tiny(tmp_path / "model")
    write_graph(folder, ARPA, "one\nword\n", Tokens.characters())
    command = ("tune", "--model", folder, "--searches", 1, "--trials", 2, damaged)
    done = run(*command)
    assert done.code == 1
    assert done.out.startswith("before  ")
    assert (folder / "beam.json").exists()
    assert "\n2 of 3 recordings were left out\n" in done.err
    error_lines(done, "short.flac", "text.flac")
    done = run(*command, "--every", 3)  # the first of three
    assert (done.code, done.out) == (1, "")
    assert "there is no recording to choose on: " in done.err
    error_lines(done, "short.flac")


def test_any_exception_of_one_recording_is_its_line(run, tiny_folder, damaged, monkeypatch):
    def fail(path, **_):
        raise RuntimeError(f"what nobody foresaw\nin {path.name}")

    monkeypatch.setattr("streamasr.sources.open_audio", fail)
    done = run("evaluate", "--model", tiny_folder, damaged, "--json")
    assert done.code == 1
    error_lines(done, "short.flac", "text.flac", "good.flac")
    assert "(RuntimeError: what nobody foresaw in good.flac)" in done.err


def test_what_a_listener_should_know_is_a_note(run, tiny_folder, tmp_path: Path):
    path = tmp_path / "a.wav"
    sound = np.random.default_rng(0).normal(0, 0.1, 8_000)
    soundfile.write(path, np.stack([sound, -sound], axis=1), 16_000)
    (tmp_path / "a.tsv").write_text("path\ttranscript\n" + "a.wav\tone word\n" * 2)
    done = run("evaluate", "--model", tiny_folder, tmp_path / "a.tsv", "--json")
    assert done.code == 0
    (note,) = done.err.splitlines()
    assert note.startswith(f"{path}: ")
    assert "cancel" in note


def test_all_that_names_a_model_names_it_alike(run, tiny_folder, tiny, samples_folder, tmp_path):
    """``evaluate --json``, transcripts of one and of many, and Python."""
    found = {tiny.fingerprint}
    for extra in ([], ["--stdout"], ["--workers", "1"]):
        done = run(
            "transcribe",
            "--model",
            tiny_folder,
            samples_folder / "belly.flac",
            "-f",
            "json",
            *extra,
        )
        found.add(json.loads(done.out)["made_by"]["model_hash"])
    manifest = samples_folder / "samples.tsv"
    done = run("evaluate", "--model", tiny_folder, manifest, "--json", "--limit", 1)
    found.add(json.loads(done.out)["model"])
    assert len(found) == 1


def test_transcripts_name_the_decoder_that_was_used(run, tiny_folder, samples_folder, tmp_path):
    """Not "auto", which was asked for; a job knows its finished work all the same."""
    path = samples_folder / "belly.flac"
    with_beam = save_tiny(tmp_path / "model")
    write_graph(with_beam, ARPA, "one\nword\n", Tokens.characters())
    (with_beam / "beam.json").write_text("{}")
    for folder, decoder in ((tiny_folder, "greedy"), (with_beam, "beam")):
        command = ("transcribe", "--model", folder, path, "-f", "json")
        output = tmp_path / decoder
        for extra in ([], ["--stdout"], ["--workers", 1], ["--decoder", decoder]):
            about = json.loads(run(*command, *extra).out)["made_by"]
            assert about["decoder"] == decoder
        run(*command, "-o", output)
        about = json.loads((output / "belly.json").read_text())["made_by"]
        assert about["decoder"] == decoder
        done = run(*command, "-o", output)
        assert done.code == 0
        assert ", 1 done before" in done.err


def test_the_fingerprint_is_not_of_what_no_word_depends_on(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    before = fingerprint(tmp_path)
    for name in ("MODEL_CARD.md", "README.md", ".DS_Store"):
        (tmp_path / name).write_text("beside the point")
    assert fingerprint(tmp_path) == before
    (tmp_path / "beam.json").write_text("{}")
    assert fingerprint(tmp_path) != before
    with pytest.raises(ModelError, match="no such model folder"):
        fingerprint(tmp_path / "none")
