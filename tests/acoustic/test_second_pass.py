"""The second pass block by block, beside the plain loop over a whole segment's timesteps."""

from __future__ import annotations

import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from streamasr.acoustic import SecondPass
from streamasr.acoustic.second_pass import BLOCK, FIRST_BLOCK

from ..conftest import relative_error
from .test_tdnn import SIZES, a_network, reference


def in_chunks(x: Tensor, second: SecondPass, cuts: list[int]) -> Tensor:
    state, found = second.initial_state(), []
    for chunk in x.tensor_split(sorted(cuts)):
        log_probs, state = second(chunk, state)
        found.append(log_probs)
    return torch.cat([*found, second.finish(state)])


def known_inputs(layer: int, t: int) -> int:
    """How many inputs a layer has had when it answers for timestep ``t``."""
    lag, stop = 1 + sum(SIZES.dilations[:layer]), FIRST_BLOCK
    while stop - lag - SIZES.dilations[layer] <= t:
        stop += BLOCK
    return stop - lag


lengths = st.integers(0, 90)
cuts = st.lists(st.integers(0, 90), max_size=6)


@pytest.mark.parametrize("length", [1, 2, 29, 30, 31, 45, 47, 75])
@pytest.mark.parametrize("seed", [0, 1])
def test_it_is_what_a_plain_loop_computes(length, seed):
    network = a_network(seed=seed)
    x = torch.randn(length, network.input_size)
    expected = reference(x, network, known_inputs)
    assert relative_error(in_chunks(x, SecondPass(network), [7, 20, 41]), expected) < 1e-5
    exact = in_chunks(x.double(), SecondPass(network.double()), [3])
    assert relative_error(exact, expected) < 1e-12


@given(length=st.integers(1, 90), cuts=cuts, seed=st.integers(0, 99))
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
    for given_steps in range(1, 100):
        log_probs, state = second(torch.randn(1, SIZES.frames * 10), state)
        known += len(log_probs)
        late = FIRST_BLOCK if given_steps < FIRST_BLOCK else BLOCK
        assert 0 <= given_steps - known <= second.lag + late


def test_a_state_is_a_value():
    second = SecondPass(a_network())
    x = torch.randn(70, SIZES.frames * 10)
    _, state = second(x[:40], second.initial_state())
    kept = pickle.dumps(state)
    assert len(kept) < 20_000  # its own timesteps only
    once = second(x[40:], state)[0]
    assert torch.equal(second(x[40:], state)[0], once)
    assert torch.equal(second(x[40:], pickle.loads(kept))[0], once)
    assert torch.equal(second.finish(state), second.finish(pickle.loads(kept)))
