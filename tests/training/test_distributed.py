"""Two processes on CPUs make the updates of one that reads the batches of both."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.multiprocessing import start_processes

from streamasr.acoustic.model import load_bundle
from streamasr.errors import ConfigError
from streamasr.training import load_config, loop, train
from streamasr.training.batches import Batch, Targets, _share, batches_of_epoch
from streamasr.training.config import LossConfig, NetworkConfig, TrainingConfig
from streamasr.training.crf import phone_trigrams
from streamasr.training.distributed import World, joined
from streamasr.training.labels import IGNORED
from streamasr.training.losses import Losses, token_counts
from streamasr.training.network import TrainingNetwork
from streamasr.training.state import TrainingState
from streamasr.training.update import gradient, make_update

from .conftest import RECIPE
from .test_graphs import FEATURES, PHONES, VOCABULARY, config_of, some_batch
from .test_phones import words_of, write_lexicon

SEEDS = range(3)
UPDATES, STOP = 5, 2  # of which an epoch has three


def both(first: Batch, second: Batch) -> Batch:
    """Return the rows of two batches as one batch."""
    assert first.phones is not None
    assert second.phones is not None
    assert first.labels is not None
    assert second.labels is not None
    steps = max(len(first.frames), len(second.frames))

    def beside(a: Tensor, b: Tensor, filler: float) -> Tensor:
        filled = [
            torch.cat([t, torch.full((steps - len(t), *t.shape[1:]), filler, dtype=t.dtype)])
            for t in (a, b)
        ]
        return torch.cat(filled, dim=1)

    def after(a: Targets, b: Targets) -> Targets:
        return Targets(torch.cat([a.tokens, b.tokens]), torch.cat([a.lengths, b.lengths]))

    return Batch(
        beside(first.frames, second.frames, 0),
        torch.cat([first.lengths, second.lengths]),
        after(first.characters, second.characters),
        after(first.phones, second.phones),
        beside(first.labels, second.labels, IGNORED),
        first.seconds + second.seconds,
    )


def shares(seed: int) -> tuple[Batch, Batch]:
    """Return a batch a process: one of many tokens, one of few, some timesteps without a label."""
    large, small = some_batch(14, 6, seed), some_batch(7, 1, seed + 100)
    assert large.labels is not None
    large.labels[3:6] = IGNORED
    return large, small


def learner(seed: int) -> tuple[TrainingState, Losses]:
    torch.manual_seed(seed)
    sizes = NetworkConfig(hidden_size=16, num_layers=2, dropout=0)
    config = config_of().model_copy(update={"network": sizes})
    state = TrainingState(config, TrainingNetwork(sizes, FEATURES, VOCABULARY, PHONES))
    said = torch.randint(1, PHONES, (20, 9), generator=torch.Generator().manual_seed(seed))
    weights = LossConfig(characters=0.2, frames=0.3, phones=1.0, denominator=True)
    return state, Losses(weights, VOCABULARY, PHONES, phone_trigrams(said.tolist(), PHONES))


def flat_gradient(state: TrainingState) -> Tensor:
    return torch.cat([p.grad.flatten() for p in state.network.parameters() if p.grad is not None])


def flat_weights(state: TrainingState) -> Tensor:
    return torch.cat([p.detach().flatten() for p in state.network.parameters()])


def one_of_two(rank: int, folder: Path) -> None:
    """Compute, in a process of its own, what the test below compares."""
    torch.set_num_threads(1)
    place = f"file://{folder / 'meeting'}"
    dist.init_process_group("gloo", init_method=place, rank=rank, world_size=2)
    with joined() as world:
        assert (world.rank, world.size, world.leads) == (rank, 2, rank == 0)
        with world.first_alone():
            if world.leads:
                time.sleep(0.3)
                (folder / "made").write_text("once")
            found: dict[str, object] = {"seen": (folder / "made").exists()}
        for seed in SEEDS:
            state, losses = learner(seed)
            if rank:  # other weights, but for those of rank 0
                torch.nn.init.ones_(state.network.head.weight)
            world.copy_from_first(state.network)
            batch = shares(seed)[rank]
            parts = gradient(state, batch, config_of(), losses, None, world)
            found[f"gradient {seed}"] = flat_gradient(state)
            found[f"parts {seed}"] = {name: part.item() for name, part in parts.items()}
            for _ in range(3):
                update = make_update(state, batch, config_of(), 1e-3, losses, None, world)
            found[f"update {seed}"] = update._asdict()
            found[f"weights {seed}"] = flat_weights(state)
        torch.save(found, folder / f"{rank}.pt")
        train(recipe_in(folder, "whole"))
        for updates in (STOP, UPDATES):
            train(recipe_in(folder, "broken").with_values("optimizer", updates=updates))
    assert dist.is_initialized(), "a group that was there before is not ended"
    dist.destroy_process_group()


def recipe_in(folder: Path, name: str) -> TrainingConfig:
    return load_config(folder / f"{name}.toml")


@pytest.fixture(scope="module")
def folder(tone_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of recipes in which two processes have trained "whole" and "broken"."""
    folder = tmp_path_factory.mktemp("two")
    write_lexicon(folder / "lexicon.txt", words_of(tone_data))
    for name in ("whole", "broken", "alone", "started"):
        text = RECIPE.format(
            output=folder / name, root=tone_data, updates=UPDATES, save_every=100, decay=0
        )
        text = text.replace("[network]", "[network]\ndropout = 0")
        tables = '[phones]\nlexicon = "lexicon.txt"\nalign = [0, 1]\n[loss]\nframes = 1.0\n'
        (folder / f"{name}.toml").write_text(text + tables + "phones = 0.3\ndenominator = true\n")
    start_processes(one_of_two, (folder,), nprocs=2, start_method="spawn")
    return folder


@pytest.fixture(scope="module")
def two(folder: Path) -> list[dict[str, object]]:
    """Return what each of two processes has computed."""
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def test_the_gradient_of_two_unequal_shares_is_that_of_one_batch(two):
    for seed in SEEDS:
        state, losses = learner(seed)
        large, small = shares(seed)
        parts = gradient(state, both(large, small), config_of(), losses)
        expected = flat_gradient(state)
        for found in two:
            assert relative(found[f"gradient {seed}"], expected) < 1e-5
        for name, part in parts.items():
            summed = sum(found[f"parts {seed}"][name] for found in two)
            assert summed == pytest.approx(part.item(), rel=1e-5)
        # The mean of each process's own gradient would be another one.
        own = []
        for batch in (large, small):
            gradient(state, batch, config_of(), losses)
            own.append(flat_gradient(state))
        assert relative((own[0] + own[1]) / 2, expected) > 0.05


def test_weights_after_updates_are_those_of_one_process(two):
    for seed in SEEDS:
        state, losses = learner(seed)
        batch = both(*shares(seed))
        before = flat_weights(state)
        for _ in range(3):
            update = make_update(state, batch, config_of(), 1e-3, losses, None, World())
        moved = flat_weights(state) - before
        assert torch.equal(two[0][f"weights {seed}"], two[1][f"weights {seed}"])
        assert relative(two[0][f"weights {seed}"] - before, moved) < 1e-3
        for found in two:
            same = found[f"update {seed}"]
            assert same["losses"] == pytest.approx(update.losses, rel=1e-4)
            assert same["norm"] == pytest.approx(update.norm, rel=1e-4)
            assert same["seconds"] == 2.0


def test_the_first_process_goes_first(two):
    assert [found["seen"] for found in two] == [True, True]


def test_what_losses_are_per_is_counted():
    large, small = shares(0)
    assert large.labels is not None
    rows = [token_counts(batch) for batch in (large, small)]
    assert torch.equal(token_counts(both(large, small)), rows[0] + rows[1])
    assert rows[0].tolist()[1] == 14 * 6 - 3 * 6
    assert token_counts(large._replace(phones=None, labels=None)).tolist()[1:] == [0, 0]


@given(
    count=st.integers(1, 40), size=st.integers(1, 9), start=st.integers(0, 40), later=st.integers(0)
)
def test_shares_are_equally_many_and_all_there_is(count, size, start, later):
    plan = list(range(count))
    parts = [_share(plan, start, World(rank, size)) for rank in range(size)]
    assert len({len(part) for part in parts}) == 1
    in_turn = [number for row in zip(*parts, strict=True) for number in row]
    assert in_turn[: len(plan[start:])] == plan[start:]
    assert len(in_turn) - len(plan[start:]) < size
    # Where some were done before, the others get what they would have got.
    done = size * (later % (len(parts[0]) + 1))
    rest = [_share(plan, start + done, World(rank, size)) for rank in range(size)]
    assert rest == [part[done // size :] for part in parts] or start + done > count


def test_without_torchrun_a_process_is_alone(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR"):
        monkeypatch.delenv(name, raising=False)
    with joined() as world:
        assert world == World(0, 1)
        assert not dist.is_initialized()


def test_more_processes_than_gpus_is_one_line(monkeypatch):
    for name, value in (("RANK", "2"), ("WORLD_SIZE", "3"), ("LOCAL_RANK", "2")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ConfigError, match="nproc-per-node is 2 at most"), joined():
        pass


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "log.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def test_what_two_processes_stopped_and_went_on_with_is_the_same(folder: Path):
    logs = [rows(folder / name) for name in ("whole", "broken")]
    assert [row["epoch"] for row in logs[0]] == ["0", "0", "0", "1", "1"]
    for name in ("dev_wer", "dev_cer"):  # the last update before the stop has them, too
        assert logs[1][STOP - 1].pop(name)
        assert not logs[0][STOP - 1].pop(name)
    assert logs[0] == logs[1]
    models = [load_bundle(folder / name / "model") for name in ("whole", "broken")]
    assert models[0].fingerprint == models[1].fingerprint


def test_two_processes_train_as_one_that_reads_both_shares(folder: Path, monkeypatch):
    def batches_of_both(*arguments: Any) -> Iterator[Batch]:
        *same, _ = arguments
        made = (batches_of_epoch(*same, World(rank, 2)) for rank in range(2))
        for first, second in zip(*made, strict=True):
            yield both(first, second)

    monkeypatch.setattr(loop, "batches_of_epoch", batches_of_both)
    train(recipe_in(folder, "alone"))
    for found, wanted in zip(rows(folder / "whole"), rows(folder / "alone"), strict=True):
        for name, value in wanted.items():
            if value:
                assert float(found[name]) == pytest.approx(float(value), rel=1e-3), name
    found, expected = (
        torch.load(folder / name / "checkpoint.pt", weights_only=True)
        for name in ("whole", "alone")
    )
    assert found["hours"] == pytest.approx(expected["hours"])
    for part in ("network", "average"):
        for name, tensor in found[part].items():
            # Adam moves each weight by up to the learning rate, 0.005, in each update.
            assert float((tensor - expected[part][name]).abs().max()) < 2e-5, name


def test_another_number_of_processes_goes_on(folder: Path, tmp_path: Path):
    shutil.copytree(folder / "broken", tmp_path / "run")
    config = recipe_in(folder, "broken").with_values("optimizer", updates=UPDATES + 2)
    train(config.model_copy(update={"output": str(tmp_path / "run")}))
    found = rows(tmp_path / "run")
    assert [int(row["update"]) for row in found] == [*range(1, UPDATES + 3)]
    # Of the epoch's five or six batches four were read by two processes.
    assert found[-2]["epoch"] == "1"


def test_torchrun_starts_them(folder: Path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    options = ["-m", "streamasr", "train", folder / "started.toml", "--threads=1", "--updates=2"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("model written to") == done.stderr.count("dev WER") == 1
    for found, wanted in zip(rows(folder / "started"), rows(folder / "whole")[:2], strict=True):
        assert found["loss"] == wanted["loss"]
