"""Run all programs of a Triton grid at once under the interpreter, which runs them in turn.

Kernels whose programs wait for each other would hang there. Here each program is a thread, but
only the one that holds the baton runs. The baton changes hands at every volatile load and every
atomic, and at other loads and stores with probability ``fuzz``, to a program drawn from a seeded
generator: so waiting programs make progress, and every interleaving can be had again.

Needs ``TRITON_INTERPRET=1`` before Triton is imported; ``tests/conftest.py`` sets it.
"""

from __future__ import annotations

import inspect
import random
import threading
from contextlib import contextmanager
from itertools import count

import numpy as np
import pytest
import triton.language as tl
from triton.runtime import interpreter

BUILDER = interpreter.interpreter_builder


class Deadlock(RuntimeError):
    """No program made progress for long."""


class Schedule:
    """Who runs next: seeded, with ``patience`` polls of each program before it is a deadlock.

    ``dropped`` programs never run, as if the GPU had not made them resident; of kernels whose
    programs wait for each other, which have a ``limit``.
    """

    def __init__(self, seed=0, fuzz=0.0, patience=200, dropped=()):
        self.random = random.Random(seed)
        self.fuzz = fuzz
        self.patience = patience
        self.dropped = set(dropped)
        self.switches = 0

    def start(self, programs, *, waits):
        """Prepare for a launch of ``programs``, a list of grid positions."""
        dropped = self.dropped if waits else ()
        self.programs = programs
        self.batons = [threading.Semaphore(0) for _ in programs]
        self.live = [i for i in range(len(programs)) if i not in dropped]
        self.current = None
        self.error = None
        self.idle = 0
        self.finished = threading.Event()

    def give(self, program):
        self.current = program
        BUILDER.set_grid_idx(*self.programs[program])
        self.batons[program].release()

    def pick(self):
        return self.random.choice(self.live)

    def perhaps_switch(self):
        if self.fuzz and self.random.random() < self.fuzz:
            self.switch(progress=True)

    def switch(self, *, progress):
        """Called by the program that holds the baton; returns when it has it again."""
        me = self.current
        if self.error:
            raise self.error
        self.idle = 0 if progress else self.idle + 1
        if self.idle > self.patience * len(self.programs):
            self.error = Deadlock(f"no program stored anything in {self.idle} polls")
            raise self.error
        other = self.pick()
        if other != me:
            self.switches += 1
            self.give(other)
            self.batons[me].acquire()
            if self.error:
                raise self.error

    def finish(self, program, error):
        self.live.remove(program)
        self.error = self.error or error
        if self.live:
            self.give(self.pick())
        else:
            self.finished.set()


class _Now:
    """The schedule in force, and whether a grid is running under it."""

    schedule: Schedule | None = None
    running = False
    patched: frozenset[str] | set[str] = frozenset()


def _convert(value):
    converted = interpreter._implicit_cvt(value)
    if isinstance(value, int):
        # Triton 3.6 makes it an array of one element, which numpy 2.4 no longer takes for an int.
        converted.handle.data = converted.handle.data.reshape(())
    return converted


class ConcurrentGrid(interpreter.GridExecutor):
    """Stands in for Triton's executor, which runs one program after another."""

    def __call__(self, *arguments, **keywords):
        if _Now.schedule is None:
            raise RuntimeError("run kernels within cogrid.scheduled(): they wait for each other")
        names = inspect.getfullargspec(self.fn).args
        keywords = {name: value for name, value in keywords.items() if name in names}
        host, host_keywords = self._init_args_hst(arguments, keywords)
        scope = interpreter._patch_lang(self.fn)
        try:
            bound = inspect.getcallargs(self.fn, *host, **host_keywords)
            bound = {
                name: value if name in self.constexprs else _convert(value)
                for name, value in bound.items()
            }
            grid = self.grid(bound) if callable(self.grid) else self.grid
            grid = (*grid, *(1,) * (3 - len(grid)))
            BUILDER.set_grid_dim(*grid)
            schedule = _Now.schedule
            schedule.start(list(np.ndindex(grid)), waits="limit" in names)

            def run(program):
                schedule.batons[program].acquire()
                error = None
                try:
                    if schedule.error is None:
                        with np.errstate(all="ignore"):  # as on a GPU: infinities go on
                            self.fn(**bound)
                except BaseException as raised:  # reported by the thread that launched
                    error = raised
                schedule.finish(program, error)

            threads = [
                threading.Thread(target=run, args=(program,), daemon=True)
                for program in list(schedule.live)
            ]
            for thread in threads:
                thread.start()
            _Now.running = True
            schedule.give(schedule.pick())
            schedule.finished.wait()
            for thread in threads:
                thread.join()
            if schedule.error:
                raise schedule.error
        finally:
            _Now.running = False
            scope.restore()
        self._restore_args_dev(arguments, host, keywords, host_keywords)


_load, _store, _dot = BUILDER.create_masked_load, BUILDER.create_masked_store, BUILDER.create_dot


def _switching_load(pointers, mask, other, cache, eviction, volatile):
    loaded = _load(pointers, mask, other, cache, eviction, volatile)
    if _Now.running:
        if volatile:
            _Now.schedule.switch(progress=False)
        else:
            _Now.schedule.perhaps_switch()
    return loaded


def _switching_store(*arguments):
    stored = _store(*arguments)
    if _Now.running:
        _Now.schedule.idle = 0
        _Now.schedule.perhaps_switch()
    return stored


def _true_dot(a, b, d, *rest):
    """The interpreter keeps bfloat16 as uint16 and would multiply those bit patterns."""

    def widen(x):
        if x.dtype.scalar != tl.bfloat16:
            return x
        bits = x.data.astype(np.uint32) << 16
        return interpreter.TensorHandle(bits.view(np.float32), tl.float32)

    return _dot(widen(a), widen(b), d, *rest)


_cast = BUILDER.cast_impl


def _rounding_cast(source, target):
    """The interpreter cuts float32 to bfloat16 short; a GPU rounds to the nearest, ties to even."""
    if (source.dtype.scalar, target.scalar) != (tl.float32, tl.bfloat16):
        return _cast(source, target)
    bits = np.ascontiguousarray(source.data).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    rounded = np.where(np.isnan(source.data), 0x7FFF, rounded)
    return interpreter.TensorHandle(rounded.astype(np.uint16), target.scalar)


_patch_lang = interpreter._patch_lang


def _patch_lang_once(function):
    """Patch what a function sees of Triton's language once a launch, not at each call."""
    seen = {name for name, value in function.__globals__.items() if value is tl or value is tl.core}
    if _Now.running and seen <= _Now.patched:
        return None
    _Now.patched = _Now.patched | seen if _Now.running else seen
    return _patch_lang(function)


_ticks = count()


def _tick():
    """Stand in for the clocks: inline assembly does not run here."""
    handle = interpreter.TensorHandle(np.array([next(_ticks)], dtype=np.int64), tl.int64)
    return tl.tensor(handle, tl.int64)


def _patch_clocks(patch):
    from persistent_lstm import _device, _fragment, _wide

    for module in (_device, _fragment, _wide):
        for name in ("clock", "global_timer", "multiprocessor"):
            patch.setattr(module, name, _tick, raising=False)


@contextmanager
def scheduled(**options):
    """Run kernels concurrently within: ``with scheduled(seed=3, fuzz=0.2) as schedule``."""
    patched = {
        "create_masked_load": _switching_load,
        "create_masked_store": _switching_store,
        "create_dot": _true_dot,
        "create_fp_trunc": _rounding_cast,
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, function in patched.items():
            patch.setattr(BUILDER, name, function)
        _patch_clocks(patch)
        patch.setattr(interpreter, "GridExecutor", ConcurrentGrid)
        patch.setattr(interpreter, "_patch_lang", _patch_lang_once)
        patch.setattr(_Now, "schedule", Schedule(**options))
        yield _Now.schedule
