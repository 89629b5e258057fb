"""Who decodes: a thread, or processes, since the beam search holds Python's lock.

A stream stays with one process for life, so that its decoder need not move.
"""

from __future__ import annotations

import logging
import multiprocessing
import queue
import signal
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Protocol

import torch

from ..errors import StreamasrError
from ..recognizer import Recognizer
from .desk import Desk, Heard, Told
from .logs import log_to_stderr

__all__ = ["Decoders", "InProcesses", "InThread", "Processes"]

log = logging.getLogger("streamasr.serving")

Command = tuple[str, int, bool] | list[Heard]
Report = Callable[[Told], None]


@dataclass(frozen=True)
class Processes:
    """How many processes shall decode, and how each makes its recognizer (picklable)."""

    count: int
    load: Callable[[], Recognizer]


class Decoders(Protocol):
    """What the scheduler hands log-posteriors to; ``Told`` comes back on another thread."""

    @property
    def whole(self) -> bool:
        """Whether all of it still runs."""

    def open(self, stream: int, *, live: bool) -> None:
        """Begin a stream."""

    def hear(self, pieces: Sequence[Heard]) -> None:
        """Decode pieces, at most one of each stream; returns at once."""

    def close(self, stream: int) -> None:
        """Forget a stream."""

    def shutdown(self) -> None:
        """End threads and processes."""


def _obey(desk: Desk, command: Command, report: Callable[[Told], object]) -> None:
    if isinstance(command, list):
        for heard in command:
            if (told := desk.hear(heard)) is not None:
                report(told)
        return
    name, stream, live = command
    if name == "open":
        desk.open(stream, live)
    else:
        desk.close(stream)


class InThread:
    """A desk in a thread of this process: for decoders that cost next to nothing."""

    def __init__(self, recognizer: Recognizer, report: Report) -> None:
        self._desk = Desk(recognizer)
        self._report = report
        self._commands: queue.SimpleQueue[Command | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="decoder", daemon=True)
        self._thread.start()

    whole = True

    def open(self, stream: int, *, live: bool) -> None:
        """Begin a stream."""
        self._commands.put(("open", stream, live))

    def hear(self, pieces: Sequence[Heard]) -> None:
        """Decode pieces."""
        self._commands.put([*pieces])

    def close(self, stream: int) -> None:
        """Forget a stream."""
        self._commands.put(("close", stream, False))

    def shutdown(self) -> None:
        """End the thread, once it has done what it was told."""
        self._commands.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (command := self._commands.get()) is not None:
            _obey(self._desk, command, self._report)


class _Worker:
    """A process with a desk, and the threads that write to it and read what it tells."""

    def __init__(
        self, processes: Processes, report: Report, lost: Callable[[_Worker], None]
    ) -> None:
        # A fork of this process, with its threads, would not be safe.
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, processes.load), daemon=True)
        self._process.start()
        theirs.close()
        self._report, self._lost = report, lost
        # Whoever has something for a process does not wait until it listens.
        self._commands: queue.SimpleQueue[Command | None] = queue.SimpleQueue()
        self.streams: set[int] = set()
        self.alive = True
        self._threads = [
            threading.Thread(target=run, name=name, daemon=True)
            for run, name in ((self._write, "to-decoder"), (self._read, "from-decoder"))
        ]

    def wait(self) -> None:
        """Wait until it has loaded its recognizer; raises StreamasrError if it cannot."""
        try:
            self._pipe.recv()
        except EOFError as error:
            raise StreamasrError("a process that shall decode did not start") from error
        for thread in self._threads:
            thread.start()

    def send(self, command: Command) -> None:
        """Tell it something; what a process that has died would hear is dropped."""
        self._commands.put(command)

    def shutdown(self) -> None:
        """End it, once it has done what it was told; what has died is tidied up."""
        self._commands.put(None)
        self._process.join()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()
        self._pipe.close()

    def _write(self) -> None:
        command: Command | None = []
        with suppress(OSError):  # it has died: its reader says so
            while command is not None:
                command = self._commands.get()
                self._pipe.send(command)

    def _read(self) -> None:
        with suppress(EOFError, OSError):
            while (told := self._pipe.recv()) is not None:
                self._report(told)
            return
        self.alive = False
        self._lost(self)


class InProcesses:
    """Desks in processes. If one dies, its streams fail, and another takes its place."""

    def __init__(self, processes: Processes, report: Report) -> None:
        self._processes = processes
        self._report = report
        self._lock = threading.Lock()
        self._ended = False
        self._workers = [self._start() for _ in range(processes.count)]
        self._of: dict[int, _Worker] = {}
        for worker in self._workers:
            worker.wait()

    def _start(self) -> _Worker:
        return _Worker(self._processes, self._report, self._replace)

    @property
    def whole(self) -> bool:
        """Whether all processes run; while one is being replaced, they do not."""
        return all(worker.alive for worker in self._workers)

    def open(self, stream: int, *, live: bool) -> None:
        """Begin a stream, where the fewest are."""
        worker = min(self._workers, key=lambda w: (not w.alive, len(w.streams)))
        worker.streams.add(stream)
        self._of[stream] = worker
        worker.send(("open", stream, live))

    def hear(self, pieces: Sequence[Heard]) -> None:
        """Decode pieces."""
        shares: dict[_Worker, list[Heard]] = {}
        for heard in pieces:
            if (worker := self._of.get(heard.id)) is not None:
                shares.setdefault(worker, []).append(heard)
        for worker, own in shares.items():
            if worker.alive:
                worker.send(own)
            else:
                self._refuse(heard.id for heard in own)

    def close(self, stream: int) -> None:
        """Forget a stream."""
        worker = self._of.pop(stream, None)
        if worker is not None:
            worker.streams.discard(stream)
            worker.send(("close", stream, False))

    def shutdown(self) -> None:
        """End the processes."""
        with self._lock:
            self._ended = True
            workers = [*self._workers]
        for worker in workers:
            worker.shutdown()

    def _replace(self, worker: _Worker) -> None:
        """Start another in place of a ``worker`` that has died, on the thread that noticed."""
        log.error("a decoder's process has died: its %d streams fail", len(worker.streams))
        self._refuse([*worker.streams])
        fresh = self._start()
        try:
            fresh.wait()
        except StreamasrError as error:
            log.error("%s; restart the server", error)
            return
        with self._lock:
            ended = self._ended
            if not ended:
                self._workers[self._workers.index(worker)] = fresh
        if ended:
            fresh.shutdown()
        else:
            worker.shutdown()
            log.info("another decoder's process has taken its place")

    def _refuse(self, streams: Iterable[int]) -> None:
        for stream in streams:
            self._report(Told(stream, [], last=True, failed=True))


def _work(pipe: Connection, load: Callable[[], Recognizer]) -> None:
    log_to_stderr()
    # A signal to the whole group is for the server to answer, which then ends this process.
    for ignored in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ignored, signal.SIG_IGN)
    torch.set_num_threads(1)
    desk = Desk(load())
    try:
        pipe.send(True)
        while (command := pipe.recv()) is not None:
            _obey(desk, command, pipe.send)
        pipe.send(None)
    except (EOFError, OSError):
        pass  # the server is gone
