"""What onnxruntime makes of an exported model, beside the model itself, chunk by chunk."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import onnxruntime
import pytest
import torch

from streamasr.acoustic.model import AcousticModel, load_bundle
from streamasr.acoustic.model.tdnn import TDNNConfig
from streamasr.export import export_onnx
from streamasr.pretrained import PRETRAINED

from ..conftest import relative_error

SMALL = TDNNConfig(
    hidden_size=16, bottleneck=6, dilations=(1, 3, 2), channels=(2, 3), front_size=8, gate_every=2
)


@pytest.fixture(scope="module")
def bundle():
    return load_bundle(PRETRAINED)


@pytest.fixture(scope="module")
def exported(bundle, tmp_path_factory):
    return export_onnx(bundle, tmp_path_factory.mktemp("onnx"))


def session(path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("cuts", [[], [1, 2, 7], [10]])
@torch.inference_mode()
def test_chunks_are_what_the_model_makes_of_the_whole(bundle, exported, cuts):
    model, c = bundle.model, bundle.model.config
    torch.manual_seed(0)
    frames = torch.randn(17, 2, c.input_size)
    r, state = model.encode(frames)
    log_probs, encoded = model.classify(r), model.second_input(frames)
    run = session(exported[0])
    h = C = np.zeros((c.num_layers, 2, c.hidden_size), np.float32)
    found = []
    for chunk in frames.tensor_split(cuts):
        *outputs, h, C = run.run(None, {"frames": chunk.numpy(), "h": h, "C": C})
        found.append(outputs)
    for index, expected in enumerate((log_probs, encoded)):
        ours = torch.from_numpy(np.concatenate([outputs[index] for outputs in found]))
        assert (ours - expected).abs().max() < 1e-4
    assert relative_error(torch.from_numpy(h), state.h) < 1e-4
    assert relative_error(torch.from_numpy(C), state.C) < 1e-4


@torch.inference_mode()
def test_the_second_pass_is_the_models(bundle, exported):
    encoded = torch.randn(23, 1, bundle.model.config.encoded_size)
    (found,) = session(exported[1]).run(None, {"encoded": encoded.numpy()})
    assert (torch.from_numpy(found) - bundle.model.second_pass(encoded)).abs().max() < 1e-4


@pytest.mark.parametrize("reach", [0, 5, 40])
@torch.inference_mode()
def test_a_time_delay_network_is_the_models(bundle, tmp_path, reach):
    torch.manual_seed(0)
    network = SMALL.model_copy(update={"gate_reach": reach})
    changed = {"num_layers": 1, "tdnn": network}
    sizes = bundle.config.model.model_copy(update=changed)
    model = AcousticModel(sizes)
    assert model.tdnn is not None
    for offset in model.tdnn.offsets:
        offset.normal_(0, 0.3)
    config = bundle.config.model_copy(update={"model": sizes})
    paths = export_onnx(dataclasses.replace(bundle, config=config, model=model), tmp_path)
    frames = torch.randn(23, 1, sizes.input_size)
    encoded = model.second_input(frames)
    zeros = np.zeros((1, 1, sizes.hidden_size), np.float32)
    _, seen, *_ = session(paths[0]).run(None, {"frames": frames.numpy(), "h": zeros, "C": zeros})
    assert (torch.from_numpy(seen) - encoded).abs().max() < 1e-4
    (found,) = session(paths[1]).run(None, {"encoded": encoded.numpy()})
    assert (torch.from_numpy(found) - model.second_pass(encoded)).abs().max() < 1e-4


def test_a_model_without_phones_or_second_pass_has_one_head(tiny_folder, tmp_path):
    bundle = load_bundle(tiny_folder)
    (path,) = export_onnx(bundle, tmp_path)
    c = bundle.model.config
    frames = torch.randn(3, 1, c.input_size)
    zeros = np.zeros((c.num_layers, 1, c.hidden_size), np.float32)
    found, *_ = session(path).run(None, {"frames": frames.numpy(), "h": zeros, "C": zeros})
    with torch.inference_mode():
        expected, _ = bundle.model(frames)
    assert (torch.from_numpy(found) - expected).abs().max() < 1e-4


def test_the_metadata_is_all_that_a_program_needs(bundle, exported):
    for path in exported:
        kept = session(path).get_modelmeta().custom_metadata_map
        assert tuple(json.loads(kept["tokens"])) == bundle.tokens.symbols
        assert tuple(json.loads(kept["phones"])) == bundle.phones.symbols
        assert json.loads(kept["frontend"])["stride"] == bundle.config.frontend.stride
        assert json.loads(kept["delay_seconds"]) == bundle.config.delay_seconds
