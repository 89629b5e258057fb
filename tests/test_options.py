"""The options of a recognizer: one value, checked, and the same everywhere."""

from __future__ import annotations

import dataclasses
import pickle
from typing import get_args

import pytest
from persistent_lstm import BACKENDS

from streamasr import (
    BackendName,
    ConfigError,
    DecoderName,
    Hotword,
    Recognizer,
    RecognizerOptions,
)
from streamasr.cli.options import Backend, Decoder
from streamasr.listening import Listener


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
            "unknown backend 'tritn': choose auto, triton, cpu, torch or reference",
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
