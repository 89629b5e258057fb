"""Stands in for ``_ptx`` and ``_counters`` under Triton's interpreter, which runs no PTX.

Values come from ``_stand_ins``; what waits for memory is here. A poll reads through the
interpreter's volatile load, where a schedule of all programs at once may switch to another one.
"""

from __future__ import annotations

import numpy as np
import triton.language as tl
from triton.runtime import interpreter

from . import _stand_ins as stand_ins
from ._layout import THREADS
from ._ptx import LINE_BYTES, _plain

__all__ = [
    "arrive",
    "exp2",
    "half_columns",
    "issue",
    "mma",
    "moments_over_warps",
    "pair_word",
    "poll",
    "quad",
    "reciprocal",
    "settle",
    "split_word",
    "sum_over_warps",
    "wait_for",
    "word_values",
]

SENTINEL = -1


def _array(tensor):
    return np.broadcast_to(np.asarray(tensor.handle.data), (THREADS,))


def _arrays(tensors):
    return [_array(tensor) for tensor in tensors]


def _tensor(array):
    kind = {"f": tl.float32, "i": tl.int32}[array.dtype.kind]
    handle = interpreter.TensorHandle(np.ascontiguousarray(array), kind)
    return tl.tensor(handle, tl.block_type(kind, list(array.shape)))


def _tensors(arrays):
    return tuple(_tensor(array) for array in arrays)


def exp2(x):
    return _tensor(stand_ins.exp2(np.asarray(x.handle.data)))


def reciprocal(x):
    return _tensor(stand_ins.reciprocal(np.asarray(x.handle.data)))


def quad(x):
    return _tensors(stand_ins.quad(_array(x)))


def split_word(h, half):
    return _tensor(stand_ins.split_word(_array(h), _plain(half)))


def pair_word(h, half):
    return _tensor(stand_ins.pair_word(_array(h), _plain(half)))


def word_values(word, half):
    return _tensors(stand_ins.word_values(_array(word), _plain(half)))


def half_columns(first, second, lane):
    return _tensor(stand_ins.half_columns(_array(first), _array(second)))


def mma(a0, a1, a2, a3, b0, b1, c0, c1, c2, c3, half):
    a, b, c = (_arrays(given) for given in ((a0, a1, a2, a3), (b0, b1), (c0, c1, c2, c3)))
    return _tensors(stand_ins.mma(a, b, c, _plain(half)))


def _read(pointer, words):
    """Read once, and perhaps let another program run; (words, threads)."""
    apart = [LINE_BYTES * (i // 4) + 4 * (i % 4) for i in range(words)]
    addresses = _array(pointer).astype(np.uint64) + np.array(apart, np.uint64)[:, None]
    handle = interpreter.TensorHandle(addresses, pointer.dtype.scalar)
    everywhere = interpreter.TensorHandle(np.ones(addresses.shape, bool), tl.int1)
    # Looked up each time: a schedule puts its own in the builder's place.
    load = interpreter.interpreter_builder.create_masked_load
    return load(handle, everywhere, None, None, None, True).data.astype(np.int32)


def _read_all(pointers, words):
    return np.concatenate([_read(pointer, words) for pointer in pointers])


def issue(pointers, words):
    return _tensors(_read_all(list(pointers), _plain(words)))


def settle(seen, pointers, limit, words):
    pointers, words = list(pointers), _plain(words)
    found = np.stack(_arrays(list(seen)[: len(pointers) * words]))
    left = _array(limit).astype(np.int32)
    waiting = np.ones(THREADS, bool)
    while True:
        # A thread that has its words, or has given up, reads no more.
        waiting = waiting & (found == SENTINEL).any(0)
        left = left - waiting
        waiting = waiting & (left >= 0)
        if not waiting.any():
            return _tensors([*found, left.astype(np.int32)])
        found = np.where(waiting, _read_all(pointers, words), found)


def poll(pointers, limit, words):
    return settle(issue(pointers, words), pointers, limit, words)


def sum_over_warps(partials, thread, turn, sums, units, alone):
    found = stand_ins.sum_over_warps(_arrays(partials), _plain(sums), _plain(units))
    return _tensors(found)


def moments_over_warps(partials, sums_of, squares, rows, thread, sums, units, split):
    found = stand_ins.sum_over_warps(_arrays(partials), _plain(sums), _plain(units))
    moments = stand_ins.row_moments(
        _arrays(sums_of), _arrays(squares), _arrays(rows), bool(_plain(split))
    )
    return _tensors([*found, *moments[0], *moments[1]])


def wait_for(pointer, wanted, limit):
    left = limit
    while True:
        # As in any poll, another program may run meanwhile.
        if tl.load(pointer, volatile=True) >= wanted:
            return left
        left -= 1
        if left < 0:
            return left


def arrive(pointer, amount):
    tl.atomic_add(pointer, amount)
