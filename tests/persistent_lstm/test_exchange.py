"""The kernel that only exchanges, all programs at once under the interpreter."""

from __future__ import annotations

import pytest
import torch
from persistent_lstm import Device, Launch, LSTMError, raise_pending_error
from persistent_lstm.errors import error_of
from persistent_lstm.exchange import exchange_nanoseconds, run_exchange
from persistent_lstm.planning import PLANNERS

from .cogrid import scheduled

CPU = torch.device("cpu")


def launch(*, layers=2, hidden=32, rows=1, split=True, kernels="triton") -> Launch:
    device = Device("toy", 90, 8, 227 * 1024)
    plan = PLANNERS[kernels](layers, hidden, rows, torch.bfloat16, device, split=split)
    (found,) = plan.launches
    return found


CASES = {
    "one row": (launch(), True),
    "windows that overlap, rounded": (launch(layers=1, hidden=48, rows=3, split=False), False),
    "groups of rows": (launch(layers=1, hidden=64, rows=17), True),
    "of the wide kernel": (
        launch(layers=1, hidden=64, rows=33, split=False, kernels="triton-wide"),
        False,
    ),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("seed", [0, 1])
def test_every_thread_has_read_its_words(name, seed):
    shape, split = CASES[name]
    exchanges = 4
    with scheduled(seed=seed, fuzz=0.3):
        done = run_exchange(shape, exchanges, CPU, split=split)
    raise_pending_error(CPU)
    expected = torch.arange(exchanges, dtype=torch.int32)[None, :, None, None]
    assert torch.equal(done.words, expected.expand_as(done.words))
    # All words are t, and the sentinel is -1: one read before it was published would be missing.
    total = exchanges * (exchanges - 1) // 2
    assert done.seen.min() > 0
    assert (done.seen % total == 0).all()
    assert len(done.seen.unique()) == 1
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
        assert exchange_nanoseconds(launch(layers=1), CPU, repeats=1) > 0


def test_an_error_first_met_in_inference_mode_can_be_raised_outside_of_it():
    device = torch.device("cpu", 7)
    with torch.inference_mode():
        error_of(device)[0] = 3
    with pytest.raises(LSTMError, match="timestep 2"):
        raise_pending_error(device)
    raise_pending_error(device)
