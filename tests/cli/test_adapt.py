"""``streamasr adapt`` as a user meets it."""

from __future__ import annotations

from pathlib import Path

from streamasr.manifest import read_manifest

from ..adaptation.conftest import voice  # noqa: F401

OPTIONS = ("--trust-transcripts", "--epochs", 2, "--device", "cpu")


def test_a_model_for_a_voice(run, tiny_folder: Path, voice: Path, tmp_path: Path):  # noqa: F811
    done = run("adapt", voice, "-o", tmp_path / "mine", "--model", tiny_folder, *OPTIONS)
    assert (done.code, done.out) == (0, "")
    assert "held-out WER " in done.err
    assert f"the adapted model is in {tmp_path / 'mine'}" in done.err
    said = run("transcribe", "--model", tmp_path / "mine", read_manifest(voice)[0].path)
    assert said.code == 0


def test_wrong_transcripts_are_listed(run, tiny_folder: Path, voice: Path, tmp_path: Path):  # noqa: F811
    done = run("adapt", voice, "-o", tmp_path / "mine", "--model", tiny_folder)
    assert done.code == 2
    assert "0 recordings can be used: adaptation needs 5 at least" in done.err
    assert "Traceback" not in done.err


def test_mistakes_are_one_line(run, tiny_folder: Path, voice: Path, tmp_path: Path):  # noqa: F811
    done = run("adapt", voice, "-o", tmp_path, "--model", tiny_folder)
    assert (done.code, done.out) == (2, "")
    assert f"{tmp_path}: exists; give --output a new folder" in done.err
    done = run("adapt", voice, "-o", tmp_path / "mine", "--model", tmp_path / "absent")
    assert done.code == 2
    assert "no such model folder" in done.err
    done = run(
        "adapt", voice, "-o", tmp_path / "mine", "--model", tiny_folder, "--device", "abacus"
    )
    assert done.code == 2
    assert "device 'abacus' cannot be used here" in done.err
