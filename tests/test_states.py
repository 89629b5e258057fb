"""All that a stream remembers is one value, for every decoder; a recognizer travels, too."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soxr

from streamasr import ModelError, Recognizer
from streamasr.pipeline import LivePipeline


@pytest.fixture(scope="session", params=["greedy", "auto"])
def any_decoder(request, recognizer) -> Recognizer:
    """The bundled model with each of its decoders."""
    if request.param == "auto":
        return recognizer
    return Recognizer.from_pretrained(decoder=request.param)


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_a_state_is_pickled_and_gone_on_from_twice(any_decoder, speech, rate):
    sound = soxr.resample(speech, 16_000, rate)
    first, rest = sound[: len(sound) // 2], sound[len(sound) // 2 :]
    stream = any_decoder.stream()
    stream.accept(first, sample_rate=rate)
    data = pickle.dumps(stream.state)
    assert len(data) < 1_000_000
    stream.accept(rest, sample_rate=rate)
    expected = stream.finish()
    assert len(expected.words) > 5
    for _ in range(2):
        other = any_decoder.stream(state=pickle.loads(data))
        other.accept(rest, sample_rate=rate)
        found = other.finish()
        assert [(w.text, w.start, w.end) for w in found.words] == [
            (w.text, w.start, w.end) for w in expected.words
        ]
        assert found.duration == expected.duration


def test_a_finished_state_is_finished_elsewhere(any_decoder, speech):
    stream = any_decoder.stream()
    stream.accept(speech)
    expected = stream.finish()
    assert any_decoder.stream(state=pickle.loads(pickle.dumps(stream.state))).finish() == expected


def test_the_state_of_a_live_session_is_pickled(any_decoder, speech):
    import torch

    listening = LivePipeline(any_decoder.acoustic, any_decoder.words)
    sound = torch.from_numpy(speech)
    _, state = listening.advance(sound[:40_000], listening.initial_state())
    again = pickle.loads(pickle.dumps(state))
    texts = []
    for begun in (state, again):
        events, after = listening.advance(sound[40_000:], begun)
        last, _ = listening.end_segment(after)
        texts.append([event.text for event in (*events, *last)])
    assert texts[0] == texts[1] != []


def test_a_recognizer_is_pickled_as_what_it_is_made_of(tiny, speech):
    data = pickle.dumps(tiny)
    assert len(data) < 1_000
    again = pickle.loads(data)
    assert again.options == tiny.options
    expected = tiny.transcribe(speech, sample_rate=16_000)
    assert again.transcribe(speech, sample_rate=16_000) == expected


FORK = """
import multiprocessing, sys
import numpy, torch
from streamasr import Recognizer

torch.set_num_threads(4)
recognizer = Recognizer.from_pretrained({folder!r})
sound = (0.1 * numpy.random.default_rng(0).standard_normal(64_000)).astype("f4")
torch.rand(600, 600) @ torch.rand(600, 600)  # OpenMP's threads are there
expected = recognizer.transcribe(sound, sample_rate=16_000)
assert expected.words

def hear(_):
    torch.rand(600, 600) @ torch.rand(600, 600)
    return recognizer.transcribe(sound, sample_rate=16_000)

with multiprocessing.get_context("fork").Pool(2) as pool:
    for found in pool.map_async(hear, range(4)).get(timeout=60):
        assert [w.text for w in found.words] == [w.text for w in expected.words]
print("survived")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_recognizer_survives_a_fork(tiny_folder: Path):
    code = FORK.format(folder=str(tiny_folder))
    done = subprocess.run(
        # Python warns of any fork beside threads.
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout == "survived\n", done.stderr


def test_on_a_gpu_it_says_that_it_does_not(tiny_folder, monkeypatch):
    import torch

    recognizer = Recognizer.from_pretrained(tiny_folder)
    recognizer.acoustic.device = torch.device("cuda")
    recognizer.stream().accept(np.zeros(10, np.float32))
    monkeypatch.setattr("os.getpid", lambda: -1)
    with pytest.raises(ModelError, match="does not survive a fork: load it in each process"):
        recognizer.stream().accept(np.zeros(10, np.float32))
