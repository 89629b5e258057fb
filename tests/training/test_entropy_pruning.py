"""Pruning of n-gram models, against a plain model of dictionaries and sums over all words."""

from __future__ import annotations

import itertools
import math
import random
import re
from collections import Counter

import numpy as np
import pytest

from streamasr.errors import ModelError
from streamasr.training.arpa import NgramModel, read_arpa, write_arpa
from streamasr.training.entropy_pruning import (
    counted_histories,
    history_probabilities,
    prune,
    worths,
)
from streamasr.training.ngram_counts import ngram_counts
from streamasr.training.reestimation import reestimated

LETTERS = ("a", "b", "c", "d")


class Plain:
    """A back-off model as dictionaries: slow and obvious."""

    def __init__(self, probs, back_offs):
        self.probs, self.back_offs = probs, back_offs
        self.words = [w for (w,) in (key for key in probs if len(key) == 1) if w != "<s>"]

    def prob(self, history, word):
        if (*history, word) in self.probs:
            return self.probs[(*history, word)]
        return self.back_offs.get(history, 1.0) * self.prob(history[1:], word)

    def without(self, ngram):
        """Return the model that lacks an n-gram, and whose probabilities sum to 1 again."""
        history = ngram[:-1]
        probs = {key: value for key, value in self.probs.items() if key != ngram}
        return Plain(probs, {**self.back_offs, history: Plain.back_off(probs, self, history)})

    @staticmethod
    def back_off(probs, lower, history):
        explicit = [w for w in lower.words if (*history, w) in probs]
        left = 1 - sum(probs[(*history, w)] for w in explicit)
        return left / (1 - sum(lower.prob(history[1:], w) for w in explicit))


def plain_of(model: NgramModel) -> Plain:
    probs, back_offs = {}, {}
    for order, ngrams in enumerate(model.orders, 1):
        for place in range(len(ngrams)):
            key = spelled(model, order, place)
            probs[key] = 10.0 ** float(ngrams.log_prob[place])
            back_offs[key] = 10.0 ** float(ngrams.back_off[place])
    return Plain(probs, back_offs)


def spelled(model, order, place) -> tuple[str, ...]:
    ngrams = model.orders[order - 1]
    last = (model.words[ngrams.word[place]],)
    return (*spelled(model, order - 1, ngrams.context[place]), *last) if order > 1 else last


def sentences(seed: int, count: int = 60) -> list[str]:
    """Return sentences in which a letter depends on the two before it, by rules of the seed's."""
    rng = random.Random(seed)
    table = {pair: rng.choices(LETTERS, k=3) for pair in itertools.product(LETTERS, repeat=2)}
    found = []
    for _ in range(count):
        row = rng.choices(LETTERS, k=2)
        while rng.random() < 0.85:
            row.append(rng.choice(table[row[-2], row[-1]]))
        found.append(" ".join(row))
    return found


def arpa(text: list[str], order: int, least: int = 2) -> str:
    """Return an ARPA file of absolute discounting, with n-grams seen ``least`` times or more."""
    counts = [Counter() for _ in range(order + 1)]
    for line in text:
        row = ["<s>", *line.split(), "</s>"]
        for n in range(1, order + 1):
            counts[n].update(tuple(row[k : k + n]) for k in range(len(row) - n + 1))
    words = [*LETTERS, "</s>", "<unk>"]
    total = sum(counts[1][w,] for w in words) + len(words)
    probs = {(w,): (counts[1][w,] + 1) / total for w in words} | {("<s>",): 1.0}
    plain = Plain(probs, {})
    for n in range(2, order + 1):
        seen = [key for key, count in counts[n].items() if count >= least or n == 2]
        added = {}
        for key in seen:
            below = sum(c for other, c in counts[n].items() if other[:-1] == key[:-1])
            added[key] = (counts[n][key] - 0.4) / below
        for history in {key[:-1] for key in seen}:
            plain.back_offs[history] = Plain.back_off(plain.probs | added, plain, history)
        plain.probs |= added
    lines = ["\\data\\"]
    keys = [[key for key in plain.probs if len(key) == n] for n in range(1, order + 1)]
    lines += [f"ngram {n}={len(found)}" for n, found in enumerate(keys, 1)]
    for n, found in enumerate(keys, 1):
        lines += ["", f"\\{n}-grams:"]
        for key in found:
            back_off = "" if n == order else f"\t{math.log10(plain.back_offs.get(key, 1.0)):.7g}"
            lines.append(f"{math.log10(plain.probs[key]):.7g}\t{' '.join(key)}{back_off}")
    return "\n".join([*lines, "", "\\end\\", ""])


@pytest.fixture(params=[(2, 0), (3, 1), (4, 2)], ids=lambda p: f"{p[0]}-grams")
def model(request, tmp_path) -> NgramModel:
    order, seed = request.param
    (tmp_path / "lm.arpa").write_text(arpa(sentences(seed), order))
    return read_arpa(tmp_path / "lm.arpa")


def assert_sums_to_one(plain: Plain):
    for history in {key[:-1] for key in plain.probs} | {("a", "a"), ("d", "<unk>", "b")}:
        assert sum(plain.prob(history, w) for w in plain.words) == pytest.approx(1, abs=1e-5)


def test_an_ngram_is_worth_the_relative_entropy_without_it(model):
    plain = plain_of(model)
    histories = history_probabilities(model)
    # Only what nothing begins or ends on is worth just its own loss.
    for order in range(2, len(model.orders) + 1):
        cut = NgramModel(model.words, model.orders[:order])
        found = worths(cut, histories)[order - 1]
        for place in range(len(found)):
            key = spelled(model, order, place)
            other = plain.without(key)
            history = key[:-1]
            chain = math.prod(
                plain.prob(history[:k], w) if w != "<s>" else plain.prob((), "</s>")
                for k, w in enumerate(history)
            )
            loss = chain * sum(
                p * math.log(p / other.prob(history, w))
                for w in plain.words
                for p in [plain.prob(history, w)]
            )
            assert found[place] == pytest.approx(loss, rel=1e-3, abs=1e-8)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 1.0])
def test_what_is_left_is_a_whole_model_that_sums_to_one(model, share, tmp_path):
    assert_sums_to_one(plain_of(model))
    worth = worths(model, history_probabilities(model))
    threshold = float(np.quantile(np.concatenate(worth[1:]), share)) if share else -1.0
    pruned = prune(model, worth, threshold)
    plain = plain_of(pruned)
    assert_sums_to_one(plain)
    for key in plain.probs:
        assert len(key) == 1 or (key[:-1] in plain.probs and key[1:] in plain.probs)
    kept = sum(map(len, pruned.orders[1:]))
    assert kept == sum(int((w > threshold).sum()) for w in worth[1:])
    write_arpa(pruned, tmp_path / "pruned.arpa")
    again = read_arpa(tmp_path / "pruned.arpa")
    assert plain_of(again).probs == pytest.approx(plain.probs, rel=1e-5)
    assert plain_of(again).back_offs == pytest.approx(plain.back_offs, rel=1e-5)
    if share == 0.0:
        assert plain.back_offs == pytest.approx(plain_of(model).back_offs, rel=1e-3)


def test_pruning_by_worth_keeps_what_the_text_needs(tmp_path):
    text = sentences(5) * 20
    (tmp_path / "lm.arpa").write_text(arpa(text, 3))
    model = read_arpa(tmp_path / "lm.arpa")
    worth = worths(model, counted_histories(model, ngram_counts(model, text)))

    def cross_entropy(share, values):
        threshold = float(np.quantile(np.concatenate(values[1:]), share))
        plain = plain_of(prune(model, values, threshold))
        losses = [
            -math.log(plain.prob(tuple(row[max(0, k - 2) : k]), row[k]))
            for row in (["<s>", *line.split(), "</s>"] for line in text[:60])
            for k in range(1, len(row))
        ]
        return sum(losses) / len(losses)

    # By chance instead of by worth, but only trigrams, on which nothing else depends.
    chance = [np.full(len(ngrams), np.inf) for ngrams in model.orders]
    chance[2] = np.random.default_rng(0).random(len(chance[2]))
    whole = cross_entropy(0, chance)
    lost, lost_by_chance = (cross_entropy(0.25, v) - whole for v in (worth, chance))
    assert 0 <= lost < lost_by_chance / 2


def test_ngrams_are_counted(model):
    text = ["a b c", "b c", "x b", ""]
    rows = [["<s>", *line.replace("x", "<unk>").split(), "</s>"] for line in text]
    found = ngram_counts(model, text)
    histories = counted_histories(model, found)
    assert (len(found), len(histories)) == (len(model.orders), len(model.orders) - 1)
    for order in range(1, len(model.orders) + 1):
        expected = Counter(
            tuple(row[k : k + order]) for row in rows for k in range(len(row) - order + 1)
        )
        for place, count in enumerate(found[order - 1]):
            key = spelled(model, order, place)
            assert count == expected[key]
            if order <= len(histories):
                # Of seven words and four ends; nothing follows an end.
                share = 0 if key[-1] == "</s>" else count / 11
                assert histories[order - 1][place] == pytest.approx(share)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_what_is_estimated_anew_sums_to_one_and_knows_other_text_better(share, tmp_path):
    text, order = sentences(7, 400), 4
    text, heldout = text[:200], text[200:]
    (tmp_path / "lm.arpa").write_text(arpa(text, order))
    model = read_arpa(tmp_path / "lm.arpa")
    counts = ngram_counts(model, text)
    worth = worths(model, counted_histories(model, counts))
    threshold = float(np.quantile(np.concatenate(worth[1:]), share)) if share else -1.0
    pruned = prune(model, worth, threshold)
    kept = [c[w > threshold] for c, w in zip(counts, worth, strict=True)][: len(pruned.orders)]
    plain = plain_of(reestimated(pruned, kept))
    assert_sums_to_one(plain)
    rows = [["<s>", *line.split(), "</s>"] for line in heldout]
    losses = {
        name: -sum(
            math.log(found.prob(tuple(row[max(0, k - order + 1) : k]), row[k]))
            for row in rows
            for k in range(1, len(row))
        )
        for name, found in (("pruned", plain_of(pruned)), ("anew", plain))
    }
    assert losses["anew"] < losses["pruned"]


def test_counts_that_pruned_ngrams_explained_fall_to_the_lower_order(tmp_path):
    # "b" follows "a" only, eight times: with "a b" in the model it counts little by itself.
    text = ["a b"] * 8 + ["c", "d", "c d", "d c"]
    (tmp_path / "lm.arpa").write_text(arpa(text, 2))
    model = read_arpa(tmp_path / "lm.arpa")
    counts = ngram_counts(model, text)
    whole = plain_of(reestimated(model, counts))
    flags = [np.array([spelled(model, n + 1, k) != ("a", "b") for k in range(len(c))])
             for n, c in enumerate(counts)]  # fmt: skip
    without = prune(model, [np.where(f, 1.0, -1.0) for f in flags], 0.0)
    kept = [c[f] for c, f in zip(counts, flags, strict=True)]
    other = plain_of(reestimated(without, kept))
    assert other.prob((), "b") > 3 * whole.prob((), "b")
    assert whole.prob(("a",), "b") > 0.8
    assert other.prob(("a",), "b") > 0.25


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("\\data\\", "\\date\\", "not an ARPA file"),
        ("ngram 2=", "ngram 7=", "its head cannot be read"),
        ("\\2-grams:", "\\3-grams:", "no 2-grams where they should be"),
        ("\ta b\t", "\ta e\t", "2-grams that cannot be read"),
        ("\ta b\t", "\ta b\tx", "2-grams that cannot be read"),
        ("\ta b\t", "\ta a\t", "has a 2-gram twice"),
        ("\\end\\", "", "no end"),
        ("\ta\t", "\tb\t", "a word is listed twice"),
        ("ngram 3=", "ngram 3=9", "3-grams that cannot be read, are fewer than the file says"),
    ],
)
def test_a_damaged_file_is_one_line(old, new, reason, tmp_path):
    text = arpa(sentences(1), 3)
    assert old in text
    (tmp_path / "lm.arpa").write_text(text.replace(old, new, 1))
    with pytest.raises(ModelError, match=reason):
        read_arpa(tmp_path / "lm.arpa")


def test_a_file_that_lacks_what_an_ngram_begins_with_is_one_line(tmp_path):
    lines = arpa(sentences(1), 3).splitlines()
    ((place, _),) = [(k, line) for k, line in enumerate(lines) if "\ta b\t" in line]
    del lines[place]
    head = next(line for line in lines if line.startswith("ngram 2="))
    lines[lines.index(head)] = f"ngram 2={int(head[8:]) - 1}"
    (tmp_path / "lm.arpa").write_text("\n".join(lines))
    with pytest.raises(ModelError, match="3-grams begin or end with words that are no n-gram"):
        read_arpa(tmp_path / "lm.arpa")


def test_a_back_off_of_nothing_may_be_left_out(tmp_path):
    text = arpa(sentences(1), 3)
    assert "\t0\n" in text
    every = re.sub(r"(?m)^(\S+\t\S+ \S+ \S+)$", r"\1\t0", text)
    assert every != text
    models = []
    for written in (text, text.replace("\t0\n", "\n"), text.replace("\t", "  "), every):
        (tmp_path / "lm.arpa").write_text(written)
        models.append(plain_of(read_arpa(tmp_path / "lm.arpa")))
    assert all(model.back_offs == models[0].back_offs for model in models)
    assert all(model.probs == models[0].probs for model in models)
