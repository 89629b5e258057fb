"""The kernel that only exchanges, all programs at once under the interpreter."""

from __future__ import annotations

import pytest
import torch
from persistent_lstm import Launch, LSTMError, raise_pending_error
from persistent_lstm.errors import error_of
from persistent_lstm.exchange import exchange_nanoseconds, run_exchange

from .cogrid import scheduled

CPU = torch.device("cpu")


def launch(*, kernel="stack", layers=2, hidden=32, rows=1, units=16, K=32) -> Launch:
    return Launch(kernel, (0, layers), hidden, rows, 8, units, K, 2, 0, 0)


CASES = [
    launch(),
    launch(layers=1, hidden=48, rows=3, units=16, K=64),  # columns and rows that fill no tile
    launch(kernel="batched", layers=1, hidden=160, rows=17, units=32, K=256),  # two tiles
    launch(kernel="fragment", layers=1, hidden=384, rows=2, units=128, K=384),  # K no power of two
]


@pytest.mark.parametrize("shape", CASES, ids=lambda one: f"{one.kernel}-{one.hidden}")
@pytest.mark.parametrize("seed", [0, 1])
def test_every_program_has_read_every_word_of_its_group(shape, seed):
    exchanges = 5
    with scheduled(seed=seed, fuzz=0.3):
        done = run_exchange(shape, exchanges, CPU)
    raise_pending_error(CPU)
    expected = torch.arange(exchanges, dtype=torch.int32)[None, :, None, None]
    assert torch.equal(done.words, expected.expand_as(done.words))
    # The sentinel is -1: a word read before it was published would be missing from the sum.
    total = shape.rows * shape.hidden * exchanges * (exchanges - 1) // 2
    assert done.seen.tolist() == [total] * shape.programs
    assert (done.stamps[:, 1, :2] > done.stamps[:, 0, :2]).all()


def test_a_missing_program_is_an_error_and_no_hang():
    with scheduled(dropped=[0], patience=10_000):
        run_exchange(launch(), 3, CPU, limit=20)
    with pytest.raises(LSTMError, match=r"timestep 0, program 1"):
        raise_pending_error(CPU)


def test_latency_is_time_by_exchanges(monkeypatch):
    monkeypatch.setattr("persistent_lstm.exchange.FEWEST_EXCHANGES", 4)
    monkeypatch.setattr("persistent_lstm.exchange.MOST_EXCHANGES", 4)
    with scheduled():
        assert exchange_nanoseconds(launch(layers=1, units=32), CPU, repeats=1) > 0


def test_an_error_first_met_in_inference_mode_can_be_raised_outside_of_it():
    device = torch.device("cpu", 7)
    with torch.inference_mode():
        error_of(device)[0] = 3
    with pytest.raises(LSTMError, match="timestep 2"):
        raise_pending_error(device)
    raise_pending_error(device)
