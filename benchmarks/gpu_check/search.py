"""The beam search on the GPU: beside the CPU's, as a CUDA graph, and how many streams it bears.

A random lexicon and bigram model, and posteriors of random sentences of its words: what the search
does in a timestep depends on how many hypotheses are near the best, which noise decides.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

if TYPE_CHECKING:
    from streamasr.decoding.gpu import GpuSearch, GpuState
    from streamasr.decoding.graph import SearchGraph
    from streamasr.decoding.search import Search

PHONES = 40
STEP_SECONDS = 0.03  # of the shipped model
# Both searches leave out small parts of sums, not the same ones.
TOLERANCE = 2e-3


@dataclass(frozen=True)
class Problem:
    """What is searched: ``words`` of the lexicon, ``bigrams``; the limits are the shipped ones."""

    words: int = 50_000
    bigrams: int = 500_000
    beam: int = 1000
    threshold: float = 11.0
    tokens: int = 10
    steps: int = 100
    noise: float = 1.5  # of the logits, where the spoken token has 7
    streams: tuple[int, ...] = (1, 64, 512, 2048)

    @property
    def limits(self) -> dict[str, Any]:
        """The arguments of both searches."""
        limits = {"beam": self.beam, "threshold": self.threshold, "tokens": self.tokens}
        return {**limits, "lm_weight": 1.7, "word_score": -1.2}


def search(problem: Problem, device: torch.device) -> dict[str, Any]:
    """Run all of it; ``ok`` unless the words or their scores differ, or a graph's bits.

    On another device than a GPU, under the interpreter, there is no graph and nothing is timed.
    """
    from streamasr.decoding.gpu import GpuSearch
    from streamasr.decoding.search import Search

    graph, spelled = random_graph(problem)
    ours, cpu = (
        GpuSearch(graph, device=device, **problem.limits),
        Search(graph, **problem.limits),
    )
    log_probs = np.stack([posteriors(problem, spelled, seed) for seed in range(8)])
    on_gpu = device.type == "cuda"
    parts = {"correctness": compare(ours, cpu, log_probs)}
    if on_gpu:
        parts["cuda_graph"] = capture(ours, log_probs)
    found = {
        "device": torch.cuda.get_device_name(device) if on_gpu else "interpreter",
        "problem": asdict(problem),
        "table_bytes": ours.tables.bytes,
        "parts": parts,
        "cpu": cpu_rate(cpu, log_probs),
        "rows": [],
        "ok": all(part["ok"] for part in parts.values()),
    }
    if on_gpu:
        found["rows"] = [rate(ours, log_probs, streams) for streams in problem.streams]
    return found


def random_graph(problem: Problem) -> tuple[SearchGraph, list[tuple[int, ...]]]:
    """Return a graph of random words, likelier ones first, and the tokens of each."""
    from streamasr.decoding.graph import graph_of
    from streamasr.tokens import Tokens

    rng = np.random.default_rng(0)
    phones = [f"p{k}" for k in range(1, PHONES + 1)]
    names = [f"w{k}" for k in range(problem.words)]
    spelled = [
        tuple(rng.integers(1, PHONES + 1, size).tolist())
        for size in rng.integers(2, 9, len(names)).tolist()
    ]
    zipf = 1 / np.arange(2, len(names) + 2)
    unigrams = np.log10(zipf / zipf.sum())
    pairs = np.unique((rng.random((problem.bigrams, 2)) ** 3 * len(names)).astype(np.int64), axis=0)
    lines = ["\\data\\", f"ngram 1={len(names) + 3}", f"ngram 2={len(pairs)}", "", "\\1-grams:"]
    lines += [f"-3\t{special}\t-0.3" for special in ("<unk>", "<s>", "</s>")]
    lines += [f"{p:.4f}\t{n}\t-0.4" for n, p in zip(names, unigrams.tolist(), strict=True)]
    lines += ["", "\\2-grams:"]
    values = (unigrams[pairs[:, 1]] * rng.uniform(0.3, 0.9, len(pairs))).tolist()
    lines += [
        f"{p:.4f}\t{names[a]} {names[b]}" for (a, b), p in zip(pairs.tolist(), values, strict=True)
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lm.arpa"
        path.write_text("\n".join([*lines, "", "\\end\\", ""]))
        lexicon = {
            name: [[phones[token - 1] for token in tokens]]
            for name, tokens in zip(names, spelled, strict=True)
        }
        return graph_of(path, lexicon, Tokens(("<blank>", *phones))), spelled


def posteriors(problem: Problem, spelled: list[tuple[int, ...]], seed: int) -> NDArray[np.float32]:
    """Return ``(steps, PHONES + 1)`` log-posteriors of a random sentence, each token one timestep.

    Blanks follow a token as often as not, and always where it comes again.
    """
    rng = np.random.default_rng(seed)
    units = [0, 0]
    while len(units) < problem.steps:
        for token in spelled[int(rng.random() ** 3 * len(spelled))]:
            units += [0, token] if units[-1] == token or rng.random() < 0.5 else [token]
    logits = problem.noise * rng.standard_normal((problem.steps, PHONES + 1))
    logits[np.arange(problem.steps), units[: problem.steps]] += 7
    logits -= np.logaddexp.reduce(logits, axis=1, keepdims=True)
    return logits.astype(np.float32)


def compare(ours: GpuSearch, cpu: Search, log_probs: NDArray[np.float32]) -> dict[str, Any]:
    """Search streams of different lengths together, and each alone on the CPU."""
    streams, steps = log_probs.shape[:2]
    lengths = [max(1, steps - k * steps // (2 * streams)) for k in range(streams)]
    state = ours.initial_state(streams)
    moved = torch.from_numpy(log_probs).to(ours.device)
    ours.advance(moved, state, torch.tensor(lengths, device=ours.device))
    errors, same = [], 0
    for stream, length in enumerate(lengths):
        (found,) = cpu.best_paths(ours.host_state(state, stream), 1)
        alone = cpu.advance(log_probs[stream, :length], cpu.initial_state())
        (wanted,) = cpu.best_paths(alone, 1)
        same += [span.word for span in found.spans] == [span.word for span in wanted.spans]
        errors.append(abs(found.score - wanted.score) / abs(wanted.score))
    return {
        "streams": streams,
        "same_words": same,
        "dropped": int(state.dropped.sum()),
        "errors": {"score": max(errors)},
        "tolerance": TOLERANCE,
        "ok": same == streams and max(errors) <= TOLERANCE,
    }


def capture(ours: GpuSearch, log_probs: NDArray[np.float32]) -> dict[str, Any]:
    """Replay a captured timestep; its state must have the bits of the launches one by one."""
    from streamasr.decoding.gpu import CapturedStep

    moved = torch.from_numpy(log_probs).to(ours.device)
    launched, replayed = (ours.initial_state(len(moved)) for _ in range(2))
    ours.advance(moved, launched)
    captured = CapturedStep(ours, replayed, moved.shape[2])
    ours.advance(moved, replayed, captured=captured)
    torch.cuda.synchronize(ours.device)
    other = launched.tensors()
    differ = [
        name
        for name, tensor in replayed.tensors().items()
        if name != "arena" and not torch.equal(tensor, other[name])
    ]
    return {"said": f"differ: {differ}" if differ else "", "ok": not differ}


def alive(state: GpuState) -> int:
    """Return how many hypotheses all streams have together."""
    from streamasr.decoding.gpu.state import DEAD

    return int((state.scores > DEAD).sum())


def rate(ours: GpuSearch, log_probs: NDArray[np.float32], streams: int) -> dict[str, Any]:
    """Time ``streams`` on a CUDA device, captured; hypotheses are counted apart from that."""
    from streamasr.decoding.gpu import CapturedStep

    device = ours.device
    torch.cuda.reset_peak_memory_stats(device)
    rows = torch.arange(streams) % len(log_probs)
    moved = torch.from_numpy(log_probs)[rows].to(device)
    steps = moved.shape[1]
    counts = []
    counting = ours.initial_state(1)
    for t in range(steps):
        ours.advance(moved[:1, t : t + 1], counting)
        counts.append(alive(counting))
    state = ours.initial_state(streams)
    captured = CapturedStep(ours, state, moved.shape[2])
    lengths = torch.full((streams,), steps, device=device)
    ours.advance(moved, state, lengths, captured)  # caches are warm from here on
    everyone = torch.ones(streams, dtype=torch.bool, device=device)
    state.reset(everyone, ours.initial_state(1))
    torch.cuda.synchronize(device)
    began = time.perf_counter()
    ours.advance(moved, state, lengths, captured)
    torch.cuda.synchronize(device)
    seconds = time.perf_counter() - began
    return {
        "streams": streams,
        "ms_per_timestep": 1e3 * seconds / steps,
        "timesteps_per_second": streams * steps / seconds,
        "hypotheses_per_second": streams * sum(counts) / seconds,
        "streams_in_real_time": streams * steps * STEP_SECONDS / seconds,
        "state_bytes_per_stream": state.bytes // streams,
        "peak_bytes": torch.cuda.max_memory_allocated(device),
        "dropped": int(state.dropped.sum()),
        "lost": int(state.lost.sum()),
    }


def cpu_rate(cpu: Search, log_probs: NDArray[np.float32]) -> dict[str, Any]:
    """Time the CPU's search of one stream on one core."""
    cpu.advance(log_probs[0], cpu.initial_state())  # compiles
    state, counts = cpu.initial_state(), []
    for frame in log_probs[0]:
        state = cpu.advance(frame[None], state)
        counts.append(len(state.hypotheses))
    began = time.perf_counter()
    for one in log_probs:
        cpu.advance(one, cpu.initial_state())
    seconds = time.perf_counter() - began
    steps = log_probs.shape[0] * log_probs.shape[1]
    return {
        "timesteps_per_second": steps / seconds,
        "hypotheses_per_second": len(log_probs) * sum(counts) / seconds,
        "streams_in_real_time": steps * STEP_SECONDS / seconds,
    }
