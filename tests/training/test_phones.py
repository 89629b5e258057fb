"""From recordings and a lexicon to a model that reads words off phones, in small."""

from __future__ import annotations

import csv
import itertools
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from streamasr import Recognizer
from streamasr.acoustic.model import load_bundle
from streamasr.errors import ConfigError, ModelError
from streamasr.manifest import normalise, read_manifest
from streamasr.tokens import Tokens
from streamasr.training import load_config, train
from streamasr.training.config import NetworkConfig
from streamasr.training.labels import Labels
from streamasr.training.network import TrainingNetwork
from streamasr.tuning import tune

from ..conftest import REPOSITORY, relative_error

PHONE_OF = {"a": "aa", "b": "b", "c": "ch", "d": "d"}


def words_of(root: Path) -> list[str]:
    return sorted(
        {
            word
            for name in ("train.tsv", "dev.tsv")
            for u in read_manifest(root / name)
            for word in normalise(u.transcript).split()
        }
    )


def write_lexicon(path: Path, words: list[str]) -> None:
    lines = (f"{word} {' '.join(PHONE_OF[c] for c in word)}\n" for word in words)
    path.write_text("".join(lines))


def language_model(words: list[str]) -> str:
    """Return an ARPA file in which every word is as likely as any other."""
    listed = "".join(f"-1.5\t{word}\t0\n" for word in words)
    begun = "".join(f"-1.5\t<s> {word}\n" for word in words)
    return (
        f"\\data\\\nngram 1={len(words) + 3}\nngram 2={len(words)}\n\n"
        f"\\1-grams:\n-99\t<s>\t0\n-1\t</s>\n-5\t<unk>\n{listed}\n"
        f"\\2-grams:\n{begun}\n\\end\\\n"
    )


def test_the_chain_from_recordings_to_words(recipe, tone_data: Path, tmp_path: Path):
    characters = train(load_config(recipe("characters", updates=60, save_every=60)))

    words = words_of(tone_data)
    write_lexicon(tmp_path / "lexicon.txt", words)
    path = recipe("phones", updates=240, save_every=120, decay=120)
    path.write_text(
        f'init = "{characters}"\n'
        + path.read_text().replace("muon = false", "")
        + """muon = true

[phones]
lexicon = "lexicon.txt"
align = [0, 2, 4]
delay_seconds = 0.08

[loss]
characters = 0.3
frames = 1.0
phones = 0.3
denominator = true
denominator_from = 120
"""
    )
    folder = train(load_config(path))
    with (tmp_path / "phones" / "log.csv").open(newline="") as file:
        rows = [*csv.DictReader(file)]
    first, last = rows[0], rows[-1]
    assert float(last["loss_frames"]) < 0.5 * float(first["loss_frames"])
    assert float(last["loss_phones"]) < 0.5 * float(rows[119]["loss_phones"])
    # The last labels were aligned by phones, and say each utterance's phones.
    labels = Labels.load(tmp_path / "phones" / "labels-4.npz")
    phones = Tokens.phones()
    for index, utterance in enumerate(read_manifest(tone_data / "train.tsv")):
        said = [PHONE_OF[c] for c in normalise(utterance.transcript).replace(" ", "")]
        assert [phones.symbols[k] for k in labels.phones(index)] == said

    write_lexicon(folder / "lexicon.txt", words)
    (tmp_path / "lm.arpa").write_text(language_model(words))
    command = [sys.executable, "-m", "streamasr.decoding.graph", tmp_path / "lm.arpa"]
    subprocess.run([*command, folder / "lexicon.txt", folder], check=True)
    dev, stages = read_manifest(tone_data / "dev.tsv"), []
    found = tune(folder, dev, searches=2, trials=50, report=lambda *stage: stages.append(stage))
    assert {name for name, _, _ in stages} == {
        "posteriors",
        "search 1",
        "search 2",
        "before",
        "after",
    }
    assert all(total == len(dev) for _, _, total in stages)
    assert found.after.counts.wer <= found.before.counts.wer
    assert json.loads((folder / "beam.json").read_text()) == found.after.config.model_dump(
        exclude_defaults=True
    )
    text = tmp_path / "text.txt"
    text.write_text("".join(f"{u.transcript.lower()}\n" for u in dev) * 400)
    command = [sys.executable, REPOSITORY / "scripts" / "train_language_model", folder, text]
    sizes = ["--vocabulary", "12", "--embedding-size", "8", "--hidden-size", "16"]
    run = subprocess.run(
        [*command, "--dev", text, *sizes], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert "perplexity of" in run.stdout
    command = [sys.executable, "-m", "streamasr", "tune", tone_data / "dev.tsv", "--model", folder]
    run = subprocess.run(
        [*command, "--searches=2", "--trials=40"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    before, after, change = run.stdout.splitlines()
    assert before.startswith("before  lm_weight")
    assert "rescoring_weight" not in before
    assert re.fullmatch(r"change  [+-]\d+\.\d\d to [+-]\d+\.\d\d points of WER .*", change)
    settings = json.loads((folder / "beam.json").read_text())
    # It counts for something only where that made fewer errors.
    assert ("rescoring_weight" in after) == ("rescoring_weight" in settings)
    recognizer = Recognizer.from_pretrained(folder)
    assert recognizer.decoder == "beam"
    # Whether "ab b" is one word, or a long sound two short ones, only a language model can tell.
    for utterance in dev:
        heard = recognizer.transcribe(utterance.path).text
        assert sounds(heard) == sounds(normalise(utterance.transcript))


def sounds(text: str) -> list[str]:
    return [letter for letter, _ in itertools.groupby(text.replace(" ", ""))]


def test_phones_need_a_lexicon(recipe):
    path = recipe()
    path.write_text(path.read_text() + "[loss]\nframes = 1.0\n")
    with pytest.raises(ConfigError, match=r"loss\.frames and loss\.phones need phones\.lexicon"):
        load_config(path)


def test_both_heads_are_exported():
    torch.manual_seed(0)
    network = TrainingNetwork(NetworkConfig(hidden_size=20, num_layers=2), 12, 7, 5).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        expected = network(torch.randn(30, 4, 12, generator=torch.Generator().manual_seed(1)))
    frames = torch.randn(30, 4, 12, generator=torch.Generator().manual_seed(1))
    shipped, _ = network.export()(frames)
    assert relative_error(shipped, expected[..., :12]) < 1e-6
    heads = shipped.exp()
    assert torch.allclose(heads[..., :7].sum(-1), torch.ones(30, 4))
    assert torch.allclose(heads[..., 7:].sum(-1), torch.ones(30, 4))


def test_a_bundle_with_phones_is_read_back(recipe, tone_data: Path, tmp_path: Path):
    write_lexicon(tmp_path / "lexicon.txt", words_of(tone_data))
    path = recipe(updates=2, save_every=2, decay=0)
    path.write_text(path.read_text() + '[phones]\nlexicon = "lexicon.txt"\n[loss]\nframes = 1.0\n')
    bundle = load_bundle(train(load_config(path)))
    assert bundle.phones == bundle.spelling_tokens == Tokens.phones()
    assert bundle.spelling_part == slice(29, 29 + len(Tokens.phones()))
    (bundle.folder / "phones.txt").unlink()
    with pytest.raises(Exception, match=r"phones\.txt: cannot be read"):
        load_bundle(bundle.folder)


def test_a_model_without_a_search_graph_cannot_be_tuned(tiny_folder, tone_data):
    dev = read_manifest(tone_data / "dev.tsv")
    with pytest.raises(ModelError, match=r"graph\.safetensors"):
        tune(tiny_folder, dev)
