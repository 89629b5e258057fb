"""``streamasr prepare`` and ``prepare-librispeech``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import soundfile

from streamasr.cli.prepare import DataSet
from streamasr.manifest import read_manifest
from streamasr.preparation import KINDS


@pytest.fixture
def nemo(tmp_path: Path, speech) -> Path:
    """A manifest of five utterances, two of which nobody can say."""
    soundfile.write(tmp_path / "a.flac", speech, 16_000)
    texts = ["He could wait.", "Waiting for 12", "half of it", "see [noise]", "..."]
    rows = [{"audio_filepath": "a.flac", "text": text} for text in texts]
    rows[2] |= {"offset": 1.0, "duration": 2.0}
    path = tmp_path / "list.json"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_what_was_written_is_said(run, nemo: Path, tmp_path: Path):
    manifest = tmp_path / "manifests" / "train.tsv"
    done = run("prepare", "nemo", nemo, "--output", manifest)
    assert (done.code, done.out) == (0, "")
    assert done.err.splitlines() == [
        f"{manifest}: 3 utterances, 0.0 h",
        f"1 are parts of recordings, in {tmp_path / 'manifests' / 'train'}",
        "1 transcripts had digits, now in words",
        "2 utterances were left out: nobody knows how they are said",
        "   1 with '[', such as: see [noise]",
        "   1 without words, such as: ...",
    ]
    assert [u.transcript for u in read_manifest(manifest)] == [
        "HE COULD WAIT",
        "WAITING FOR TWELVE",
        "HALF OF IT",
    ]


def test_what_is_broken_is_named_and_the_exit_code_is_1(run, nemo: Path, tmp_path: Path):
    nemo.write_text(nemo.read_text() + '\n{"audio_filepath": "gone.wav", "text": "yes"}\n')
    done = run("prepare", "nemo", nemo, "-o", tmp_path / "out.tsv", "-q")
    assert done.code == 1
    assert f"streamasr: error: {tmp_path / 'gone.wav'}: no such file" in done.err
    assert len(read_manifest(tmp_path / "out.tsv")) == 3


def test_an_unknown_kind_names_those_there_are(run, tmp_path: Path):
    done = run("prepare", "espnet", tmp_path, "-o", tmp_path / "x.tsv")
    assert done.code == 2
    assert all(kind in done.err for kind in KINDS)


def test_the_command_knows_all_kinds():
    assert tuple(DataSet) == KINDS


def test_the_older_command_writes_a_manifest_per_subset(run, tmp_path: Path, speech):
    for subset in ("train-clean-100", "dev-clean"):
        folder = tmp_path / "LibriSpeech" / subset / "19" / "198"
        folder.mkdir(parents=True)
        soundfile.write(folder / "19-198-0000.flac", speech, 16_000)
        (folder / "19-198.trans.txt").write_text("19-198-0000 HE COULD WAIT\n")
    done = run("prepare-librispeech", tmp_path, "train-clean-100", "dev-clean")
    assert done.code == 0
    assert len(done.err.splitlines()) == 2
    for subset in ("train-clean-100", "dev-clean"):
        (row,) = read_manifest(tmp_path / f"{subset}.tsv")
        assert (row.transcript, row.speaker) == ("HE COULD WAIT", "librispeech-19")
