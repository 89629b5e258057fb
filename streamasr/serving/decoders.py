"""Who decodes: a thread, or processes, since the beam search holds Python's lock.

A stream stays with one process for life, so that its decoder need not move.
"""

from __future__ import annotations

import atexit
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

RETRY_SECONDS = 5.0
"""Between two attempts at a process that does not start."""

SHUTDOWN_SECONDS = 5.0
"""How long a process may go on with what it was told when the server ends."""

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

    @property
    def whole(self) -> bool:
        """Whether the thread still runs."""
        return self._thread.is_alive()

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
        self._begun = threading.Event()
        self.streams: set[int] = set()
        self.ready = False
        self.alive = True
        self._writer = threading.Thread(target=self._write, name="to-decoder", daemon=True)
        self._reader = threading.Thread(target=self._read, name="from-decoder", daemon=True)
        self._writer.start()
        self._reader.start()

    def wait(self) -> None:
        """Wait until it has loaded its recognizer; raises StreamasrError if it cannot."""
        self._begun.wait()
        if not self.ready:
            raise StreamasrError("a process that shall decode did not start: its log says why")

    def send(self, command: Command) -> None:
        """Tell it something; what a process that has died would hear is dropped."""
        self._commands.put(command)

    def shutdown(self) -> None:
        """End it, once it has done what it was told, or when that takes too long."""
        self._commands.put(None)
        self._reader.join(SHUTDOWN_SECONDS)
        self.kill()
        self._reader.join()
        self._writer.join()

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    def _write(self) -> None:
        command: Command | None = []
        with suppress(OSError):  # it has died: its reader says so
            while command is not None:
                command = self._commands.get()
                self._pipe.send(command)

    def _read(self) -> None:
        ended = False
        with suppress(EOFError, OSError):
            self.ready = self._pipe.recv()
            self._begun.set()
            while (told := self._pipe.recv()) is not None:
                self._report(told)
            ended = True
            self.kill()  # it has told all, and would take its time to free what it holds
        self._process.join()
        self._begun.set()
        if not ended:
            self._commands.put(None)  # its writer ends, too
            self._lost(self)


class InProcesses:
    """Desks in processes. If one dies, its streams fail, and another takes its place.

    Streams that are given to one that has yet to load its recognizer wait for it.
    """

    def __init__(self, processes: Processes, report: Report) -> None:
        self._processes = processes
        self._report = report
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._of: dict[int, _Worker] = {}
        # At its end Python sends such processes SIGTERM, which these ignore, and waits for them.
        atexit.register(self._kill)
        self._workers = [self._begin() for _ in range(processes.count)]
        try:
            for worker in self._workers:
                worker.wait()
        except StreamasrError:
            self.shutdown()
            raise

    @property
    def whole(self) -> bool:
        """Whether all processes run, and have loaded what they need."""
        return all(worker.ready for worker in self._workers)

    def open(self, stream: int, *, live: bool) -> None:
        """Begin a stream, where the fewest are."""
        with self._lock:
            worker = min(self._workers, key=lambda w: (not w.ready, not w.alive, len(w.streams)))
            worker.streams.add(stream)
            self._of[stream] = worker
        worker.send(("open", stream, live))

    def hear(self, pieces: Sequence[Heard]) -> None:
        """Decode pieces."""
        shares: dict[_Worker, list[Heard]] = {}
        with self._lock:
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
        with self._lock:
            worker = self._of.pop(stream, None)
            if worker is None:
                return
            worker.streams.discard(stream)
        worker.send(("close", stream, False))

    def shutdown(self) -> None:
        """End the processes."""
        with self._lock:
            self._closing.set()
        for worker in self._workers:
            worker.shutdown()
        atexit.unregister(self._kill)

    def _kill(self) -> None:
        with self._lock:
            self._closing.set()
        for worker in self._workers:
            worker.kill()

    def _begin(self) -> _Worker:
        return _Worker(self._processes, self._report, self._replace)

    def _replace(self, worker: _Worker) -> None:
        """Let the streams of a process that has died fail, and begin another; on its thread."""
        with self._lock:
            loaded, worker.ready, worker.alive = worker.ready, False, False
            streams = [*worker.streams]
        if self._closing.is_set():
            return
        log.error("a decoder's process has died: its %d streams fail", len(streams))
        self._refuse(streams)
        # What keeps one from loading its recognizer may pass, or may not.
        if not loaded and self._closing.wait(RETRY_SECONDS):
            return
        with self._lock:
            if not self._closing.is_set():
                self._workers[self._workers.index(worker)] = self._begin()

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
