"""What is searched are posteriors that know what follows; partials go on from there."""

from __future__ import annotations

import pickle

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from streamasr.decoding import BeamConfig, BeamDecoder, load_beam
from streamasr.tuning.hypotheses import RecordingDecoder

from .test_beam import STEP, TOKENS, decode, folder, posteriors  # noqa: F401

texts = st.text("_ icathse", min_size=0, max_size=40)


def as_encoded(log_probs: torch.Tensor) -> torch.Tensor:
    """What the second pass of these tests reads: a size of its own, so that none is mixed up."""
    return torch.cat([log_probs, torch.zeros(len(log_probs), 3)], dim=1)


class Late:
    """The second pass of these tests: the posteriors that ``encoded`` carries, ``lag`` later.

    They come in blocks, and their state is what was given and how much of it was answered.
    """

    def __init__(self, lag: int = 3, block: int = 4) -> None:
        self.lag, self.block = lag, block

    def whole(self, encoded: torch.Tensor) -> torch.Tensor:
        return encoded[:, : len(TOKENS)].contiguous()

    def initial_state(self) -> tuple[torch.Tensor, int]:
        return torch.zeros(0, len(TOKENS)), 0

    def __call__(self, encoded, state):
        given, done = torch.cat([state[0], self.whole(encoded)]), state[1]
        known = max(0, len(given) - self.lag) // self.block * self.block
        return given[done:known], (given, max(done, known))

    def finish(self, state):
        return state[0][state[1] :]


class Beforehand(Late):
    """One that has been run: whoever runs it again does the work twice."""

    def __call__(self, *_):
        raise AssertionError

    def finish(self, *_):
        raise AssertionError


@pytest.fixture(scope="module")
def decoder(folder) -> BeamDecoder:  # noqa: F811
    return load_beam(folder, TOKENS, STEP, second=Late())


def run(decoder, first, second, *, partials=True, cuts=()):
    state, words = decoder.initial_state(partials=partials), []
    pieces = zip(
        first.tensor_split(sorted(cuts)), as_encoded(second).tensor_split(sorted(cuts)), strict=True
    )
    for log_probs, encoded in pieces:
        new, state = decoder(log_probs, state, encoded)
        words += new
    last, state = decoder.finish(state)
    return [*words, *last], state


@given(
    text=st.text(" icathse", max_size=40),
    other=st.text(" icathse", max_size=40),
    cuts=st.lists(st.integers(0, 50), max_size=5),
    partials=st.booleans(),
)
def test_finals_are_those_of_the_mixed_posteriors(decoder, text, other, cuts, partials):
    """Beside a decoder without a second pass that is given the mean of both posteriors."""
    size = min(len(text), len(other))
    first, second = posteriors(text[:size]), posteriors(other[:size])
    mixed = torch.logaddexp(first, second) - torch.tensor(2.0).log()
    expected = decode(load_beam_without_second(decoder), mixed)
    found, _ = run(decoder, first, second, partials=partials, cuts=cuts)
    # Numbers differ by their rounding, which only probabilities can show.
    assert [(w.text, w.start, w.end) for w in found] == [(w.text, w.start, w.end) for w in expected]


def load_beam_without_second(decoder: BeamDecoder) -> BeamDecoder:
    return BeamDecoder(TOKENS, STEP, decoder._graph, decoder._config)


def with_settings(decoder: BeamDecoder, second: Late, **settings: float) -> BeamDecoder:
    config = BeamConfig(**settings)
    return BeamDecoder(TOKENS, STEP, decoder._graph, config, second=second)


@given(
    text=texts,
    other=texts,
    cuts=st.lists(st.integers(0, 50), max_size=5),
    pause=st.integers(2, 9),
)
def test_what_was_read_beforehand_gives_the_same_words(decoder, text, other, cuts, pause):
    """As where the second pass of many streams runs in one; the last chunk ends the segment."""
    size = min(len(text), len(other))
    second_pass = Late()
    own = with_settings(decoder, second_pass, pause_seconds=pause * STEP)
    decoder = with_settings(decoder, Beforehand(), pause_seconds=pause * STEP)
    first, second = posteriors(text[:size]), as_encoded(posteriors(other[:size]))
    expected, _ = run(own, first, second[:, : len(TOKENS)], cuts=cuts)
    state, words = decoder.initial_state(), []
    *chunks, last = zip(
        first.tensor_split(sorted(cuts)), second.tensor_split(sorted(cuts)), strict=True
    )
    for log_probs, encoded in [*chunks, last]:
        ended = log_probs is last[0]
        inputs = decoder.second_inputs(log_probs, state, encoded, ended=ended)
        assert [given.ended for given in inputs][-1] == ended
        found = []
        for given_part in inputs:
            known, after = second_pass(given_part.encoded, given_part.state)
            rest = second_pass.finish(after) if given_part.ended else known[:0]
            found.append((torch.cat([known, rest]), after))
        new, state = decoder(log_probs, state, encoded, found)
        words += new
    assert not state.log_probs  # nothing waits that would be read again
    assert [*words, *decoder.finish(state)[0]] == expected


def test_what_waits_for_the_end_is_not_read_beforehand(decoder):
    log_probs = posteriors("i see")
    state = decoder.initial_state(partials=False)
    assert not decoder.second_inputs(log_probs, state, as_encoded(log_probs), ended=True)
    plain = load_beam_without_second(decoder)
    assert not plain.second_inputs(log_probs, plain.initial_state(), None, ended=True)


late = st.builds(Late, st.integers(0, 6), st.integers(1, 9))


@given(
    text=texts,
    other=texts,
    cuts=st.lists(st.integers(0, 50), max_size=5),
    partials=st.booleans(),
    second_pass=late,
)
def test_any_chunking_gives_the_same_words(decoder, text, other, cuts, partials, second_pass):
    size = min(len(text), len(other))
    decoder = with_settings(decoder, second_pass)
    first, second = posteriors(text[:size]), posteriors(other[:size])
    whole, _ = run(decoder, first, second, partials=partials)
    assert run(decoder, first, second, partials=partials, cuts=cuts)[0] == whole


@pytest.mark.parametrize("before", ["i", "the"])
@pytest.mark.parametrize(("word", "spelled"), [("see", "se_e"), ("sea", "seaa")])
def test_the_second_pass_decides_what_the_first_left_open(decoder, before, word, spelled):
    """Against the language model's liking, too, which is for "i see" and "the sea"."""
    see, sea = posteriors(f"{before} se_e "), posteriors(f"{before} seaa ")
    first = torch.logaddexp(see, sea) - torch.tensor(2.0).log()
    second = posteriors(f"{before} {spelled} ")
    trusting = with_settings(decoder, Late(), second_share=0.95)
    assert [w.text for w in run(trusting, first, second)[0]] == [before, word]


@example(text="i see cats the cats", other="the sea i see cats ", size=12, second_pass=Late())
@given(text=texts, other=texts, size=st.integers(0, 40), second_pass=late)
def test_words_that_were_firm_stay(decoder, text, other, size, second_pass):
    """What partials call firm is in the final, at the same times, whatever comes."""
    # Of words that are never dropped, and of a narrow search, so that some become firm.
    decoder = with_settings(
        decoder, second_pass, beam_size=4, least_confidence=0.0, pause_seconds=9
    )
    first, second = posteriors(text), posteriors(other[: len(text)].ljust(len(text)))
    _, state = decoder(first[:size], decoder.initial_state(), as_encoded(second[:size]))
    firm = decoder._firm(state)
    words, state = decoder(first[size:], state, as_encoded(second[size:]))
    assert not words
    final, ended = decoder.finish(state)
    assert ended.steps == 0
    assert [(w.text, w.start, w.end) for w in final][: len(firm)] == [
        (w.text, w.start, w.end) for w in firm
    ]


def test_some_words_become_firm_before_the_end(decoder):
    decoder = with_settings(decoder, Late(), beam_threshold=4.0, pause_seconds=9)
    log_probs = posteriors("i see cats the cats ")
    _, state = decoder(log_probs, decoder.initial_state(), as_encoded(log_probs))
    assert [word.text for word in decoder.partial(state)[: decoder.firm(state)]][:1] == ["i"]


@example(
    text="i see cats the cats",
    other="the sea i see cats ",
    cuts=[5],
    second_pass=Late(3, 4),
    beam=3,
)
@given(
    text=texts,
    other=texts,
    cuts=st.lists(st.integers(0, 50), max_size=5),
    second_pass=late,
    beam=st.integers(1, 50),
)
def test_partials_go_on_by_the_first_pass(decoder, text, other, cuts, second_pass, beam):
    """Beside one search of what is known of the mean, and one behind it of the first pass."""
    size = min(len(text), len(other))
    first, second = posteriors(text[:size]), posteriors(other[:size])
    settings = {"pause_seconds": 9, "partial_beam_size": beam, "partial_beam_threshold": 8.0}
    decoder = with_settings(decoder, second_pass, **settings)
    mixed = (torch.logaddexp(first, second) - torch.tensor(2.0).log()).numpy()
    known = max(0, size - second_pass.lag) // second_pass.block * second_pass.block
    wide, narrow = decoder._search, decoder._ahead
    expected = wide.advance(mixed[:known], wide.initial_state())
    ahead = narrow.advance(first[known:].numpy(), expected)
    state = decoder.initial_state()
    for log_probs, encoded in zip(
        first.tensor_split(sorted(cuts)), as_encoded(second).tensor_split(sorted(cuts)), strict=True
    ):
        _, state = decoder(log_probs, state, encoded)
    for found, other_state in ((state.search, expected), (state.ahead or state.search, ahead)):
        assert found.steps == other_state.steps
        paths, others = wide.best_paths(found, 3), wide.best_paths(other_state, 3)
        assert [p.score for p in paths] == pytest.approx([p.score for p in others], abs=1e-4)


def test_a_state_without_partials_has_none(decoder):
    log_probs = posteriors("i see cats the cats ")
    state = decoder.initial_state(partials=False)
    _, state = decoder(log_probs, state, as_encoded(log_probs))
    assert decoder.partial(state) == []
    assert decoder.firm(state) == 0


def test_the_next_segment_has_partials_too(decoder):
    decoder = with_settings(decoder, Late(), pause_seconds=3 * STEP)
    log_probs = posteriors("i se_e cats ____the cats ")
    words, state = decoder(log_probs, decoder.initial_state(), as_encoded(log_probs))
    assert [word.text for word in words] == ["i", "see", "cats"]
    assert [word.text for word in decoder.partial(state)][:1] == ["the"]


def test_without_what_it_reads_there_is_no_second_pass(decoder):
    log_probs = posteriors("i see cats")
    plain = decode(load_beam_without_second(decoder), log_probs)
    assert decode(decoder, log_probs) == plain
    state = decoder.initial_state(partials=False)
    _, state = decoder(log_probs, state)
    assert decoder.finish(state)[0] == plain


def test_a_state_is_pickled_with_its_own_timesteps_only(decoder):
    log_probs = posteriors("i see cats")
    batch = torch.zeros(len(log_probs), 1000, len(TOKENS) + 3)
    batch[:, 0] = as_encoded(log_probs)
    _, state = decoder(log_probs, decoder.initial_state(), batch[:, 0])
    kept = pickle.dumps(state)
    assert len(kept) < batch.numel()
    assert decoder.finish(pickle.loads(kept))[0] == decoder.finish(state)[0]


def test_the_model_s_own_second_pass_makes_a_recording_s_finals(recognizer, samples_folder):
    """Beside the network itself; and without it, the finals of a recording are others."""
    encoded = torch.randn(9, recognizer.config.model.encoded_size)
    with torch.inference_mode():
        expected = recognizer.bundle.model.second_pass(encoded[:, None])[:, 0]
    assert torch.equal(recognizer.acoustic.second_pass.whole(encoded), expected)
    found = recognizer.transcribe(samples_folder / "dinner.flac")
    words = recognizer.words
    decoder = words._decoder
    plain = BeamDecoder(
        decoder._tokens,
        decoder._step_seconds,
        decoder._graph,
        decoder._config,
        rescorer=decoder._rescorer,
    )
    with_it = [word.confidence for word in found.words]
    try:
        words._decoder = plain
        without = recognizer.transcribe(samples_folder / "dinner.flac")
    finally:
        words._decoder = decoder
    assert with_it != [word.confidence for word in without.words]


def test_weights_are_tuned_on_hypotheses_of_the_second_pass(decoder):
    tuned = RecordingDecoder(
        TOKENS, STEP, decoder._graph, BeamConfig(second_share=0.95), second=Late()
    )
    see, sea = posteriors("i se_e "), posteriors("i seaa ")
    for second, word in ((see, "see"), (sea, "sea")):
        ((best, *_),) = tuned.hypotheses(torch.logaddexp(see, sea), as_encoded(second))
        assert best.text == ("i", word)
