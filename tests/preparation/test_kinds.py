"""Each kind of data set, on a tiny tree of its layout."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamasr.audio import open_audio
from streamasr.errors import ConfigError
from streamasr.failures import Failure
from streamasr.manifest import Utterance, read_manifest
from streamasr.preparation import Kind, Prepared, prepare


def samples_of(path: Path) -> np.ndarray:
    with open_audio(path) as audio:
        return np.concatenate([*audio.blocks()])


class Result:
    """A manifest that was written, and what was said meanwhile."""

    def __init__(self, kind: Kind, source: Path, folder: Path) -> None:
        failures: list[Failure] = []
        self.prepared: Prepared = prepare(kind, source, folder / "out.tsv", failures.append)
        self.problems = [failure.problem for failure in failures]
        self.rows: list[Utterance] = read_manifest(folder / "out.tsv")


def lines(path: Path, rows: list[dict[str, Any]] | list[str]) -> Path:
    texts = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    data = ("\n".join(texts) + "\n").encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def test_common_voice(tmp_path: Path, record):
    for name in ("one", "two", "three"):
        record(tmp_path / "clips" / f"{name}.mp3", 1.0)
    (tmp_path / "clips" / "three.mp3").write_text("no audio")
    table = lines(
        tmp_path / "validated.tsv",
        [
            "client_id\tpath\tsentence_id\tsentence\tup_votes",
            f"{'ab' * 64}\tone.mp3\t\tIt's 10 o'clock, \"Bob\".\t2",
            "cd\ttwo\t\tHello there!\t2",
            "cd\tthree.mp3\t\tBroken.\t2",
            "cd\tone.mp3\t\tA line that is cut",
            "cd\tgone.mp3\t\tGone.\t2",
            "cd\ttwo.mp3\t\tWrite to a@b.\t2",
        ],
    )
    for source in (tmp_path, table):
        found = Result("common-voice", source, tmp_path)
        assert [(u.path, u.speaker, u.transcript) for u in found.rows] == [
            (
                tmp_path / "clips/one.mp3",
                "common-voice-abababababababab",
                "IT'S TEN O'CLOCK BOB",
            ),
            (tmp_path / "clips/two.mp3", "common-voice-cd", "HELLO THERE"),
        ]
        assert [u.duration for u in found.rows] == pytest.approx([1.0, 1.0], abs=0.1)
        assert found.problems[0] == f"{table}:5: 4 columns, the header has 5"
        assert [p.partition(": ")[0] for p in found.problems[1:]] == [
            str(tmp_path / "clips" / name) for name in ("three.mp3", "gone.mp3")
        ]
        assert (found.prepared.unsayable["@"], found.prepared.numbers) == (1, 1)
        assert found.prepared.examples == {"@": "Write to a@b."}


def test_a_table_of_something_else_is_one_line(tmp_path: Path):
    lines(tmp_path / "validated.tsv", ["id\ttext", "1\tx"])
    with pytest.raises(ConfigError, match="no column 'path': not a split of Common Voice"):
        prepare("common-voice", tmp_path, tmp_path / "out.tsv")


@pytest.fixture
def kaldi(tmp_path: Path, record) -> Path:
    """A data directory with a recording of 4 s and two utterances in it."""
    folder = tmp_path / "data"
    record(folder / "talk.wav", 4.0)
    lines(folder / "wav.scp", [f"talk {folder / 'talk.wav'}", "rest talk.wav"])
    lines(folder / "segments", ["u1 talk 0.5 1.75", "u2 talk 1.5 3.0", "u3 rest 2.0 -1"])
    lines(folder / "text", ["u2 AND THE SECOND", "u1\tthe first", "u3 UNTIL THE END"])
    lines(folder / "utt2spk", ["u1 ann", "u2 bob"])
    return folder


def test_kaldi_with_segments(kaldi: Path, tmp_path: Path):
    found = Result("kaldi", kaldi, tmp_path)
    assert found.problems == []
    assert [(u.path.name, u.speaker, u.transcript) for u in found.rows] == [
        ("u2.flac", "bob", "AND THE SECOND"),
        ("u1.flac", "ann", "THE FIRST"),
        ("u3.flac", "", "UNTIL THE END"),
    ]
    assert {u.path.parent for u in found.rows} == {tmp_path / "out"}
    assert found.prepared.parts == 3
    whole = samples_of(kaldi / "talk.wav")
    for row, (start, end) in zip(found.rows, [(1.5, 3.0), (0.5, 1.75), (2.0, 4.0)], strict=True):
        expected = whole[int(start * 16_000) : int(end * 16_000)]
        assert np.array_equal(samples_of(row.path), expected)
        assert row.duration == end - start


def test_kaldi_without_segments(kaldi: Path, tmp_path: Path):
    (kaldi / "segments").unlink()
    lines(kaldi / "text", ["talk ALL OF IT", "u9 NOWHERE"])
    found = Result("kaldi", kaldi, tmp_path)
    assert [(u.path, u.duration) for u in found.rows] == [(kaldi / "talk.wav", 4.0)]
    assert sorted(found.problems) == [
        f"{kaldi}: utterance rest: no transcript in text",
        f"{kaldi}: utterance u9: no recording 'u9' in wav.scp",
    ]


def test_wrong_segments_are_named_and_the_others_stay(kaldi: Path, tmp_path: Path):
    lines(
        kaldi / "segments",
        [
            "u1 talk 0.5 1",
            "a talk 5 6",
            "b talk 3 9",
            "c gone 1 2",
            "d talk x 2",
            "e talk 1",
            "f talk 1 2",
        ],
    )
    lines(kaldi / "text", [f"{name} WORDS" for name in ("u1", "a", "b", "c", "d", "e", "g")])
    found = Result("kaldi", kaldi, tmp_path)
    assert [u.path.name for u in found.rows] == ["u1.flac"]
    audio = kaldi / "talk.wav"
    assert sorted(found.problems) == sorted(
        [
            f"{audio}: utterance a, 5 s to 6 s, is no part of 4.00 s",
            f"{audio}: utterance b, 3 s to 9 s, is no part of 4.00 s",
            f"{kaldi}: utterance c: no recording 'gone' in wav.scp",
            f"{kaldi}: utterance d: the start is 'x', not a number of seconds",
            f"{kaldi}: utterance e: segments has 'talk 1': not a recording, a start and an end",
            f"{kaldi}: utterance f: no transcript in text",
            f"{kaldi}: utterance g: not in segments",
        ]
    )


@pytest.mark.parametrize(
    ("place", "what"),
    [("sph2pipe -f wav a.sph |", "a command"), ("/data/raw.ark:1234", "within an archive")],
)
def test_commands_and_archives_of_kaldi_are_refused_in_one_line(kaldi, tmp_path, place, what):
    lines(kaldi / "wav.scp", ["talk talk.wav", f"rest {place}"])
    with pytest.raises(ConfigError, match=f"wav.scp: recording rest is {what}: write the rec"):
        prepare("kaldi", kaldi, tmp_path / "out.tsv")


def test_a_recording_that_ends_early_costs_its_own_parts_alone(kaldi: Path, tmp_path: Path):
    audio = kaldi / "talk.wav"
    data = audio.read_bytes()
    audio.write_bytes(data[:-40_000])  # 2.75 of 4 s are left, though the header says 4
    found = Result("kaldi", kaldi, tmp_path)
    assert [u.path.name for u in found.rows] == ["u1.flac"]
    (problem,) = {p for p in found.problems if "utterance u" not in p}
    assert problem.startswith(f"{audio}: ")
    assert problem.endswith("; 2 of its parts are left out")


def test_nemo(tmp_path: Path, record):
    whole = record(tmp_path / "audio" / "a.wav", 3.0)
    source = lines(
        tmp_path / "train.json",
        [
            {"audio_filepath": "audio/a.wav", "duration": 3.0, "text": "All of it."},
            {"audio_filepath": str(tmp_path / "audio/a.wav"), "offset": 1.0, "duration": 1.5}
            | {"text": "a part", "speaker": "ann"},
            {"audio_filepath": "audio/a.wav", "offset": 0, "duration": 3.0, "text": "whole"},
            "{not json",
            "[1]",
            {"audio_filepath": "audio/a.wav", "duration": 3.0},
            {"duration": 3.0, "text": "x"},
            {"audio_filepath": "audio/a.wav", "offset": "soon", "duration": 3.0, "text": "x"},
            {"audio_filepath": "audio/none.wav", "duration": 3.0, "text": "x"},
        ],
    )
    found = Result("nemo", source, tmp_path)
    assert [(u.path.name, u.duration, u.speaker, u.transcript) for u in found.rows] == [
        ("a.wav", 3.0, "", "ALL OF IT"),
        ("a-000001.00.flac", 1.5, "ann", "A PART"),
        ("a.wav", 3.0, "", "WHOLE"),
    ]
    assert np.array_equal(samples_of(found.rows[1].path), whole[16_000:40_000])
    assert [p.removeprefix(f"{source}:")[:24] for p in found.problems[:5]] == [
        "4: not JSON (Expecting p",
        "5: not a JSON object",
        "6: no text",
        "7: no audio_filepath",
        "8: offset is 'soon', not",
    ]
    assert found.problems[5:] == [f"{tmp_path / 'audio/none.wav'}: no such file"]


def lhotse_cut(path: object, **changes: Any) -> dict[str, Any]:
    """A cut as Lhotse 1.x writes it."""
    recording = {
        "id": "rec",
        "sources": [{"type": "file", "channels": [0], "source": str(path)}],
        "sampling_rate": 16_000,
        "num_samples": 64_000,
        "duration": 4.0,
        "channel_ids": [0],
    }
    supervision = {"id": "s", "recording_id": "rec", "start": 0.0, "duration": 4.0, "channel": 0}
    supervision |= {"text": "All of it", "speaker": "ann", "language": "English"}
    cut = {"id": "c", "start": 0.0, "duration": 4.0, "channel": 0, "type": "MonoCut"}
    return cut | {"supervisions": [supervision], "recording": recording} | changes


@pytest.mark.parametrize("name", ["cuts.jsonl", "cuts.jsonl.gz"])
def test_lhotse(name, tmp_path: Path, record):
    path = tmp_path / "a.wav"
    whole = record(path, 4.0)
    two = [
        {"id": f"s{n}", "start": start, "duration": 0.5, "text": f"Part {n}"}
        for n, start in ((1, -0.25), (2, 1.0))
    ]
    command = lhotse_cut(path)["recording"] | {
        "sources": [{"type": "command", "channels": [0], "source": "cat a.wav"}]
    }
    stereo = lhotse_cut(path)["recording"] | {
        "sources": [{"type": "file", "channels": [0, 1], "source": "a.wav"}]
    }
    changed = lhotse_cut(path)["recording"] | {"transforms": [{"name": "Speed", "kwargs": {}}]}
    source = lines(
        tmp_path / name,
        [
            lhotse_cut("a.wav"),
            lhotse_cut(path, start=1.0, duration=2.0, supervisions=two),
            lhotse_cut(path, recording=command),
            lhotse_cut(path, recording=stereo),
            lhotse_cut(path, recording=changed),
            lhotse_cut(path, recording=None),
            lhotse_cut(path, supervisions=[]),
            lhotse_cut(path, type="MixedCut"),
            lhotse_cut(path, recording={"id": "rec"}),
            lhotse_cut(path, supervisions=[{"id": "q", "start": 0, "duration": 1}]),
        ],
    )
    found = Result("lhotse", source, tmp_path)
    assert [(u.path.name, u.duration, u.speaker, u.transcript) for u in found.rows] == [
        ("a.wav", 4.0, "ann", "ALL OF IT"),
        ("s1.flac", 0.5, "", "PART ONE"),
        ("s2.flac", 0.5, "", "PART TWO"),
    ]
    assert np.array_equal(samples_of(found.rows[1].path), whole[12_000:20_000])
    assert np.array_equal(samples_of(found.rows[2].path), whole[32_000:40_000])
    assert [p.removeprefix(f"{source}:") for p in found.problems] == [
        "3: cut c: its recording is a command, not a file",
        "4: cut c: a recording of several channels: save each as a file first",
        "5: cut c: its recording is changed on the fly: save the audio first",
        "6: cut c: no recording, only its features",
        "7: cut c: no supervision: nothing says what is said",
        "8: cut c: a MixedCut: save its audio, and a cut of that",
        "9: cut c: not as Lhotse writes cuts",
        "10: cut c: supervision q: no text",
    ]


def test_names_relative_to_where_the_command_is_run(tmp_path: Path, record, monkeypatch):
    record(tmp_path / "corpus" / "a.wav", 4.0)
    (tmp_path / "lists").mkdir()
    lines(tmp_path / "lists" / "cuts.jsonl", [lhotse_cut("corpus/a.wav")])
    monkeypatch.chdir(tmp_path)
    prepare("lhotse", Path("lists/cuts.jsonl"), Path("manifests/out.tsv"))
    (row,) = read_manifest("manifests/out.tsv")
    assert row.path == tmp_path / "corpus" / "a.wav"


def test_what_a_manifest_cannot_hold_is_left_out(tmp_path: Path, record):
    record(tmp_path / "a\tb.wav", 1.0)
    record(tmp_path / "a.wav", 1.0)
    rows = [
        {"audio_filepath": name, "text": "yes", "speaker": "an\tn"}
        for name in ("a\tb.wav", "a.wav")
    ]
    found = Result("nemo", lines(tmp_path / "list.json", rows), tmp_path)
    assert [(u.path.name, u.speaker) for u in found.rows] == [("a.wav", "an n")]
    assert found.problems == [f"{tmp_path}/a?b.wav: a manifest cannot hold a tab in a name"]


def test_a_manifest_without_an_ending_has_a_folder_of_another_name(kaldi: Path, tmp_path: Path):
    prepare("kaldi", kaldi, tmp_path / "train")
    assert {u.path.parent for u in read_manifest(tmp_path / "train")} == {tmp_path / "train-parts"}


def test_a_data_set_is_not_overwritten(tmp_path: Path):
    table = lines(tmp_path / "validated.tsv", ["path\tsentence", "a.mp3\tYes"])
    for source in (tmp_path, table):
        with pytest.raises(ConfigError, match="give the manifest another name"):
            prepare("common-voice", source, table)
    assert table.read_text().startswith("path\tsentence")


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("nemo", "gone.json", "no such file or folder"),
        ("nemo", "", "is a folder: give the manifest in it"),
        ("kaldi", "list.json", "is a file: give the folder that holds it"),
        ("nemo", "list.json", "nothing of it can be used"),
        ("kaldi", "", "wav.scp: no such file"),
        ("lhotse", "cuts.jsonl.gz", "cannot be read as UTF-8 text"),
    ],
)
def test_what_is_no_such_data_set_is_one_line(kind, name, message, tmp_path: Path):
    (tmp_path / "list.json").write_text("\n")
    (tmp_path / "cuts.jsonl.gz").write_text("not gzip")
    with pytest.raises(ConfigError, match=message) as caught:
        prepare(kind, tmp_path / name, tmp_path / "out.tsv")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out.tsv").exists()
