"""The public LibriSpeech recipe, on a tiny tree of its layout."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile

from streamasr.acoustic.model import load_bundle
from streamasr.errors import ConfigError
from streamasr.manifest import read_manifest
from streamasr.preparation import prepare
from streamasr.preparation.librispeech import check_subsets
from streamasr.training import Progress, load_config, train

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.fixture
def tree(tmp_path: Path, speech) -> Path:
    for subset, speaker in (("train-clean-100", "19"), ("dev-clean", "84")):
        folder = tmp_path / "LibriSpeech" / subset / speaker / "198"
        folder.mkdir(parents=True)
        lines = []
        for number in range(3):
            name = f"{speaker}-198-{number:04d}"
            soundfile.write(folder / f"{name}.flac", speech[: 16_000 * (number + 1)], 16_000)
            lines.append(f"{name} HE COULD WAIT NO LONGER {'AND NO MORE ' * number}".strip())
        (folder / f"{speaker}-198.trans.txt").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_a_manifest_of_a_subset(tree: Path):
    folder = tree / "LibriSpeech" / "train-clean-100"
    prepared = prepare("librispeech", folder, tree / "train-clean-100.tsv")
    assert (prepared.utterances, prepared.parts, prepared.numbers) == (3, 0, 0)
    assert prepared.hours == pytest.approx(6 / 3600)
    utterances = read_manifest(tree / "train-clean-100.tsv")
    assert [u.duration for u in utterances] == [1.0, 2.0, 3.0]
    assert {u.speaker for u in utterances} == {"librispeech-19"}
    assert utterances[1].transcript == "HE COULD WAIT NO LONGER AND NO MORE"
    assert all(u.path.is_file() for u in utterances)


def test_an_unknown_subset_is_named(tree: Path):
    with pytest.raises(ConfigError, match="train-clean-5: no LibriSpeech subset; known are"):
        check_subsets(tree, ["train-clean-5"])


def test_a_missing_subset_says_how_to_get_it(tree: Path):
    with pytest.raises(ConfigError, match="unpack the archive, or add --download"):
        check_subsets(tree, ["test-clean"])


def test_the_recipe_trains_on_the_prepared_manifests(tree: Path, tmp_path: Path):
    for folder in check_subsets(tree, ["train-clean-100", "dev-clean"]):
        prepare("librispeech", folder, tree / f"{folder.name}.tsv")
    config = load_config(RECIPES / "librispeech-100.toml")
    config = config.with_values("data", root=str(tree), workers=0)
    config = config.with_values("network", hidden_size=16, num_layers=2)
    config = config.with_values("optimizer", updates=3, decay=0)
    config = config.model_copy(update={"output": str(tmp_path / "run")})
    seen: list[Progress] = []
    bundle = load_bundle(train(config, seen.append))
    assert [p.update for p in seen] == [1, 2, 3]
    assert seen[-1].dev_wer is not None
    assert bundle.config.model.hidden_size == 16


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda p: p.stem)
def test_every_recipe_is_valid(path: Path):
    assert load_config(path).optimizer.updates > 0


def test_a_recording_that_cannot_be_opened_is_left_out(tree: Path):
    (tree / "LibriSpeech/dev-clean/84/198/84-198-0001.flac").write_text("no audio")
    failed = []
    prepared = prepare("librispeech", tree / "LibriSpeech", tree / "all.tsv", failed.append)
    assert prepared.utterances == len(read_manifest(tree / "all.tsv")) == 5
    (failure,) = failed
    assert failure.path.name == "84-198-0001.flac"
    assert failure.problem.startswith(f"{failure.path}: ")


def test_a_line_without_a_transcript_is_left_out(tree: Path):
    chapter = tree / "LibriSpeech/dev-clean/84/198/84-198.trans.txt"
    chapter.write_text(chapter.read_text() + "84-198-0003\n")
    failed = []
    prepared = prepare("librispeech", chapter.parent, tree / "dev.tsv", failed.append)
    assert prepared.utterances == 3
    assert [f.problem for f in failed] == [f"{chapter}:4: not a name and a transcript"]


def test_a_folder_of_another_layout_is_one_line(tmp_path: Path):
    with pytest.raises(ConfigError, match="not the layout of LibriSpeech"):
        prepare("librispeech", tmp_path, tmp_path / "x.tsv")
