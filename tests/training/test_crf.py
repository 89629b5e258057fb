"""CTC-CRF's denominator beside the sum over every path."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from streamasr.training.crf import log_denominator, phone_trigrams

from ..conftest import relative_error


def by_force(log_probs: torch.Tensor, trigrams: torch.Tensor) -> torch.Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for path in itertools.product(range(log_probs.shape[1]), repeat=len(log_probs)):
        weight, a, b = 1.0, 0, 0
        for c, _ in itertools.groupby(path):
            if c:
                weight, a, b = weight * float(trigrams[a, b, c]), b, c
        score = torch.stack([log_probs[t, token] for t, token in enumerate(path)]).sum()
        total = total + weight * score.exp()
    return total.log()


@given(seed=st.integers(0, 10_000), phones=st.integers(2, 4), steps=st.integers(1, 5))
def test_values_and_gradients_are_those_of_the_sum(seed, phones, steps):
    generator = torch.Generator().manual_seed(seed)
    log_probs = torch.randn(steps, 3, phones, generator=generator, dtype=torch.float64)
    log_probs = log_probs.log_softmax(-1).requires_grad_()
    lengths = torch.randint(1, steps + 1, (3,), generator=generator)
    said = torch.randint(1, phones, (4, 6), generator=generator).tolist()
    trigrams = phone_trigrams(said, phones).double()
    weights = torch.rand(3, generator=generator, dtype=torch.float64)
    expected = torch.stack(
        [by_force(log_probs[:n, row], trigrams) for row, n in enumerate(lengths)]
    )
    actual = log_denominator(log_probs, lengths, trigrams)
    assert torch.allclose(actual, expected, rtol=1e-12, atol=1e-12)
    (wanted,) = torch.autograd.grad((expected * weights).sum(), log_probs)
    (gradient,) = torch.autograd.grad((actual * weights).sum(), log_probs)
    assert torch.allclose(gradient, wanted, rtol=1e-12, atol=1e-12)


def test_a_long_utterance_neither_overflows_nor_drifts():
    torch.manual_seed(0)
    log_probs = (3 * torch.randn(600, 2, 40)).log_softmax(-1)
    trigrams = phone_trigrams(torch.randint(1, 40, (50, 60)).tolist(), 40)
    lengths = torch.tensor([600, 411])
    single = log_denominator(log_probs, lengths, trigrams)
    double = log_denominator(log_probs.double(), lengths, trigrams.double())
    assert relative_error(single, double) < 1e-5
    assert (single < 0).all()  # a share of all that the network could say


def test_trigrams_are_distributions_that_favour_what_was_said():
    trigrams = phone_trigrams([[1, 2, 3]] * 20 + [[2, 1]], 5)
    assert torch.allclose(trigrams.sum(-1), torch.ones(5, 5))
    assert (trigrams[:, :, 0] == 0).all()  # the start is never said
    assert (trigrams[:, :, 1:] > 0).all()
    assert trigrams[1, 2, 3] > 0.9
    assert trigrams[0, 0, 1] == pytest.approx(20 / 21, abs=0.05)
