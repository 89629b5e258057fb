"""What files, folders, patterns and manifests mean, and where their transcripts go."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from streamasr import StreamasrError
from streamasr.batch.inputs import expand, is_collection


@pytest.fixture
def tree(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("talks/a.wav", "talks/b.MP3", "talks/deep/er/c.flac", "talks/notes.txt", "d.wav"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "talks" / "up").symlink_to(tmp_path / "talks", target_is_directory=True)
    (tmp_path / "list.tsv").write_text("path\nd.wav\ntalks/a.wav\n../elsewhere/e.wav\n")
    return tmp_path


def places(*names: str) -> list[tuple[str, str]]:
    problems: list[str] = []
    found = [(i.path, str(i.place)) for i in expand(names, problems.append)]
    assert problems == []
    return found


@pytest.mark.smoke
def test_a_folder_is_searched_to_the_bottom_and_mirrored(tree):
    assert places("talks") == [
        ("talks/a.wav", "a"),
        ("talks/b.MP3", "b"),
        ("talks/deep/er/c.flac", "deep/er/c"),
    ]


def test_a_pattern_is_mirrored_below_its_last_plain_folder(tree):
    assert places("talks/**/*.flac") == [("talks/deep/er/c.flac", "deep/er/c")]
    assert places(str(tree / "tal*" / "a.*")) == [(str(tree / "talks/a.wav"), "talks/a")]


def test_a_manifest_is_mirrored_and_needs_no_transcripts(tree):
    assert places("list.tsv") == [
        ("d.wav", "d"),
        ("talks/a.wav", "talks/a"),
        ("../elsewhere/e.wav", "e"),
    ]


def test_a_recording_that_is_meant_twice_is_done_once(tree):
    assert places("talks/a.wav", "d.wav", "talks/*.wav") == [("talks/a.wav", "a"), ("d.wav", "d")]


def test_recordings_that_differ_in_their_extension_alone_keep_it(tree):
    (tree / "talks" / "a.ogg").touch()
    assert places("talks")[:2] == [("talks/a.ogg", "a.ogg"), ("talks/a.wav", "a.wav")]


def test_one_transcript_for_two_is_refused(tree):
    (tree / "talks" / "d.flac").touch()
    with pytest.raises(StreamasrError, match="would both be written to d"):
        expand(["d.wav", "talks/d.flac"], print)


def test_a_name_with_brackets_that_exists_is_no_pattern(tree):
    (tree / "[1].wav").touch()
    assert places("[1].wav") == [("[1].wav", "[1]")]
    assert not is_collection("[1].wav")
    assert is_collection("[2].wav")


def test_nothing_is_said_so(tree):
    with pytest.raises(StreamasrError, match="matches no file"):
        expand(["talks/*.opus"], print)
    (tree / "hollow").mkdir()
    problems: list[str] = []
    assert expand(["hollow"], problems.append) == []
    assert problems == ["hollow: a folder without recordings"]


def test_a_folder_that_cannot_be_searched_is_a_line(tree, monkeypatch):
    scandir = os.scandir

    def refuse(path):
        if os.fspath(path).endswith("deep"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    problems: list[str] = []
    assert len(expand(["talks"], problems.append)) == 2
    assert problems == ["talks/deep: cannot be searched (permission denied)"]
