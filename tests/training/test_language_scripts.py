"""From books to a recurrent language model and a pruned n-gram model, by the scripts."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from streamasr.language import load_language_model
from streamasr.training.arpa import read_arpa

from .test_entropy_pruning import arpa
from .test_entropy_pruning import sentences as letters

SCRIPTS = Path(__file__).parents[2] / "scripts"


def run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, SCRIPTS / script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def book(tmp_path) -> Path:
    """Return a book of small sentences, in three chapters."""
    rng = random.Random(0)
    who, verbs = ["The cat", "The dog", "Mr. Jones", "Old Mary"], ["went to", "came to", "spoke of"]
    places = ["the sea", "the mountains", "the town", "the garden and the house"]
    paragraphs = []
    for chapter in range(3):
        paragraphs.append(f"CHAPTER {chapter + 1}")
        for _ in range(150):
            said = (f"{rng.choice(who)} {rng.choice(verbs)} {rng.choice(places)}" for _ in range(4))
            paragraphs.append(", and of course ".join(said) + ".")
    (tmp_path / "book.txt").write_text("\n\n".join(paragraphs))
    return tmp_path / "book.txt"


def test_books_become_a_recurrent_language_model_that_goes_on_learning(book, tmp_path):
    text, first, second = tmp_path / "text.txt", tmp_path / "first", tmp_path / "second"
    text.write_text(run("build_corpus", "--processes", 1, book).stdout)
    assert text.read_text().startswith(("the ", "mister ", "old "))
    tiny = ("--embedding-size", 8, "--rows", 8, "--learning-rate", 0.02, "--dev", text)
    done = run("train_language_model", first, text, "--vocabulary", 40, "--hidden-size", 12, *tiny)
    assert done.returncode == 0, done.stderr
    names = sorted(path.name for path in first.iterdir() if path.suffix != ".int16")
    assert names == ["language.safetensors", "pieces.txt"]
    wider = ("--start", first, "--hidden-size", 16, "--passes", 2)
    again = run("train_language_model", second, text, *wider, *tiny)
    assert again.returncode == 0, again.stderr
    known = load_language_model(second)
    assert known is not None
    assert known[0].config.hidden_size == 16
    assert known[1].pieces == tuple((first / "pieces.txt").read_text().split())
    perplexities = [
        float(re.search(r"perplexity of .*: ([\d.]+)", said.stdout)[1]) for said in (done, again)
    ]
    assert perplexities[1] < perplexities[0]


def test_a_text_in_parts_trains_a_model_elsewhere(book, tmp_path):
    text, first, parts = tmp_path / "text.txt", tmp_path / "first", tmp_path / "parts"
    text.write_text(run("build_corpus", "--processes", 1, book).stdout)
    tiny = ("--embedding-size", 8, "--rows", 8, "--learning-rate", 0.02)
    done = run("train_language_model", first, text, "--vocabulary", 40, "--hidden-size", 12, *tiny)
    assert done.returncode == 0, done.stderr
    packed = run("tokenise_text", parts, text, "--start", first, "--block", 100)
    assert packed.returncode == 0, packed.stderr
    assert re.fullmatch(r"\d+ pieces in 1 parts\n", packed.stdout)
    names = ["language.safetensors", "part-000.pieces.xz", "pieces.txt"]
    assert sorted(path.name for path in parts.iterdir()) == names
    second, part = tmp_path / "second", parts / "part-000.pieces.xz"
    again = run("train_language_model", second, part, "--start", parts, "--dev", text, "--minutes",
                0.1, "--passes", 2, *tiny)  # fmt: skip
    assert again.returncode == 0, again.stderr
    assert load_language_model(second) is not None
    mixed = run("train_language_model", second, part, text, "--start", parts)
    assert mixed.returncode == 1
    message = "train_language_model: error: give parts of pieces, or texts, not both\n"
    assert mixed.stderr == message
    missing = run("tokenise_text", parts, text, "--start", tmp_path)
    assert missing.stderr == f"tokenise_text: error: {tmp_path}: has no recurrent language model\n"


def test_a_start_without_a_language_model_is_one_line(book, tmp_path):
    done = run("train_language_model", tmp_path / "new", book, "--start", tmp_path)
    assert done.returncode == 1
    expected = "train_language_model: error: {}: has no recurrent language model to start with\n"
    assert done.stderr == expected.format(tmp_path)


def test_an_arpa_file_is_pruned_to_several_sizes(tmp_path):
    text = letters(3)
    (tmp_path / "text.txt").write_text("\n".join(text))
    (tmp_path / "lm.arpa").write_text(arpa(text, 3))
    done = run(
        "prune_language_model", tmp_path / "lm.arpa", tmp_path / "{}.arpa", "--text",
        tmp_path / "text.txt", "--ngrams", 20, "--ngrams", 1000,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    whole, small = (read_arpa(tmp_path / name) for name in ("lm.arpa", "20.arpa"))
    # What n-grams begin and end on stays, and is worth as much: there may be a few fewer.
    assert 15 <= sum(map(len, small.orders[1:])) <= 20
    again = read_arpa(tmp_path / "1000.arpa")
    assert [*map(len, again.orders)] == [*map(len, whole.orders)]
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == [
        str(tmp_path / "20.arpa"),
        str(tmp_path / "1000.arpa"),
    ]
    one_name = run("prune_language_model", tmp_path / "lm.arpa", tmp_path / "out.arpa",
                   "--ngrams", 20, "--ngrams", 30)  # fmt: skip
    assert one_name.returncode == 1
    message = "prune_language_model: error: PRUNED needs {} in its name for several sizes\n"
    assert one_name.stderr == message


def test_books_become_a_tagger_that_goes_on_learning(book, tmp_path):
    folder = tmp_path / "tagger"
    sizes = ("--vocabulary", 50, "--affixes", 64, "--embedding-size", 8, "--hidden-size", 16)
    command = ("train_punctuation", folder, book, *sizes, "--rows", 4, "--save-every", 2)
    first = run(*command, "--updates", 2)
    assert first.returncode == 0, first.stderr
    again = run(*command, "--updates", 4, "--held-out", book, "--most", 500)
    assert again.returncode == 0, again.stderr
    assert "update 4 of 4" in again.stdout
    assert "update 1 of 4" not in again.stdout
    lines = [json.loads(line) for line in again.stdout.splitlines() if line.startswith("{")]
    assert [(line["book"], line["pauses"]) for line in lines] == [
        ("book.txt", False),
        ("all", False),
        ("book.txt", True),
        ("all", True),
    ]
    assert {"tagger.safetensors", "tagger.txt"} <= {path.name for path in folder.iterdir()}
    missing = run("train_punctuation", tmp_path / "other", tmp_path / "nothing.txt")
    assert missing.returncode == 1
    assert missing.stderr.startswith("train_punctuation: error:")
