"""Streams: any split of the audio, any thread, any reset gives the same words."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from streamasr import (
    AudioError,
    ConfigError,
    ModelError,
    Recognizer,
    RecognizerOptions,
    Timings,
    Transcript,
)
from streamasr.acoustic.model import load_bundle
from streamasr.samples import rechunk

from .conftest import relative_error, save_tiny
from .persistent_lstm.cogrid import scheduled


def pieces_of(samples: np.ndarray, cuts: list[int]) -> list[np.ndarray]:
    edges = [0, *sorted(min(c, len(samples)) for c in cuts), len(samples)]
    return [samples[a:b] for a, b in pairwise(edges)]


def log_probs(recognizer: Recognizer, pieces: list[np.ndarray]) -> torch.Tensor:
    state = recognizer.acoustic.initial_state()
    out = []
    for piece in pieces:
        part, state = recognizer.acoustic(torch.tensor(piece), state)
        out.append(part.log_probs)
    return torch.cat(out)


def transcribe(recognizer: Recognizer, pieces: list[np.ndarray]) -> Transcript:
    stream = recognizer.stream()
    for piece in pieces:
        stream.accept(piece)
    return stream.finish()


@pytest.mark.parametrize("size", [1, 7, 160, 16_000, 10**9], ids=lambda n: f"{n}-samples")
def test_every_chunk_size_gives_the_same_logits_and_text(recognizer, speech, size):
    audio = speech if size > 7 else speech[:16_000]  # a call a sample is slow
    whole = [audio]
    split = [audio[i : i + size] for i in range(0, len(audio), size)]
    assert relative_error(log_probs(recognizer, split), log_probs(recognizer, whole)) <= 1e-5
    assert transcribe(recognizer, split).text == transcribe(recognizer, whole).text


@given(cuts=st.lists(st.integers(0, 90_000), max_size=40))
def test_any_split_gives_the_same_logits_and_text(recognizer, speech, cuts):
    split = pieces_of(speech, cuts)
    assert relative_error(log_probs(recognizer, split), log_probs(recognizer, [speech])) <= 1e-5
    assert transcribe(recognizer, split).text == transcribe(recognizer, [speech]).text


@given(cuts=st.lists(st.integers(0, 30_000), max_size=10), seed=st.integers(0, 5))
def test_any_split_gives_the_same_words_with_times(tiny, cuts, seed):
    rng = np.random.default_rng(seed)
    audio = (0.2 * rng.standard_normal(30_000)).astype(np.float32)
    split = transcribe(tiny, pieces_of(audio, cuts)).words
    whole = transcribe(tiny, [audio]).words
    assert [(w.text, w.start, w.end) for w in split] == [(w.text, w.start, w.end) for w in whole]


def test_the_logits_are_those_of_the_float64_reference(recognizer, speech):
    reference = Recognizer.from_pretrained(backend="reference")
    piece = speech[:32_000]
    assert relative_error(log_probs(recognizer, [piece]), log_probs(reference, [piece])) <= 1e-5


def test_a_reset_stream_equals_a_fresh_one(tiny, speech):
    stream = tiny.stream()
    stream.accept(speech)
    stream.finish()
    stream.reset()
    stream.accept(speech[:20_000])
    fresh = tiny.stream()
    fresh.accept(speech[:20_000])
    assert stream.finish() == fresh.finish()


def test_a_state_can_be_put_away_and_gone_on_from_twice(tiny, speech):
    stream = tiny.stream()
    stream.accept(speech[:40_000])
    kept = copy.deepcopy(stream.state)
    stream.accept(speech[40_000:])
    once, again = stream.state, tiny.stream(state=kept)
    again.accept(speech[40_000:])
    assert again.state.decoder == once.decoder
    assert torch.equal(again.state.acoustic.lstm.C, once.acoustic.lstm.C)
    assert torch.equal(again.state.acoustic.frontend.tail, once.acoustic.frontend.tail)


def test_threads_share_a_recognizer(tiny, speech):
    audios = [speech[i * 5_000 :] for i in range(8)]
    alone = [transcribe(tiny, [audio]) for audio in audios]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda a: transcribe(tiny, np.array_split(a, 9)), audios))
    assert [t.text for t in together] == [t.text for t in alone]


def test_partial_grows_into_the_final_text(tiny, speech):
    stream = tiny.stream()
    seen = []
    for piece in np.array_split(speech, 20):
        stream.accept(piece)
        seen.append(stream.partial().text)
    final = stream.finish().text
    assert len(set(seen)) > 3
    assert all(final.startswith(text) for text in seen)
    assert stream.partial().text == final


def test_words_lie_in_order_within_the_audio(recognizer, speech):
    transcript = transcribe(recognizer, [speech])
    assert transcript.duration == pytest.approx(len(speech) / 16_000)
    assert len(transcript.words) > 5
    last = 0.0
    for word in transcript.words:
        assert last <= word.start < word.end <= transcript.duration
        assert 0 < word.confidence <= 1
        last = word.end


def test_finishing_twice_changes_nothing(tiny, speech):
    stream = tiny.stream()
    stream.accept(speech)
    assert stream.finish() == stream.finish()
    with pytest.raises(AudioError, match="finished"):
        stream.accept(speech)


def test_int16_samples_mean_the_same(recognizer, speech):
    whole = np.round(speech * 32768).astype(np.int16)
    floats = (whole / 32768).astype(np.float32)
    assert transcribe(recognizer, [whole]) == transcribe(recognizer, [floats])


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.array([0.0, np.nan], np.float32), r"sample 3201 \(0\.20 s\) is NaN"),
        (
            np.array([1e38], np.float32),
            r"sample 3200 \(0\.20 s\) is 1e\+38: floats lie in \[-1, 1\]",
        ),
        (np.array([0.0, 0.0, -np.inf], np.float32), r"sample 3202 \(0\.20 s\) is NaN or infinite"),
        (np.zeros((4, 2), np.float32), r"must be mono, shape \(n,\), got \(4, 2\)"),
        (np.zeros(4, np.int32), "floats in .* or int16, got int32"),
        (np.array(["a"]), "floats in"),
    ],
)
def test_unusable_samples_are_refused_and_change_nothing(tiny, samples, message):
    stream = tiny.stream()
    stream.accept(np.zeros(3_200, np.float32))
    before = stream.state
    with pytest.raises(AudioError, match=message):
        stream.accept(samples)
    assert stream.state is before


def test_an_empty_call_and_an_empty_stream_say_nothing(tiny):
    stream = tiny.stream()
    stream.accept(np.zeros(0, np.float32))
    assert stream.finish() == Transcript((), 0.0)


SOUNDS = {
    "zeros": lambda n, _: np.zeros(n, np.float32),
    "white noise, loud": lambda n, rng: (0.1 * rng.standard_normal(n)).astype(np.float32),
    "white noise, faint": lambda n, rng: (0.001 * rng.standard_normal(n)).astype(np.float32),
    "440 Hz": lambda n, _: (0.3 * np.sin(2 * np.pi * 440 / 16_000 * np.arange(n))).astype("f4"),
}


@pytest.mark.parametrize("make", SOUNDS.values(), ids=SOUNDS.keys())
def test_a_minute_without_speech_gives_no_words(recognizer, make):
    audio = make(60 * 16_000, np.random.default_rng(0))
    assert transcribe(recognizer, np.split(audio, 60)).text == ""


def test_transcribe_equals_a_stream(recognizer, samples_folder: Path):
    path = samples_folder / "belly.flac"
    audio, _ = soundfile.read(path, dtype="float32")
    own = recognizer.stream(partials=False)
    own.accept(audio)
    file, stream = recognizer.transcribe(path), own.finish()
    assert file.duration == stream.duration
    assert [(w.text, w.start, w.end) for w in file.words] == [
        (w.text, w.start, w.end) for w in stream.words
    ]
    # Products of other sizes are summed in another order.
    assert [w.confidence for w in file.words] == pytest.approx(
        [w.confidence for w in stream.words], rel=1e-5
    )


def test_timings_add_up(tiny, samples_folder: Path):
    timings = Timings()
    tiny.transcribe(samples_folder / "belly.flac", timings=timings)
    assert set(timings.seconds) == {"frontend", "lstm", "decoder"}
    assert all(seconds > 0 for seconds in timings.seconds.values())


@given(sizes=st.lists(st.integers(0, 50), max_size=10), size=st.integers(1, 60))
def test_rechunk_keeps_every_sample(sizes, size):
    audio = np.arange(sum(sizes), dtype=np.float32)
    blocks = np.split(audio, np.cumsum(sizes)[:-1]) if sizes else []
    chunks = list(rechunk(iter(blocks), size))
    assert np.array_equal(np.concatenate([*chunks, np.zeros(0, np.float32)]), audio)
    assert all(len(c) == size for c in chunks[:-1])
    assert all(0 < len(c) <= size for c in chunks)


@given(sizes=st.lists(st.integers(0, 50), max_size=10), size=st.integers(1, 600))
def test_rechunk_yields_what_came_before_an_exception(sizes, size):
    audio = np.arange(sum(sizes), dtype=np.float32)

    def breaking_off():
        yield from np.split(audio, np.cumsum(sizes)[:-1]) if sizes else []
        raise AudioError("cut short")

    chunks = []
    with pytest.raises(AudioError, match="cut short"):
        chunks.extend(rechunk(breaking_off(), size))  # extends by each before the exception
    assert np.array_equal(np.concatenate([*chunks, np.zeros(0, np.float32)]), audio)


@pytest.mark.parametrize("value", [17.0, -20_000.0])
def test_floats_on_the_scale_of_integers_are_refused_with_a_remedy(tiny, value):
    with pytest.raises(AudioError, match="scale of 16-bit integers by 32768"):
        tiny.stream().accept(np.array([0.0, value], np.float32))


def test_the_kernels_give_the_same_text(tmp_path, samples_folder, toy_gpu):
    folder = save_tiny(tmp_path, hidden_size=32)
    # In floating point, as on a GPU.
    plain = Recognizer(load_bundle(folder), RecognizerOptions(str(folder), backend="torch"))
    bundle = load_bundle(folder)
    bundle.model.lstm.half()  # as on a GPU: what the model was saved with
    kernels = Recognizer(bundle, RecognizerOptions(str(folder), backend="auto"))
    assert kernels.backend == "triton"
    assert kernels.backend_reason == "fragment, weights resident on toy"
    with scheduled(fuzz=0.0):
        # The interpreter is slow: the first words will do.
        for sample in sorted(samples_folder.glob("*.flac"))[:2]:
            audio = soundfile.read(sample, dtype="float32", stop=3 * 16_000)[0]
            expected, heard = transcribe(plain, [audio]), transcribe(kernels, [audio])
            assert expected.text
            assert [(w.text, w.start, w.end) for w in heard.words] == [
                (w.text, w.start, w.end) for w in expected.words
            ]


def test_an_unknown_backend_is_one_line():
    with pytest.raises(ModelError, match="needs weights on an NVIDIA GPU"):
        Recognizer.from_pretrained(backend="triton")


def test_a_model_without_a_tagger_gives_plain_text(tiny, tiny_folder: Path, speech):
    assert tiny.formatter is None
    transcript = tiny.transcribe(speech, sample_rate=16_000)
    assert transcript.tokens is None
    assert transcript.text == transcript.plain_text
    for asked in ({"text_style": "formatted"}, {"remove_fillers": True}):
        with pytest.raises(ModelError, match=r"tagger\.safetensors: missing"):
            Recognizer.from_pretrained(tiny_folder, **asked)


def test_plain_text_loads_no_tagger(monkeypatch):
    monkeypatch.setattr("streamasr.text.choice.load_tagger", lambda _: pytest.fail("loaded"))
    assert Recognizer.from_pretrained(text_style="plain").formatter is None
    with pytest.raises(ConfigError, match="not plain"):
        RecognizerOptions(text_style="plain", mask_profanity=True)
