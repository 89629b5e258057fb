"""A model folder with a second pass: what it must hold, and what comes out of the stage."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from streamasr.acoustic import AcousticStage, ContinuousBatch
from streamasr.acoustic.frontend import Frontend
from streamasr.acoustic.model import AcousticModel, ModelConfig, load_bundle
from streamasr.errors import ModelError

from ..conftest import relative_error
from .test_tdnn import with_tdnn


def test_a_folder_without_its_weights_is_refused(tiny_folder: Path, tmp_path: Path):
    with_tdnn(tmp_path, tiny_folder)
    config = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(config.replace('"dilations": [', '"dilations": [1,'))
    with pytest.raises(ModelError, match=r"tensor tdnn\.layers\.4\.down\.weight is missing"):
        load_bundle(tmp_path)


def test_a_model_without_one_has_nothing_for_it():
    model, frames = AcousticModel(ModelConfig(input_size=6, vocab_size=5)), torch.randn(3, 1, 6)
    assert not model.config.has_second_pass
    assert model.second_input(frames).shape == (3, 1, 0)
    with pytest.raises(ValueError, match="the model has no second pass"):
        model.second_pass(frames)


def test_what_it_reads_comes_out_of_the_stage_in_any_chunks_and_company(
    tiny, tiny_folder: Path, tmp_path: Path, speech
):
    with_tdnn(tmp_path, tiny_folder)
    bundle = load_bundle(tmp_path)
    stage, samples = AcousticStage(bundle, torch.device("cpu")), torch.tensor(speech[:40_000])
    features, _ = Frontend(bundle.config.frontend)(samples, stage.initial_state().frontend)
    expected = bundle.model.second_input(features[:, None])
    batch: ContinuousBatch[int] = ContinuousBatch(stage)
    batch.join(0, iter(samples.split(7_000)))
    batch.join(1, iter([samples[:500]]))
    ended = {}
    while len(batch):
        ended.update({row.key: row.output.encoded for row in batch.step()})
    assert relative_error(ended[0], expected[:, 0]) <= 1e-5
    assert ended[1].shape == (0, bundle.config.model.encoded_size)
    plain, _ = tiny.acoustic(samples, tiny.acoustic.initial_state())
    assert plain.encoded is None
