"""A stream in a batch hears what it would hear alone, whoever shares the batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from streamasr import RecognizerOptions
from streamasr.acoustic import ContinuousBatch
from streamasr.api import Recognizer
from streamasr.jobs.tasks import Outcome, Settings, Task
from streamasr.jobs.work import Worker

from ..conftest import relative_error

LENGTHS = st.lists(st.integers(0, 40_000), min_size=1, max_size=7)


def alone(recognizer: Recognizer, samples: np.ndarray) -> torch.Tensor:
    output, _ = recognizer.acoustic(torch.tensor(samples), recognizer.acoustic.initial_state())
    return output.log_probs


@given(lengths=LENGTHS, seed=st.integers(0, 9), data=st.data())
def test_rows_that_join_and_leave_get_what_they_get_alone(tiny, voices, lengths, seed, data):
    rng = np.random.default_rng(seed)
    audios = [voices[at : at + n] for n in lengths for at in [rng.integers(0, 100_000)]]
    batch: ContinuousBatch[int] = ContinuousBatch(tiny.acoustic)
    waiting = list(enumerate(audios))
    heard = {}
    while waiting or len(batch):
        for _ in range(data.draw(st.integers(0 if len(batch) else 1, 3))):
            if waiting:
                key, audio = waiting.pop()
                size = data.draw(st.sampled_from([700, 5_000, 50_000]))
                pieces = [audio[i : i + size] for i in range(0, len(audio), size)]
                batch.join(key, map(torch.tensor, pieces))
        heard.update({row.key: row.output.log_probs for row in batch.step()})
    for key, audio in enumerate(audios):
        expected = alone(tiny, audio)
        assert heard[key].shape == expected.shape
        if len(expected):
            assert relative_error(heard[key], expected) <= 1e-5


def test_a_state_from_a_batch_goes_on_alone(tiny, voices):
    audios = [torch.tensor(voices[n : n + 9_000 * (n + 1)]) for n in range(3)]
    more = torch.tensor(voices[50_000:60_000])
    acoustic = tiny.acoustic
    together = acoustic.many(audios, [acoustic.initial_state()] * 3)
    for audio, (_, state) in zip(audios, together, strict=True):
        _, lone = acoustic(audio, acoustic.initial_state())
        assert state.samples == lone.samples
        (found, _), (expected, _) = acoustic(more, state), acoustic(more, lone)
        assert relative_error(found.log_probs, expected.log_probs) <= 1e-5


def outcomes(worker: Worker, tasks: list[Task]) -> dict[int, Outcome]:
    worker.add(tasks)
    found = {}
    while worker.busy:
        found.update({outcome.task.id: outcome for outcome in worker.step()})
    return found


@pytest.fixture(scope="module")
def recordings(scatter, tmp_path_factory):
    return scatter(tmp_path_factory.mktemp("recordings"), 24)


@pytest.fixture(scope="module")
def single(recordings, recognizer) -> dict[str, list[tuple[str, float, float]]]:
    """The words of each recording as one stream gives them."""
    return {str(path): words(recognizer.transcribe(path)) for path in recordings}


def words(transcript) -> list[tuple[str, float, float]]:
    return [(word.text, word.start, word.end) for word in transcript.words]


@given(chosen=st.lists(st.integers(0, 23), min_size=1, max_size=12, unique=True))
def test_any_set_of_recordings_gives_the_words_of_one_stream(
    recognizer, recordings, single, chosen
):
    worker = Worker(Settings(), recognizer)
    paths = [str(recordings[number]) for number in chosen]
    found = outcomes(worker, [Task(i, path) for i, path in enumerate(paths)])
    assert len(found) == len(paths)
    for number, path in enumerate(paths):
        assert found[number].problem is None
        assert words(found[number].transcript) == single[path]


def test_every_sample_gives_the_words_of_one_stream(recognizer, samples_folder):
    paths = sorted(samples_folder.glob("*.flac"))
    found = outcomes(Worker(Settings(), recognizer), [Task(i, str(p)) for i, p in enumerate(paths)])
    for number, path in enumerate(paths):
        alone = recognizer.transcribe(path)
        assert words(found[number].transcript) == words(alone)
        assert found[number].transcript.duration == alone.duration


@pytest.mark.parametrize("helpers", [0, 2])
def test_more_recordings_than_rows_are_all_done(tiny, tiny_folder, recordings, helpers):
    worker = Worker(Settings(RecognizerOptions(str(tiny_folder)), rows=3, helpers=helpers), tiny)
    found = outcomes(worker, [Task(i, str(p)) for i, p in enumerate(recordings)])
    worker.close()
    texts = [found[number].transcript.text for number in range(len(recordings))]
    assert texts == [tiny.transcribe(path).text for path in recordings]
