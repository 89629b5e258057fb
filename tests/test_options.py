"""The options of a recognizer: one value, checked, and the same everywhere."""

from __future__ import annotations

import dataclasses
import pickle
from typing import get_args

import pytest
from persistent_lstm import BACKENDS
from pydantic import BaseModel, ValidationError

from streamasr import (
    BackendName,
    ConfigError,
    DecoderName,
    EndpointConfig,
    Hotword,
    Recognizer,
    RecognizerOptions,
)
from streamasr.acoustic.frontend import FrontendConfig
from streamasr.acoustic.model import ModelConfig
from streamasr.acoustic.model.bundle import BundleConfig
from streamasr.api import Listener
from streamasr.cli.options import Backend, Decoder
from streamasr.decoding import BeamConfig
from streamasr.language import LanguageModelConfig
from streamasr.serving import ServeSettings
from streamasr.training.config import OptimizerConfig, TrainingConfig
from streamasr.validated import Settings


def test_options_are_one_frozen_value_that_can_be_sent_to_a_process():
    options = RecognizerOptions("folder", "torch", "beam", (Hotword("New York"),), 3, "cpu")
    assert pickle.loads(pickle.dumps(options)) == options
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.nbest = 1  # type: ignore[misc]


def test_a_recognizer_says_which_options_made_it(tiny_folder):
    recognizer = Recognizer.from_pretrained(tiny_folder, backend="torch", decoder="greedy")
    assert recognizer.options == RecognizerOptions(str(tiny_folder), "torch", "greedy")
    again = Recognizer.from_options(recognizer.options)
    assert again.fingerprint == recognizer.fingerprint


def test_the_names_that_a_type_checker_sees_are_those_there_are():
    assert get_args(BackendName) == BACKENDS
    assert {backend.value for backend in Backend} <= set(get_args(BackendName))
    assert {decoder.value for decoder in Decoder} == set(get_args(DecoderName))


def test_strings_are_hotwords():
    options = RecognizerOptions(hotwords=["Nguyen", Hotword("New York", 3.0)])  # type: ignore[arg-type, list-item]
    assert options.hotwords == (Hotword("Nguyen"), Hotword("New York", 3.0))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"backend": "tritn"},
            "unknown backend 'tritn': choose auto, triton, triton-wide, triton-once, cpu, torch or "
            "reference",
        ),
        ({"decoder": "dice"}, "unknown decoder 'dice': choose auto, beam or greedy"),
        ({"nbest": 0}, "nbest must be a whole number from 1 on, not 0"),
        ({"nbest": 1.5}, r"not 1\.5"),
        ({"hotwords": "Nguyen"}, r"hotwords are a list of phrases: \['Nguyen'\]"),
        ({"hotwords": [7]}, "a hotword is a string or a streamasr.Hotword, not 7"),
        ({"device": "gpu"}, "device 'gpu' cannot be used here"),
        # What "cuda" is without a GPU: none of them has as many.
        ({"device": "cuda:63"}, "device 'cuda:63' cannot be used here .*: leave it out, or say"),
    ],
)
def test_a_value_that_an_option_cannot_have_is_one_line(tiny_folder, values, message):
    with pytest.raises(ConfigError, match=message) as caught:
        Recognizer.from_pretrained(tiny_folder, **values)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("chunk_ms", [0, -80, float("nan")])
def test_a_chunk_lasts_a_millisecond_at_least(tiny, samples_folder, chunk_ms):
    with pytest.raises(ConfigError, match="chunk_ms must be 1 or more milliseconds"):
        tiny.transcribe(samples_folder / "jfk.flac", chunk_ms=chunk_ms)
    with pytest.raises(ConfigError, match="chunk_ms"):
        Listener(tiny, chunk_ms=chunk_ms)


SETTINGS = [
    (EndpointConfig, {"silence_seconds": -1}),
    (BeamConfig, {"beam_size": 0}),
    (FrontendConfig, {"hop_length": "ten"}),
    (ModelConfig, {}),
    (BundleConfig, {"format": 2}),
    (LanguageModelConfig, {"vocab_size": 1, "hidden_size": 0}),
    (ServeSettings, {"max_streams": 0, "no": 1}),
    (OptimizerConfig, {"updates": -1}),
    (TrainingConfig, {"data": {"train": []}}),
]


@pytest.mark.parametrize(
    ("kind", "values"), SETTINGS, ids=lambda each: getattr(each, "__name__", "")
)
def test_a_wrong_setting_is_one_line(kind, values):
    with pytest.raises(ConfigError) as caught:
        kind(**values)
    message = str(caught.value)
    assert message.startswith(f"{kind.__name__}: ")
    assert "\n" not in message
    assert "http" not in message


def test_a_wrong_setting_is_named_with_what_was_given():
    with pytest.raises(ConfigError, match=r"^EndpointConfig: silence_seconds: .* 0.4, not -1$"):
        EndpointConfig(silence_seconds=-1)
    with pytest.raises(ConfigError, match=r"^EndpointConfig: silence: Extra inputs are not permit"):
        EndpointConfig(silence=1)


def test_all_settings_that_python_code_makes_are_of_this_kind():
    """Messages of a protocol are not: clients send them, and a server answers."""
    assert {kind for kind, _ in SETTINGS} <= {*_below(Settings)}
    messages = {"Config", "Start", "Reason", "Problem", "Settings"}
    others = {c.__name__ for c in _below(BaseModel) if c.__module__.startswith("streamasr.")}
    assert others - {c.__name__ for c in _below(Settings)} <= messages


def _below(kind):
    for each in kind.__subclasses__():
        yield each
        yield from _below(each)


def test_settings_can_be_copied_pickled_and_read_back():
    config = BeamConfig(beam_size=7)
    assert pickle.loads(pickle.dumps(config)) == config == config.model_copy()
    assert BeamConfig.model_validate_json(config.model_dump_json()) == config
    with pytest.raises(ValidationError):
        BeamConfig.model_validate({"beam_size": 0})
