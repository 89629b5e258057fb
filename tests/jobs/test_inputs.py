"""What files, folders, patterns and manifests mean, and where their transcripts go."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from streamasr import StreamasrError
from streamasr.jobs.inputs import expand, is_collection


@pytest.fixture
def tree(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("talks/a.wav", "talks/b.MP3", "talks/deep/er/c.flac", "talks/notes.txt", "d.wav"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"sound")
    elsewhere = tmp_path.with_name(f"{tmp_path.name}-elsewhere")
    elsewhere.mkdir()
    (elsewhere / "e.wav").write_bytes(b"sound")
    (tmp_path / "talks" / "up").symlink_to(tmp_path / "talks", target_is_directory=True)
    (tmp_path / "list.tsv").write_text(f"path\nd.wav\ntalks/a.wav\n../{elsewhere.name}/e.wav\n")
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
        (f"../{tree.name}-elsewhere/e.wav", "e"),
    ]


def test_a_recording_that_is_meant_twice_is_done_once(tree):
    assert places("talks/a.wav", "d.wav", "talks/*.wav") == [("talks/a.wav", "a"), ("d.wav", "d")]


def test_recordings_that_differ_in_their_extension_alone_keep_it(tree):
    (tree / "talks" / "a.ogg").touch()
    assert places("talks")[:2] == [("talks/a.ogg", "a.ogg"), ("talks/a.wav", "a.wav")]


def test_one_transcript_for_two_is_refused(tree):
    (tree / "talks" / "d.flac").write_bytes(b"sound")
    with pytest.raises(StreamasrError, match="would both be written to d"):
        expand(["d.wav", "talks/d.flac"], print)


def test_a_name_with_brackets_that_exists_is_no_pattern(tree):
    (tree / "[1].wav").write_bytes(b"sound")
    assert places("[1].wav") == [("[1].wav", "[1]")]
    assert not is_collection("[1].wav")
    assert is_collection("[2].wav")


def test_nothing_is_said_so(tree):
    (tree / "hollow").mkdir()
    problems: list[str] = []
    (found,) = expand(["talks/*.opus", "hollow", "d.wav"], problems.append)
    assert found.path == "d.wav"
    assert problems == ["talks/*.opus: matches no file", "hollow: a folder without recordings"]


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("d.wave", "d.wave: no such file"),
        ("https://x.org/a.wav?b=[1]", "https://x.org/a.wav?b=[1]: is an address, not a file: dow"),
        ("", "an empty file name"),
        (f"{'d' * 300}.wav", f"{'d' * 300}.wav: cannot be opened: file name too long"),
        (f"{'d' * 300}*.wav", f"{'d' * 300}*.wav: matches no file"),
        ("d.wav/e.wav", "d.wav/e.wav: cannot be opened: not a directory"),
        ("none.tsv", "none.tsv: no such file"),
    ],
)
def test_a_name_that_is_no_file_is_a_line_before_anything_is_loaded(tree, name, problem):
    problems: list[str] = []
    assert is_collection(name) == name.endswith(("*.wav", ".tsv", "[1]"))
    (found,) = expand([name, "d.wav"], problems.append)
    assert found.path == "d.wav"
    (line,) = problems
    assert line.startswith(problem)


def test_what_a_manifest_lists_wrongly_is_a_line_each(tree):
    rows = ("path\tduration_s", "d.wav\t1", "talks/a.wav", "x.wav\t1", "d.wav\tnan")
    (tree / "list.tsv").write_text("\n".join(rows))
    (tree / "bad.tsv").write_text("file\nd.wav\n")
    problems: list[str] = []
    (found,) = expand(["bad.tsv", "list.tsv"], problems.append)
    assert found.path == "d.wav"
    bad, columns, nan, missing = problems
    assert bad.startswith("bad.tsv: no column 'path'")
    assert columns == "list.tsv:3: 1 columns, the header has 2"
    assert nan == "list.tsv:5: duration_s is 'nan', not a length in seconds"
    assert missing == "x.wav: no such file"


def test_whatever_is_heard_is_taken_and_hidden_files_are_not(tree):
    folder = tree / "mixed"
    (folder / ".git").mkdir(parents=True)
    kinds = ["ts", "weba", "mpga", "sph", "3gp", "amr", "MTS", "m2ts", "oga", "wave", "3ga", "dts"]
    for kind in kinds:
        (folder / f"{kind}.{kind}").write_bytes(b"G" + bytes(187) + b"G")
    for name in ("._ts.ts", ".hidden.wav", ".git/a.wav", "code.ts", "notes.txt", "b.TXT", "README"):
        (folder / name).write_bytes(b"const a = 1;")
    notes: list[str] = []
    problems: list[str] = []
    found = [Path(i.path).name for i in expand(["mixed"], problems.append, notes.append)]
    assert found == sorted(f"{kind}.{kind}" for kind in kinds)
    assert problems == []
    assert notes == [
        "mixed: 4 files left out, by name no recordings (2 .txt, 1 without an extension, 1 .ts)"
    ]
    assert [i.path for i in expand(["mixed/*.wav"], problems.append)] == []
    assert [i.path for i in expand(["mixed/.*.wav"], print)] == ["mixed/.hidden.wav"]
    assert [i.path for i in expand(["mixed/.hidden.wav"], print)] == ["mixed/.hidden.wav"]


def test_a_name_of_dots_has_a_place(tree):
    (tree / "..wav").write_bytes(b"sound")
    assert places("..wav") == [("..wav", "..wav")]


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
