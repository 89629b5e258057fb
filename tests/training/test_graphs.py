"""Batches of fixed shapes: the same losses and gradients, and everything finds a place."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from streamasr.acoustic.frontend import Frontend
from streamasr.errors import ConfigError
from streamasr.tokens import Tokens
from streamasr.training import load_config, train
from streamasr.training.batches import Batch, Targets, batches_of_epoch
from streamasr.training.config import LossConfig, NetworkConfig, TrainingConfig
from streamasr.training.corpus import load_corpus
from streamasr.training.crf import phone_trigrams
from streamasr.training.graphs import ShapedNetwork
from streamasr.training.losses import Losses
from streamasr.training.network import TrainingNetwork
from streamasr.training.plan import pass_plan, rows_of_shapes

VOCABULARY, PHONES, FEATURES = 6, 5, 8


def some_batch(steps: int, rows: int, seed: int) -> Batch:
    generator = torch.Generator().manual_seed(seed)

    def targets(size: int) -> Targets:
        lengths = torch.randint(1, 3, (rows,), generator=generator)
        return Targets(torch.randint(1, size, (int(lengths.sum()),), generator=generator), lengths)

    lengths = torch.randint(5, steps + 1, (rows,), generator=generator)
    lengths[0] = steps
    frames = torch.randn(steps, rows, FEATURES, generator=generator)
    labels = torch.randint(0, PHONES, (steps, rows), generator=generator)
    return Batch(frames, lengths, targets(VOCABULARY), targets(PHONES), labels, 1.0)


def config_of(**data: object) -> TrainingConfig:
    return TrainingConfig.model_validate(
        {
            "output": "run",
            "precision": "float32",
            "data": {"train": [{"manifest": "train.tsv"}], **data},
            "optimizer": {"updates": 1},
        }
    )


def losses_and_gradient(
    network: TrainingNetwork, batch: Batch, losses: Losses, shaped: ShapedNetwork | None
) -> tuple[dict[str, float], Tensor]:
    network.zero_grad()
    device = next(network.parameters()).device
    if shaped:
        log_probs, denominators = shaped(batch)
        parts = losses(log_probs, batch, 0, denominators)
    else:
        parts = losses(network(batch.frames.to(device)), batch, 0)
    torch.stack([*parts.values()]).sum().backward()
    gradient = torch.cat([p.grad.flatten() for p in network.parameters()])
    return {name: part.item() for name, part in parts.items()}, gradient.cpu()


def compare(device: str, seed: int) -> None:
    torch.manual_seed(seed)
    sizes = NetworkConfig(hidden_size=16, num_layers=2, dropout=0)
    network = TrainingNetwork(sizes, FEATURES, VOCABULARY, PHONES).to(device)
    said = torch.randint(1, PHONES, (20, 9), generator=torch.Generator().manual_seed(seed))
    weights = LossConfig(characters=0.2, frames=0.3, phones=1.0, denominator=True)
    losses = Losses(weights, VOCABULARY, PHONES, phone_trigrams(said.tolist(), PHONES))
    shaped = ShapedNetwork(network, config_of(), {9: 5, 14: 3}, losses.trigrams)
    for steps, rows in ((9, 5), (7, 2), (14, 1), (11, 3), (8, 4)):
        batch = some_batch(steps, rows, seed + steps)
        plain, expected = losses_and_gradient(network, batch, losses, None)
        found, gradient = losses_and_gradient(network, batch, losses, shaped)
        assert found == pytest.approx(plain, rel=1e-5)
        assert float((gradient - expected).norm() / expected.norm()) < 1e-5


@pytest.mark.parametrize("seed", range(3))
def test_a_shape_changes_neither_losses_nor_gradients(seed):
    compare("cpu", seed)


def test_a_graph_changes_neither_losses_nor_gradients():
    if not torch.cuda.is_available():
        pytest.skip("wants an NVIDIA GPU")
    compare("cuda", 0)


def test_new_trigrams_reach_all_shapes():
    torch.manual_seed(0)
    network = TrainingNetwork(NetworkConfig(hidden_size=16), FEATURES, VOCABULARY, PHONES)
    first, second = (phone_trigrams([said], PHONES) for said in ([1, 2, 3], [4, 4, 1]))
    shaped = ShapedNetwork(network.eval(), config_of(), {9: 2}, first.clone())
    batch = some_batch(9, 2, 0)
    before = shaped(batch)[1].detach().clone()
    shaped.follow(second)
    expected = ShapedNetwork(network, config_of(), {9: 2}, second)(batch)[1]
    assert torch.equal(shaped(batch)[1], expected)
    assert not torch.equal(before, expected)


@given(number=st.integers(0, 1000), batch_seconds=st.floats(3, 20))
def test_every_batch_fits_its_shape(corpora, number, batch_seconds):
    config, corpus, frontend = corpora
    config = config.with_values("data", shapes=(90, 140), batch_seconds=batch_seconds)
    rows = rows_of_shapes(frontend, config)
    plan = pass_plan(corpus, frontend, config, number)
    chosen = [index for batch in plan for index in batch]
    assert len(chosen) == len(set(chosen))
    for batch in plan:
        assert any(math.ceil(count / 2) <= len(batch) <= count for count in rows.values())
    made = list(batches_of_epoch(corpus, config, frontend, number)) if number < 3 else []
    for batch in made:
        steps, count = batch.frames.shape[:2]
        assert any(steps <= shape and count <= most for shape, most in rows.items())


@pytest.fixture(scope="module")
def corpora(tone_data, tmp_path_factory):
    """Return a configuration, its corpus and frontend."""
    folder = tmp_path_factory.mktemp("corpus")
    config = config_of(root=str(tone_data), workers=0).model_copy(update={"output": str(folder)})
    frontend = Frontend(config.frontend)
    return config, load_corpus(config, Tokens.characters()), frontend


def test_what_is_too_long_for_all_shapes_is_named(corpora):
    config, corpus, frontend = corpora
    short = config.with_values("data", shapes=(20,))
    with pytest.raises(ConfigError, match=r"of \d\.\d s may take \d+ timesteps: add a longer"):
        pass_plan(corpus, frontend, short, 0)


def test_shapes_that_all_stay_empty_are_named(corpora):
    config, corpus, frontend = corpora
    large = config.with_values("data", shapes=(90, 140), batch_seconds=1000.0)
    with pytest.raises(ConfigError, match=r"too few recordings .* lower data\.batch_seconds"):
        pass_plan(corpus, frontend, large, 0)


def test_shapes_must_ascend(recipe):
    path = recipe()
    path.write_text(path.read_text().replace("workers = 0", "workers = 0\nshapes = [40, 30]"))
    with pytest.raises(ConfigError, match=r"data\.shapes: .*ascend"):
        load_config(path)


def test_training_in_shapes_learns(recipe):
    path = recipe(updates=30, save_every=30)
    path.write_text(path.read_text().replace("workers = 0", "workers = 0\nshapes = [90, 140]"))
    losses: list[float] = []
    train(load_config(path), lambda progress: losses.append(progress.loss))
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])
