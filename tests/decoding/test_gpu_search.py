"""The GPU's search under Triton's interpreter equals the reference and the CPU's search.

The interpreter takes its time for every timestep, however many streams and hypotheses there are.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from streamasr.decoding.gpu import CapturedStep, GpuSearch, SearchOverflow
from streamasr.decoding.gpu.state import DEAD, Entry, Row
from streamasr.decoding.graph import graph_of
from streamasr.decoding.search import Search

from .models import TOKENS, arpa_of, random_log_probs, random_model
from .test_search import WEIGHTS, assert_same, expected, spoken

PRUNED = {"beam": 40, "threshold": 9.0, "tokens": 4}
STREAMS = 3


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return [random_model(seed, folder, order=1 + seed) for seed in range(4)]


@pytest.fixture(scope="module")
def distinct(tmp_path_factory):
    """Three words of which no part is another."""
    folder = tmp_path_factory.mktemp("distinct")
    grams = {(word,): (-1.0, -0.3) for word in ("<unk>", "<s>", "</s>", "abc", "de", "fa")}
    (folder / "lm.arpa").write_text(arpa_of({**grams, ("<s>", "abc"): (-0.3, 0.0)}))
    lexicon = {word: [tuple(word)] for word in ("abc", "de", "fa")}
    return graph_of(folder / "lm.arpa", lexicon, TOKENS)


def gpu_search(model, **limits) -> GpuSearch:
    return GpuSearch(model.graph, device="cpu", **{**PRUNED, **WEIGHTS, **limits})


def cpu_search(model, **limits) -> Search:
    return Search(model.graph, **{**PRUNED, **WEIGHTS, **limits})


def posteriors(seed: int, steps: int, streams: int = STREAMS) -> torch.Tensor:
    rows = [random_log_probs(seed + k, steps, len(TOKENS), sharpness=3) for k in range(streams)]
    return torch.from_numpy(np.stack(rows))


def heard(search: GpuSearch, log_probs: torch.Tensor, lengths=None, cuts=()):
    """Search ``(B, T, V)`` in pieces, ending anywhere; return the state."""
    state = search.initial_state(len(log_probs))
    steps = log_probs.shape[1]
    ends = torch.full((len(log_probs),), steps) if lengths is None else torch.tensor(lengths)
    borders = [0, *sorted(cut for cut in cuts if cut < steps), steps]
    for begin, end in itertools.pairwise(borders):
        left = (ends - begin).clamp(0, end - begin)
        search.advance(log_probs[:, begin:end], state, left)
    return state


def readings(model, search: GpuSearch, state, stream: int, most: int = 10**6):
    return cpu_search(model).best_paths(search.host_state(state, stream), most)


def texts(model, search: GpuSearch, state, stream: int) -> dict[tuple[int, ...], float]:
    found = readings(model, search, state, stream)
    return {tuple(span.word for span in reading.spans): reading.score for reading in found}


@pytest.mark.parametrize("seed", range(4))
def test_without_pruning_every_text_has_the_references_score(models, seed):
    model, log_probs, lengths = models[seed], posteriors(seed, 4), [4, 1, 3]
    search = gpu_search(model, beam=1500, threshold=1e4, tokens=99, candidates_per_beam=8)
    state = heard(search, log_probs, lengths, np.random.default_rng(seed).integers(0, 5, 2))
    assert not state.dropped.any()
    assert (state.scores > DEAD).sum(1).max() < 1500
    for stream, length in enumerate(lengths):
        wanted = expected(model, log_probs[stream, :length].numpy())
        assert_same(texts(model, search, state, stream), wanted)


@pytest.mark.parametrize("seed", [1, 3])
def test_pruning_leaves_the_best_text_of_the_cpus_search(models, seed):
    """With its score and its share of the n-gram model; both leave out small parts of sums."""
    model, log_probs, lengths = models[seed], posteriors(seed, 14), [14, 7, 11]
    limits = {"beam": 100, "threshold": 14.0, "tokens": 6}
    search, cpu = gpu_search(model, **limits), cpu_search(model, **limits)
    state = heard(search, log_probs, lengths)
    for stream, length in enumerate(lengths):
        alone = cpu.advance(log_probs[stream, :length].numpy(), cpu.initial_state())
        (wanted,) = cpu.best_paths(alone, 1)
        (found,) = readings(model, search, state, stream, 1)
        assert [span.word for span in found.spans] == [span.word for span in wanted.spans]
        assert found.score == pytest.approx(wanted.score, rel=2e-3)
        assert found.lm_score == pytest.approx(wanted.lm_score, rel=1e-5)


def test_words_have_the_times_and_posteriors_of_the_cpus_search(distinct):
    log_probs = np.concatenate([spoken("abc", 1 - 1e-12), spoken("de", 1 - 1e-12)])
    limits = {"beam": 50, "threshold": 20.0, "tokens": 6, **WEIGHTS}
    search = GpuSearch(distinct, device="cpu", **limits)
    cpu = Search(distinct, **limits)
    state = heard(search, torch.from_numpy(log_probs[None]))
    host, alone = search.host_state(state, 0), cpu.advance(log_probs, cpu.initial_state())
    (wanted,) = cpu.best_paths(alone, 1)
    (found,) = cpu.best_paths(host, 1)
    assert [distinct.word(span.word) for span in found.spans] == ["abc", "de"]
    for one, other in zip(found.spans, wanted.spans, strict=True):
        assert (one.word, one.first_step, one.last_step) == (
            other.word,
            other.first_step,
            other.last_step,
        )
        assert one.posterior == pytest.approx(other.posterior, rel=1e-5)
    assert len(cpu.firm(host)) == len(cpu.firm(alone)) > 0


def assert_equal_states(one, other):
    for name in ("hypotheses", "histories", "traces"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name
    assert (one.steps, one.offset) == (other.steps, other.offset)


@pytest.mark.parametrize("seed", range(2))
def test_any_chunking_gives_the_same_bits(models, seed):
    rng = np.random.default_rng(seed)
    search, log_probs = gpu_search(models[seed + 2]), posteriors(seed, 10)
    lengths = rng.integers(0, 11, STREAMS).tolist()
    whole = heard(search, log_probs, lengths)
    pieces = heard(search, log_probs, lengths, rng.integers(0, 11, 4))
    for stream in range(STREAMS):
        assert_equal_states(search.host_state(whole, stream), search.host_state(pieces, stream))


def test_a_stream_does_not_hear_the_others(models):
    search, log_probs = gpu_search(models[2]), posteriors(0, 9)
    together = heard(search, log_probs, [9, 5, 0])
    alone = heard(search, log_probs[:1])
    assert_equal_states(search.host_state(together, 0), search.host_state(alone, 0))
    fresh = search.host_state(search.initial_state(1), 0)
    assert_equal_states(search.host_state(together, 2), fresh)
    assert_equal_states(cpu_search(models[2]).initial_state(), fresh)


def test_a_stream_that_is_reset_begins_anew(models):
    search, log_probs = gpu_search(models[2]), posteriors(5, 5)
    state = heard(search, log_probs)
    kept = state.clone()
    state.reset(torch.tensor([False, True, False]), search.initial_state(1))
    search.advance(log_probs, state)
    again = heard(search, log_probs)
    assert_equal_states(search.host_state(state, 1), search.host_state(again, 1))
    search.advance(log_probs, kept)
    assert_equal_states(search.host_state(state, 0), search.host_state(kept, 0))


def test_words_that_no_hypothesis_leads_to_are_dropped(models):
    """The arena stays small on a stream without an end, and no text changes."""
    search, log_probs = gpu_search(models[1]), posteriors(7, 20, 1)
    state = search.initial_state(1)
    sizes = []
    for t in range(20):
        search.advance(log_probs[:, t : t + 1], state)
        before = search.host_state(state, 0)
        search.compact(state)
        assert_equal_states(search.host_state(state, 0), before)
        sizes.append(int(state.sizes))
        reached = set()
        for trace in state.rows[0, state.scores[0] > DEAD, Row.TRACE].tolist():
            at = trace
            while at >= 0:
                reached.add(at)
                at = int(state.arena[0, at, Entry.PARENT])
        assert reached == set(range(sizes[-1]))
    (best,) = readings(models[1], search, state, 0, 1)
    assert len(best.spans) > 2


def test_posteriors_that_are_no_numbers_do_not_spread(models):
    search, log_probs = gpu_search(models[0]), posteriors(3, 5)
    spoiled = log_probs.clone()
    spoiled[1] = float("nan")
    spoiled[2] = -float("inf")
    state = heard(search, spoiled)
    clean = heard(search, log_probs)
    assert_equal_states(search.host_state(state, 0), search.host_state(clean, 0))
    assert np.isfinite(search.host_state(state, 1).hypotheses.view(np.float32)[:, 2]).all()


def test_candidates_without_room_are_counted_and_told(models):
    limits = {"beam": 30, "threshold": 1e4, "tokens": 6}
    search = gpu_search(models[0], **limits, candidates_per_beam=1)
    state = heard(search, posteriors(1, 6))
    assert (state.dropped > 0).all()
    with pytest.warns(RuntimeWarning, match="candidates had no room"):
        search.host_state(state, 0)
    roomy = gpu_search(models[0], **limits, candidates_per_beam=16)
    assert not heard(roomy, posteriors(1, 6)).dropped.any()


def test_words_without_room_are_told(models):
    search = gpu_search(models[0], threshold=1e4)
    state = heard(search, posteriors(1, 6))
    state.sizes[1] = state.arena.shape[1] - 2
    search.advance(posteriors(2, 3), state)
    assert state.lost.tolist()[0] == 0
    with pytest.raises(SearchOverflow, match="stream 1"):
        search.host_state(state, 1)
    assert search.host_state(state, 0).steps == 9


def test_more_streams_than_an_index_counts_are_refused(models):
    with pytest.raises(ValueError, match="too many"):
        gpu_search(models[0], beam=1000, tokens=6).initial_state(10**6)


def test_capturing_changes_nothing_and_belongs_to_its_state(models, monkeypatch):
    """Warming up hears nothing. What is captured and replayed is for a GPU: scripts/gpu_check."""

    class Stream:
        def __init__(self, device):
            pass

        def wait_stream(self, other):
            pass

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "graph", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    search, log_probs = gpu_search(models[0]), posteriors(1, 6, 2)
    state = heard(search, log_probs)
    kept = state.clone()
    captured = CapturedStep(search, state, len(TOKENS))
    for stream in range(2):
        assert_equal_states(search.host_state(state, stream), search.host_state(kept, stream))
    with pytest.raises(ValueError, match="another state"):
        search.advance(log_probs[:, :1], kept, captured=captured)


def test_a_timesteps_kernels_compile_for_an_h100():
    """In a process of its own: under the interpreter nothing is compiled."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "tests.decoding.compile_gpu_search", "90"]
    folder = Path(__file__).parents[2]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=folder, check=True
    )
    found = json.loads(done.stdout)
    names = ["expand_kernel", "count_kernel", "count_kernel", "score_kernel", "merge_kernel"]
    assert [one["kernel"] for one in found] == names
    for one in found:
        assert one["spill"] == 0
        assert 0 < one["registers"] <= 128
