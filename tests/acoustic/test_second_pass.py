"""The second pass block by block, beside the plain loop over a whole segment's timesteps."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from streamasr.acoustic import SecondPass, SecondPassInput
from streamasr.acoustic.second_pass import BLOCK

from ..conftest import relative_error
from .test_tdnn import SIZES, a_network, reference


def in_chunks(x: Tensor, second: SecondPass, cuts: list[int]) -> Tensor:
    state, found = second.initial_state(), []
    for chunk in x.tensor_split(sorted(cuts)):
        log_probs, state = second(chunk, state)
        found.append(log_probs)
    return torch.cat([*found, second.finish(state)])


def known_inputs(length: int) -> Callable[[int, int], int]:
    """How many inputs a layer has had when it answers for a timestep.

    Blocks are full but the last, which answers for all that remains.
    """

    def known(layer: int, t: int) -> int:
        lag, stop = 1 + sum(SIZES.dilations[:layer]), BLOCK
        while stop - lag - SIZES.dilations[layer] <= t:
            stop += BLOCK
        return stop - lag if stop <= length + SIZES.delay else length + SIZES.delay

    return known


lengths = st.integers(0, 150)
cuts = st.lists(st.integers(0, 150), max_size=6)


@pytest.mark.parametrize("length", [1, 2, 44, 45, 46, 60, 93, 94, 110])
@pytest.mark.parametrize("seed", [0, 1])
def test_it_is_what_a_plain_loop_computes(length, seed):
    network = a_network(seed=seed)
    x = torch.randn(length, network.input_size)
    expected = reference(x, network, known_inputs(length))
    assert relative_error(in_chunks(x, SecondPass(network), [7, 20, 41]), expected) < 1e-5
    exact = in_chunks(x.double(), SecondPass(network.double()), [3])
    assert relative_error(exact, expected) < 1e-12


@given(length=st.integers(1, 150), cuts=cuts, seed=st.integers(0, 99))
def test_without_gates_it_is_the_whole_network(length, cuts, seed):
    network = a_network(SIZES.model_copy(update={"gate_every": 9}), seed=seed).double()
    x = torch.randn(length, network.input_size, dtype=torch.float64)
    second = SecondPass(network)
    assert torch.allclose(in_chunks(x, second, cuts), second.whole(x), rtol=0, atol=1e-12)


@given(length=lengths, cuts=cuts, seed=st.integers(0, 99))
def test_any_chunking_gives_the_same_bits(length, cuts, seed):
    second = SecondPass(a_network(seed=seed))
    x = torch.randn(length, SIZES.frames * 10)
    assert torch.equal(in_chunks(x, second, cuts), in_chunks(x, second, []))


def test_it_answers_a_lag_and_a_block_later():
    second = SecondPass(a_network())
    assert second.lag == 1 + sum(SIZES.dilations) - SIZES.delay
    state, known = second.initial_state(), 0
    for given_steps in range(1, 200):
        log_probs, state = second(torch.randn(1, SIZES.frames * 10), state)
        known += len(log_probs)
        assert 0 <= given_steps - known < second.lag + BLOCK


def test_a_state_is_a_value():
    second = SecondPass(a_network())
    x = torch.randn(120, SIZES.frames * 10)
    _, state = second(x[:70], second.initial_state())
    kept = pickle.dumps(state)
    assert len(kept) < 20_000  # its own timesteps only
    once = second(x[70:], state)[0]
    assert torch.equal(second(x[70:], state)[0], once)
    assert torch.equal(second(x[70:], pickle.loads(kept))[0], once)
    assert torch.equal(second.finish(state), second.finish(pickle.loads(kept)))


@given(
    rows=st.lists(st.tuples(lengths, st.integers(0, 150), st.booleans()), min_size=1, max_size=11),
    seed=st.integers(0, 99),
)
def test_segments_of_one_pass_get_what_they_get_alone(rows, seed):
    """More than one pass holds, at different places, some of them ended."""
    second = SecondPass(a_network(seed=seed).double())
    inputs, expected = [], []
    for length, more, ended in rows:
        x = torch.randn(length + more, SIZES.frames * 10, dtype=torch.float64)
        _, before = second(x[:length], second.initial_state())
        inputs.append(SecondPassInput(x[length:], before, ended))
        log_probs, after = second(x[length:], before)
        expected.append(torch.cat([log_probs, second.finish(after)]) if ended else log_probs)
    for (found, after), alone, given_more in zip(
        second.many(inputs), expected, inputs, strict=True
    ):
        assert torch.allclose(found, alone, rtol=0, atol=1e-12)
        if not given_more.ended:
            y = torch.randn(60, SIZES.frames * 10, dtype=torch.float64)
            _, alone_after = second(given_more.encoded, given_more.state)
            again, wanted = second(y, after)[0], second(y, alone_after)[0]
            assert torch.allclose(again, wanted, rtol=0, atol=1e-12)
