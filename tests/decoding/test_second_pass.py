"""A segment that has ended is searched again, in posteriors that know all of it."""

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


def answers(encoded: torch.Tensor) -> torch.Tensor:
    """The second pass of these tests: the posteriors that ``encoded`` carries."""
    return encoded[:, : len(TOKENS)].contiguous()


@pytest.fixture(scope="module")
def decoder(folder) -> BeamDecoder:  # noqa: F811
    return load_beam(folder, TOKENS, STEP, second=answers)


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
)
def test_finals_are_those_of_the_mixed_posteriors(decoder, text, other, cuts):
    """Beside a decoder without a second pass that is given the mean of both posteriors."""
    size = min(len(text), len(other))
    first, second = posteriors(text[:size]), posteriors(other[:size])
    mixed = torch.logaddexp(first, second) - torch.tensor(2.0).log()
    expected = decode(load_beam_without_second(decoder), mixed)
    found, _ = run(decoder, first, second, partials=False, cuts=cuts)
    # Numbers differ by their rounding, which only probabilities can show.
    assert [(w.text, w.start, w.end) for w in found] == [(w.text, w.start, w.end) for w in expected]


def load_beam_without_second(decoder: BeamDecoder) -> BeamDecoder:
    return BeamDecoder(TOKENS, STEP, decoder._graph, decoder._config)


def with_settings(decoder: BeamDecoder, **settings: float) -> BeamDecoder:
    config = BeamConfig(**settings)
    return BeamDecoder(TOKENS, STEP, decoder._graph, config, second=answers)


@given(
    text=texts,
    other=texts,
    cuts=st.lists(st.integers(0, 50), max_size=5),
    partials=st.booleans(),
    block=st.integers(0, 3),
)
def test_any_chunking_gives_the_same_words(decoder, text, other, cuts, partials, block):
    size = min(len(text), len(other))
    decoder = with_settings(decoder, partial_block=block)
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
    trusting = with_settings(decoder, second_share=0.95)
    assert [w.text for w in run(trusting, first, second)[0]] == [before, word]


@pytest.mark.parametrize("block", [0, 1, 3])
def test_words_that_were_firm_stay(decoder, block):
    """What partials call firm is in the final, whatever the second pass says in the end."""

    def late(encoded: torch.Tensor) -> torch.Tensor:
        """Change its mind as soon as it hears all."""
        return answers(encoded) if len(encoded) == len(first) else first[: len(encoded)]

    decoder = BeamDecoder(
        TOKENS,
        STEP,
        decoder._graph,
        BeamConfig(
            second_share=0.999,
            firm_confidence=0.5,
            beam_threshold=4.0,
            partial_block=block,
            partial_ahead=2,
            partial_behind=100,
        ),
        second=late,
    )
    first, second = posteriors("i see cats the cats "), posteriors("i see cats the cats ")
    second[:6] = posteriors("the   ")
    state = decoder.initial_state()
    _, state = decoder(first, state, as_encoded(second))
    firm = [(w.text, w.start, w.end) for w in decoder.partial(state)[: decoder.firm(state)]]
    assert [text for text, _, _ in firm[:1]] == ["i"]
    words, ended = decoder.finish(state)
    assert ended.searched == ended.steps == 0
    assert [(w.text, w.start, w.end) for w in words][: len(firm)] == firm
    free, _ = run(decoder, first, second, partials=False)
    assert [w.text for w in free][:1] == ["the"]


def knows_what_it_is_given(encoded: torch.Tensor) -> torch.Tensor:
    """A second pass whose answer for each timestep hangs on all that it is given."""
    return (answers(encoded) + 0.3 * answers(encoded).exp().mean(0)).log_softmax(-1)


windows = st.tuples(st.integers(1, 5), st.integers(0, 4), st.integers(0, 6))


@example(text="i see cats the cats", other="the sea i see cats ", sizes=(3, 2, 4), cuts=[5])
@given(text=texts, other=texts, sizes=windows, cuts=st.lists(st.integers(0, 50), max_size=5))
def test_partials_come_from_windows_of_the_second_pass(folder, text, other, sizes, cuts):  # noqa: F811
    """Beside a search of the windows' mixed posteriors, one after the other, at any chunking."""
    size, (block, ahead, behind) = min(len(text), len(other)), sizes
    first, second = posteriors(text[:size]), posteriors(other[:size])
    config = BeamConfig(
        pause_seconds=9, partial_block=block, partial_ahead=ahead, partial_behind=behind
    )
    graph = load_beam(folder, TOKENS, STEP)._graph
    decoder = BeamDecoder(TOKENS, STEP, graph, config, second=knows_what_it_is_given)
    plain = BeamDecoder(TOKENS, STEP, graph, config)
    half, mixed = torch.tensor(2.0).log(), [torch.zeros(0, len(TOKENS))]
    for start in range(0, max(0, size - ahead - block + 1), block):
        low, high = max(0, start - behind), start + block + ahead
        heard = knows_what_it_is_given(as_encoded(second[low:high]))[start - low :][:block]
        mixed.append(torch.logaddexp(first[start : start + block], heard) - half)
    expected = plain.initial_state()
    _, expected = plain(torch.cat(mixed), expected)
    for partials in (True, False):
        state = decoder.initial_state(partials=partials)
        for log_probs, encoded in zip(
            first.tensor_split(sorted(cuts)),
            as_encoded(second).tensor_split(sorted(cuts)),
            strict=True,
        ):
            _, state = decoder(log_probs, state, encoded)
        searched = decoder._searched(state)
        assert searched.searched == expected.steps
        found = decoder._search.best_paths(searched.search, 3)
        paths = plain._search.best_paths(expected.search, 3)
        assert [path.score for path in found] == pytest.approx([path.score for path in paths])
        best, other_best = found[0].spans, paths[0].spans
        assert [(s.word, s.last_step) for s in best] == [(s.word, s.last_step) for s in other_best]


@given(text=texts, cut=st.integers(0, 50))
def test_partials_of_a_state_that_wants_none_are_the_same(decoder, text, cut):
    log_probs = posteriors(text)[:cut]
    wanted, unwanted = decoder.initial_state(), decoder.initial_state(partials=False)
    _, wanted = decoder(log_probs, wanted, as_encoded(log_probs))
    _, unwanted = decoder(log_probs, unwanted, as_encoded(log_probs))
    assert decoder.partial(unwanted) == decoder.partial(wanted)
    assert decoder.firm(unwanted) == decoder.firm(wanted)


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
    assert torch.equal(recognizer.acoustic.second_pass(encoded), expected)
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
        TOKENS, STEP, decoder._graph, BeamConfig(second_share=0.95), second=answers
    )
    see, sea = posteriors("i se_e "), posteriors("i seaa ")
    for second, word in ((see, "see"), (sea, "sea")):
        ((best, *_),) = tuned.hypotheses(torch.logaddexp(see, sea), as_encoded(second))
        assert best.text == ("i", word)
