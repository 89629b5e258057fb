"""Each piece of the kernel's inline PTX beside its stand-in, in one small kernel each.

The interpreter runs the stand-ins, so that all else is tested without a GPU; that the pieces
compute the same, only a GPU can say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
import triton
import triton.language as tl
from numpy.typing import NDArray
from persistent_lstm import _stand_ins as stand_ins
from persistent_lstm._fragment_parts import ptx
from persistent_lstm._layout import THREADS
from persistent_lstm._wide import counters

Array = NDArray[Any]

TILES, SUMS = 2, 2
WORDS = 8  # at each of two pointers
LATE, NEVER = 200, 77  # polls that a word comes late; the word that never comes
LIMIT = 100_000


@triton.jit
def element_kernel(inputs, out, PIECE: tl.constexpr, HALF: tl.constexpr):
    """One piece of one to ten registers; registers lie 256 apart, one a thread."""
    thread = tl.arange(0, 256)
    first = tl.load(inputs + thread)
    x = first.to(tl.float32, bitcast=True)
    if PIECE == "exp2":
        results = (ptx.exp2(x),)
    elif PIECE == "reciprocal":
        results = (ptx.reciprocal(x),)
    elif PIECE == "quad":
        results = ptx.quad(x)
    elif PIECE == "split_word":
        results = (ptx.split_word(x, HALF),)
    elif PIECE == "pair_word":
        results = (ptx.pair_word(x, HALF),)
    elif PIECE == "word_values":
        results = ptx.word_values(first, HALF)
    elif PIECE == "half_columns":
        results = (ptx.half_columns(first, tl.load(inputs + 256 + thread), thread % 32),)
    else:
        c = ()
        for i in tl.static_range(4):
            c = c + (tl.load(inputs + (6 + i) * 256 + thread).to(tl.float32, bitcast=True),)
        results = ptx.mma(
            first,
            tl.load(inputs + 1 * 256 + thread),
            tl.load(inputs + 2 * 256 + thread),
            tl.load(inputs + 3 * 256 + thread),
            tl.load(inputs + 4 * 256 + thread),
            tl.load(inputs + 5 * 256 + thread),
            c[0],
            c[1],
            c[2],
            c[3],
            HALF,
        )
    for i in tl.static_range(len(results)):
        tl.store(out + i * 256 + thread, results[i].to(tl.int32, bitcast=True))


@triton.jit
def load_all(inputs, first, COUNT: tl.constexpr):
    """COUNT registers from the one numbered ``first`` on."""
    values = ()
    for i in tl.static_range(COUNT):
        values = values + (tl.load(inputs + (first + i) * 256 + tl.arange(0, 256)),)
    return values


@triton.jit
def sums_kernel(
    inputs,  # (turns, 8 * SUMS, 256) float32
    moments,  # (4, 256) float32, of two tiles
    out,  # float32 bits: (turns, SUMS, 256); normed: (3, SUMS, 256), sums and moments
    turns,
    SUMS: tl.constexpr,
    UNITS: tl.constexpr,
    SPLIT: tl.constexpr,
    NORMED: tl.constexpr,
):
    """Sums over the warps, several in a row: what one turn writes must not reach another."""
    thread = tl.arange(0, 256)
    if NORMED:
        rows = ()
        for s in tl.static_range(SUMS):
            rows = rows + (s * 4 + thread // 64,)
        found = ptx.moments_over_warps(
            load_all(inputs, 0, 8 * SUMS),
            load_all(moments, 0, 2),
            load_all(moments, 2, 2),
            rows,
            thread,
            SUMS,
            UNITS,
            SPLIT,
        )
        for i in tl.static_range(3 * SUMS):
            tl.store(out + i * 256 + thread, found[i].to(tl.int32, bitcast=True))
    else:
        turn = 0
        while turn < turns:
            partials = load_all(inputs, turn * 8 * SUMS, 8 * SUMS)
            found = ptx.sum_over_warps(partials, thread, turn & 1, SUMS, UNITS, True)
            for s in tl.static_range(SUMS):
                bits = found[s].to(tl.int32, bitcast=True)
                tl.store(out + (turn * SUMS + s) * 256 + thread, bits)
            turn += 1


@triton.jit
def waiting_kernel(
    words,  # (2, 2048) int32, filled with the sentinel; program 1 writes them, all but one
    out,  # (17, 256) int32
    sink,  # (256,) int32: what program 1 reads meanwhile
    limit,
    polls_late,
    never,
    EARLY: tl.constexpr,
):
    """Program 0 waits for words that program 1 stores later."""
    thread = tl.arange(0, 256)
    index = tl.arange(0, 2048)
    if tl.program_id(0) == 0:
        at = words + thread // 4 * 32 + thread % 4 * 4
        pointers = (at, at + 2048)
        left = tl.zeros([256], tl.int32) + limit
        if EARLY:
            found = ptx.settle(ptx.issue(pointers, 8), pointers, left, 8)
        else:
            found = ptx.poll(pointers, left, 8)
        for i in tl.static_range(17):
            tl.store(out + i * 256 + thread, found[i])
    else:
        n = 0
        total = tl.zeros([256], tl.int32)
        while n < polls_late:
            total += tl.load(words + thread, volatile=True)
            n += 1
        tl.store(sink + thread, total)
        for half in tl.static_range(2):
            place = half * 2048 + index
            tl.store(words + place, place, mask=place != never, cache_modifier=".cg")


@triton.jit
def counting_kernel(
    words,  # (programs, 256) int32
    counter,  # (1,) int32, -1
    out,  # (2, 256) int32: what the last program read, and the polls that it had left
    limit,
    turns,
    wanted,
):
    """All programs but the last count up ``turns`` times what they have stored before."""
    thread = tl.arange(0, 256)
    program = tl.program_id(0)
    last = tl.num_programs(0) - 1
    if program == last:
        left = counters.wait_for(counter, wanted, limit)
        total = tl.zeros([256], tl.int32)
        other = 0
        while other < last:
            total += tl.load(words + other * 256 + thread, volatile=True)
            other += 1
        tl.store(out + thread, total)
        tl.store(out + 256 + thread, tl.zeros([256], tl.int32) + left)
    else:
        turn = 0
        while turn < turns:
            value = tl.zeros([256], tl.int32) + turn + 1
            tl.store(words + program * 256 + thread, value, cache_modifier=".cg")
            counters.arrive(counter, 1)
            turn += 1


def _launch(
    kernel: Any, device: torch.device, arrays: list[Array], size: int, **values: Any
) -> Array:
    """Run one program on ``arrays``; return what it left in ``size`` registers of 256."""
    tensors = [torch.from_numpy(np.ascontiguousarray(a)).to(device) for a in arrays]
    out = torch.zeros(size, THREADS, dtype=torch.int32, device=device)
    kernel[(1,)](*tensors, out, **values, num_warps=8)
    found: Array = out.cpu().numpy()
    return found


def _verdict(found: Array, expected: Array, tolerance: float) -> dict[str, Any]:
    """Compare registers: bits where ``tolerance`` is 0, else float32 values by relative error."""
    if not tolerance:
        wrong = int((found != expected.view(np.int32)).sum())
        return {"wrong": wrong, "of": found.size, "ok": wrong == 0}
    actual, wanted = found.view(np.float32).astype(float), expected.astype(float)
    same = (actual == wanted) | (np.isnan(actual) & np.isnan(wanted))
    with np.errstate(all="ignore"):
        error = np.where(same, 0.0, np.abs(actual - wanted) / np.maximum(np.abs(wanted), 1e-30))
    worst = float(error.max())
    return {"error": worst, "tolerance": tolerance, "ok": bool(worst <= tolerance)}


def _special(generator: np.random.Generator) -> Array:
    x = generator.standard_normal(THREADS).astype(np.float32)
    x[:8] = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e30, -1e30, 1e-30]
    x.view(np.int32)[9] = -1
    return x


def _elements(generator: np.random.Generator) -> Iterator[tuple[str, str, Array, Array, float]]:
    """Yield piece, half, input registers, expected registers, tolerance."""
    x = _special(generator)
    word = generator.integers(-(2**31), 2**31, (2, THREADS)).astype(np.int32)
    with np.errstate(all="ignore"):
        yield "exp2", "bf16", x[None] * 3, stand_ins.exp2(x * 3)[None], 1e-6
        yield "reciprocal", "bf16", x[None], stand_ins.reciprocal(x)[None], 1e-6
        yield "quad", "bf16", x[None], np.stack(stand_ins.quad(x)), 0
        yield "half_columns", "bf16", word, stand_ins.half_columns(*word)[None], 0
        for half in ("bf16", "f16"):
            yield "split_word", half, x[None], stand_ins.split_word(x, half)[None], 0
            yield "pair_word", half, x[None], stand_ins.pair_word(x, half)[None], 0
            values = generator.standard_normal((6, THREADS)).astype(np.float32)
            words = np.stack([stand_ins.pair_word(v, half) for v in values])
            expected = np.stack(stand_ins.word_values(words[0], half))
            yield "word_values", half, words[:1], expected, 1e-7
            c = generator.standard_normal((4, THREADS)).astype(np.float32) * 10 + 40
            expected = np.stack(stand_ins.mma(words[:4], words[4:], c, half))
            yield "mma", half, np.concatenate([words, c.view(np.int32)]), expected, 3e-6


def _element(piece: tuple[str, str, Array, Array, float], device: torch.device) -> dict[str, Any]:
    name, half, inputs, expected, tolerance = piece
    found = _launch(
        element_kernel, device, [inputs.view(np.int32)], len(expected), PIECE=name, HALF=half
    )
    return _verdict(found, expected, tolerance)


def _sums(
    generator: np.random.Generator, device: torch.device, units: int, split: bool, normed: bool
) -> dict[str, Any]:
    turns = 1 if normed else 5
    # Far from zero, so that the error of a sum is relative to its terms.
    partials = generator.standard_normal((turns, 8 * SUMS, THREADS)).astype(np.float32) + 10
    moments = generator.standard_normal((4, THREADS)).astype(np.float32) ** 2 + 1
    expected = [v for turn in partials for v in stand_ins.sum_over_warps(turn, SUMS, units)]
    if normed:
        rows = [4 * s + np.arange(THREADS) // 64 for s in range(SUMS)]
        both = stand_ins.row_moments(moments[:2], moments[2:], rows, split)
        expected += [*both[0], *both[1]]
    values = {"turns": turns, "SUMS": SUMS, "UNITS": units, "SPLIT": split, "NORMED": normed}
    found = _launch(sums_kernel, device, [partials, moments], len(expected), **values)
    return _verdict(found, np.stack(expected), 1e-5)


def _waiting(device: torch.device, *, early: bool, never: int) -> dict[str, Any]:
    words = torch.full((2, 2048), -1, dtype=torch.int32, device=device)
    out = torch.zeros(2 * WORDS + 1, THREADS, dtype=torch.int32, device=device)
    sink = torch.zeros(THREADS, dtype=torch.int32, device=device)
    limit = 50 if never >= 0 and device.type == "cpu" else LIMIT
    late = LATE if device.type == "cuda" else 5
    waiting_kernel[(2,)](words, out, sink, limit, late, never, EARLY=early, num_warps=8)
    found = out.cpu().numpy()
    thread = np.arange(THREADS)
    place = thread // 4 * 32 + thread % 4 * 4
    i = np.arange(2 * WORDS)[:, None]
    expected = i // WORDS * 2048 + place + i % WORDS // 4 * 16 + i % 4
    in_vain = (expected == never).any(0)
    expected = np.where(expected == never, -1, expected)
    right = bool((found[:-1] == expected).all())
    given_up = bool(((found[-1] < 0) == in_vain).all())
    return {"words": right, "limits": given_up, "ok": right and given_up}


def _counting(device: torch.device, *, in_vain: bool) -> dict[str, Any]:
    programs, turns = 5, 7
    words = torch.zeros(programs, THREADS, dtype=torch.int32, device=device)
    counter = torch.full((1,), -1, dtype=torch.int32, device=device)
    out = torch.zeros(2, THREADS, dtype=torch.int32, device=device)
    arrivals = (programs - 1) * turns
    limit = LIMIT if device.type == "cuda" else 100
    wanted = arrivals - 1 + in_vain
    counting_kernel[(programs,)](words, counter, out, limit, turns, wanted, num_warps=8)
    found = out.cpu().numpy()
    counted = int(counter) == arrivals - 1
    right = bool((found[0] == arrivals).all()) or in_vain
    given_up = bool(((found[1] < 0) == in_vain).all())
    return {"words": right, "limits": given_up, "ok": counted and right and given_up}


def pieces(device: torch.device) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """Yield the name of each piece, and what compares it."""
    generator = np.random.default_rng(7)
    for one in _elements(generator):
        yield f"{one[0]} {one[1]}", lambda one=one: _element(one, device)  # type: ignore[misc]
    for units in (16, 8):
        yield (
            f"sum_over_warps, {units} units",
            lambda units=units: _sums(generator, device, units, True, False),  # type: ignore[misc]
        )
    for split in (True, False):
        yield (
            f"moments_over_warps, {'halves' if split else 'rounded'}",
            lambda split=split: _sums(generator, device, 16, split, True),  # type: ignore[misc]
        )
    for early in (False, True):
        for never in (-1, NEVER):
            name = f"{'settle' if early else 'poll'}{', a word that never comes' * (never > 0)}"
            yield (
                name,
                lambda early=early, never=never: _waiting(device, early=early, never=never),  # type: ignore[misc]
            )
    for in_vain in (False, True):
        yield (
            f"wait_for and arrive{', in vain' * in_vain}",
            lambda in_vain=in_vain: _counting(device, in_vain=in_vain),  # type: ignore[misc]
        )
