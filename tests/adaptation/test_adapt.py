"""An adaptation: a better model folder, or a copy of the one before; killed and resumed."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from streamasr.acoustic.model import load_bundle
from streamasr.adaptation import Adaptation, AdaptationConfig, adapt
from streamasr.adaptation.collection import OwnTranscripts, Recording, collect, spoken
from streamasr.adaptation.material import Learner, folds
from streamasr.errors import ConfigError, ModelError
from streamasr.fingerprint import fingerprint
from streamasr.manifest import Utterance, read_manifest
from streamasr.pretrained import PRETRAINED

QUICK = AdaptationConfig(
    epochs=3,
    folds=3,
    patience=2,
    batch_seconds=5,
    learning_rate=0.01,
    most_misfit=1e9,
    least_confidence=0,
)


def run(model: Path, manifest: Path, output: Path, config=QUICK, **more) -> Adaptation:
    return adapt(model, read_manifest(manifest, labelled=False), output, config, **more)


def test_the_loss_of_held_out_recordings_falls_and_the_folder_is_whole(
    tiny_folder, voice, tmp_path
):
    stages = {}
    found = run(
        tiny_folder, voice, tmp_path / "mine", report=lambda stage, *of: stages.update({stage: of})
    )
    assert [*stages] == ["reading", "training", "errors before", "errors after", "training on all"]
    assert all(done == of for done, of in stages.values())
    assert found.improved
    assert len(found.losses) == 4
    assert min(found.losses) < 0.97 * found.losses[0]
    assert found.before is not None
    assert found.after is not None
    assert found.after.wer <= found.before.wer
    assert found.before.words == 10
    assert found.seconds == pytest.approx((10.0, 10.0), abs=0.1)
    assert fingerprint(tmp_path / "mine") != fingerprint(tiny_folder)
    assert load_bundle(tmp_path / "mine").config.model == load_bundle(tiny_folder).config.model
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine"]
    said = (tmp_path / "mine" / "transcripts.txt").read_text().splitlines()
    assert said == [utterance.transcript.lower() for utterance in read_manifest(voice)]


def test_half_the_change_is_tried_where_all_of_it_is_worse(
    tiny_folder, voice, tmp_path, monkeypatch
):
    heard(monkeypatch, "a b c d", "x x x x", "a b c d", "x x x x", "a b c d", "a b c d", "a b c d")
    rows = [replace(u, transcript="a b c d") for u in read_manifest(voice)]
    assert adapt(tiny_folder, rows, tmp_path / "half", QUICK).improved
    heard(monkeypatch, "a b c d", "a b c d", "a b c d", "a b c d")
    assert adapt(tiny_folder, rows, tmp_path / "whole", QUICK).improved
    states = [
        load_bundle(p).model.head.bias for p in (tiny_folder, tmp_path / "half", tmp_path / "whole")
    ]
    assert 0.4 < float((states[1] - states[0]).norm() / (states[2] - states[0]).norm()) < 0.6


def heard(monkeypatch, *texts: str) -> None:
    """Have each recognizer that is loaded hear the next of ``texts`` in all recordings."""
    left = iter(texts)

    class Recogniser:
        def transcribe(self, *_, **__):
            return type("Transcript", (), {"plain_text": self.text})

        def __init__(self, *_):
            self.text = next(left)

    monkeypatch.setattr("streamasr.adaptation.run._recognizer", Recogniser)


class Killed(Exception):
    pass


@pytest.mark.parametrize(
    ("name", "updates"), [("training", 1), ("training", 9), ("training on all", 3)]
)
def test_a_killed_run_goes_on_and_ends_with_the_same_model(
    tiny_folder, voice, tmp_path, name, updates
):
    whole = run(tiny_folder, voice, tmp_path / "whole")

    def kill(stage: str, done: int, of: int) -> None:
        if stage == name and done == updates:
            raise Killed

    with pytest.raises(Killed):
        run(tiny_folder, voice, tmp_path / "killed", report=kill)
    assert not (tmp_path / "killed").exists()
    assert (tmp_path / "killed.work").is_dir()
    again = run(tiny_folder, voice, tmp_path / "killed")
    assert again.losses == whole.losses
    assert fingerprint(tmp_path / "killed") == fingerprint(tmp_path / "whole")
    assert not (tmp_path / "killed.work").exists()


def test_what_does_not_help_is_not_kept(tiny_folder, voice, tmp_path):
    wild = QUICK.model_copy(update={"learning_rate": 1e3})
    found = run(tiny_folder, voice, tmp_path / "mine", wild)
    assert not found.improved
    assert min(found.losses) == found.losses[0]
    assert fingerprint(tmp_path / "mine") == fingerprint(tiny_folder)


def test_more_errors_are_not_kept_even_if_the_loss_fell(tiny_folder, voice, tmp_path, monkeypatch):
    whole, half = ["a b c d", "x x x x", "a b c d"], ["a b c d", "a b c d", "a b x d"]
    heard(monkeypatch, "a b c d", *whole, *half)
    rows = [replace(u, transcript="a b c d") for u in read_manifest(voice)]
    found = adapt(tiny_folder, rows, tmp_path / "mine", QUICK)
    assert found.before is not None
    assert found.after is not None
    assert (found.before.wer, found.after.wer) == (0.0, 3 / 40)
    assert min(found.losses) < found.losses[0]
    assert not found.improved
    assert fingerprint(tmp_path / "mine") == fingerprint(tiny_folder)


def test_recordings_without_transcript_are_transcribed_once(tiny_folder, voice, tmp_path):
    rows = [replace(u, transcript="") for u in read_manifest(voice)]

    def kill(stage: str, done: int, of: int) -> None:
        if stage.startswith("training"):
            raise Killed

    with pytest.raises(Killed):
        adapt(tiny_folder, rows, tmp_path / "mine", QUICK, report=kill)
    written = (tmp_path / "mine.work" / "transcripts.jsonl").read_text()
    assert len(written.splitlines()) == 10
    found = adapt(tiny_folder, rows, tmp_path / "mine", QUICK)
    assert found.before is None
    assert found.after is None
    assert found.improved == (min(found.losses) < found.losses[0])


def test_own_transcripts_that_are_unsure_are_left_out(tiny, voice, tmp_path):
    rows = [replace(u, transcript=" ") for u in read_manifest(voice)]
    own = OwnTranscripts(tmp_path / "own")
    sure, none, _ = collect(rows, lambda: tiny, own, least_confidence=0)
    assert not none
    assert not any(recording.labelled for recording in sure)
    assert all(recording.text for recording in sure)
    never, all_of_them, _ = collect(
        rows,
        lambda: pytest.fail("all are transcribed"),
        OwnTranscripts(tmp_path / "own"),
        least_confidence=1,
    )
    assert not never
    assert len(all_of_them) == 10
    assert "not sure of its own transcript" in all_of_them[0].reason


def test_long_recordings_without_transcript_are_cut_where_nobody_speaks(
    recognizer, speech, tmp_path
):
    pause = np.zeros(32_000, np.float32)
    path = tmp_path / "long.wav"
    soundfile.write(path, np.concatenate([speech, pause] * 3), 16_000)
    row = Utterance(path, 0, "", "")
    found, _, _ = collect(
        [row], lambda: recognizer, OwnTranscripts(tmp_path / "own"), least_confidence=0
    )
    assert len(found) == 3
    assert all(4 < recording.seconds < 7.5 for recording in found)
    assert found[0].text == found[1].text


def test_transcripts_of_other_recordings_are_noticed(samples_folder, tmp_path):
    rows = [u for u in read_manifest(samples_folder / "samples.tsv") if u.duration < 40]
    bundle = load_bundle(PRETRAINED)
    learner = Learner(bundle, AdaptationConfig(), bundle.model.input.weight.device)
    most = AdaptationConfig().most_misfit
    recordings, left_out, _ = collect(
        rows,
        lambda: pytest.fail("there are transcripts"),
        OwnTranscripts(tmp_path / "own"),
        least_confidence=1,
    )
    assert not left_out
    _, kept, rejected = learner.examples(recordings, most)
    assert kept == recordings
    assert not rejected
    texts = [recording.text for recording in recordings]
    turned = [
        replace(recording, text=text)
        for recording, text in zip(recordings, texts[1:] + texts[:1], strict=True)
    ]
    _, kept, rejected = learner.examples([*recordings, *turned], most)
    assert kept == recordings
    assert [r.text for r in rejected] == [t.text for t in turned]
    assert rejected[0].reason == "the transcript does not fit the recording"


def test_what_cannot_be_adapted_on_is_said(tiny_folder, voice, tmp_path):
    rows = read_manifest(voice)
    with pytest.raises(ConfigError, match="4 recordings can be used: adaptation needs 5"):
        adapt(tiny_folder, rows[:4], tmp_path / "few", QUICK)
    (tmp_path / "there").mkdir()
    with pytest.raises(ConfigError, match="there: exists"):
        adapt(tiny_folder, rows, tmp_path / "there", QUICK)
    with pytest.raises(ModelError, match="no such model folder"):
        adapt(tmp_path / "absent", rows, tmp_path / "mine", QUICK)
    (tmp_path / "mine.work").mkdir()
    (tmp_path / "mine.work" / "identity.txt").write_text("another")
    with pytest.raises(ConfigError, match=r"mine\.work: left by an adaptation of other recordings"):
        adapt(tiny_folder, rows, tmp_path / "mine", QUICK)


def test_recordings_that_cannot_be_read_or_are_too_long_are_left_out(tiny_folder, voice, tmp_path):
    long = tmp_path / "long.wav"
    soundfile.write(long, np.zeros(16_000 * 41), 16_000)
    rows = [
        *read_manifest(voice),
        Utterance(tmp_path / "absent.wav", 1, "", "a"),
        Utterance(long, 41, "", "a b"),
    ]
    found = adapt(tiny_folder, rows, tmp_path / "mine", QUICK)
    assert [failure.path.name for failure in found.failed] == ["absent.wav"]
    assert [rejected.path.name for rejected in found.rejected] == ["long.wav"]
    assert "cut it into sentences" in found.rejected[0].reason


def recordings(labelled: int, others: int) -> list[Recording]:
    second = np.zeros(16_000, np.float32)
    return [
        Recording(Path(str(k)), second, "a", labelled=k < labelled)
        for k in range(labelled + others)
    ]


def test_each_recording_is_held_out_once():
    rows = recordings(11, 0)
    parts = folds(rows, 4, 1e9, 1)
    assert sorted(len(part.held_out) for part in parts) == [2, 3, 3, 3]
    held_out = [recording for part in parts for recording in part.held_out]
    assert sorted(r.path for r in held_out) == sorted(r.path for r in rows)
    for part in parts:
        assert {id(r) for r in part.train} == {id(r) for r in rows} - {id(r) for r in part.held_out}
    assert folds(rows, 4, 1e9, 1) == parts
    assert [len(part.held_out) for part in folds(rows[:5], 8, 1e9, 1)] == [1] * 5


def test_no_more_is_held_out_than_is_enough():
    assert [len(part.held_out) for part in folds(recordings(40, 0), 4, 15, 1)] == [10, 10]
    assert [len(part.held_out) for part in folds(recordings(40, 0), 4, 10, 1)] == [10]


def test_what_people_transcribed_is_held_out_if_there_is_enough():
    parts = folds(recordings(10, 30), 5, 1e9, 1)
    assert [len(part.held_out) for part in parts] == [2] * 5
    assert all(recording.labelled for part in parts for recording in part.held_out)
    parts = folds(recordings(4, 36), 5, 1e9, 1)
    assert [len(part.held_out) for part in parts] == [8] * 5


def test_trainings_end_in_time(tiny_folder, voice, tmp_path, monkeypatch):
    clock = itertools.count(step=60.0)
    monkeypatch.setattr("streamasr.adaptation.loop.time.perf_counter", lambda: next(clock))
    config = QUICK.model_copy(update={"epochs": 9, "minutes": 19})
    found = run(tiny_folder, voice, tmp_path / "mine", config)
    # An epoch takes a minute for each of three parts, and half as long again for everything.
    assert len(found.losses) == 1 + 4


@pytest.mark.parametrize(
    ("losses", "epochs"),
    [
        ([3.0, 2.0, 1.0, 0.5, 0.4], 4),
        ([3.0, 2.0, 2.1, 2.2, 1.0], 3),
        ([3.0, 3.1, 3.2, 1.0, 1.0], 2),
        ([3.0, 2.0, 2.1, 1.9, 1.8], 4),
    ],
)
def test_training_ends_where_more_does_not_help(
    tiny_folder, voice, tmp_path, monkeypatch, losses, epochs
):
    """Three folds, whose losses differ by their number but not in their course."""
    left = itertools.chain.from_iterable(
        [losses[0] + k, losses[1] + k] if e == 1 else [losses[e] + k]
        for e in range(1, 5)
        for k in range(3)
    )
    monkeypatch.setattr("streamasr.adaptation.loop.held_out_loss", lambda *_: next(left))
    config = QUICK.model_copy(update={"epochs": 4})
    found = run(tiny_folder, voice, tmp_path / "mine", config)
    shift = found.losses[0] - losses[0]
    assert 0 < shift < 2
    assert found.losses == pytest.approx([loss + shift for loss in losses[: epochs + 1]])


def test_numbers_are_learned_as_they_are_said():
    assert spoken("On the 3rd, 20 people paid $5 (in 1984).") == (
        "on the third twenty people paid five dollars in nineteen eighty four"
    )
    assert spoken(" -- ") == ""
