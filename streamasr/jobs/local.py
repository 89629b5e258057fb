"""Worker processes on this machine, or the command's own process for a small job."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING

from ..errors import DegradedWarning, StreamasrError
from .pool import Lost, Pool, Reply
from .tasks import Settings, Task

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerProcess, SpawnProcess

    from .work import Worker

__all__ = ["LocalPool", "OwnPool"]


@dataclass(eq=False)
class _Process:
    process: ForkServerProcess | SpawnProcess
    pipe: Connection


class LocalPool(Pool[_Process]):
    """A process for each worker, started clean: what the command has loaded is not in it."""

    def __init__(self, settings: Settings, workers: int) -> None:
        super().__init__(settings, workers)
        if sys.platform == "linux":
            # Libraries are loaded once, in a server that forks the workers.
            self._context = multiprocessing.get_context("forkserver")
            self._context.set_forkserver_preload(["streamasr.jobs.work"])
        else:
            self._context = multiprocessing.get_context("spawn")

    def start(self) -> _Process:
        """Start a process that loads the model."""
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_serve, args=(theirs, self.settings), name="streamasr-worker", daemon=True
        )
        process.start()
        theirs.close()
        return _Process(process, ours)

    def send(self, handle: _Process, tasks: list[Task]) -> None:
        """Send tasks to a worker."""
        with contextlib.suppress(OSError):
            handle.pipe.send(tasks)

    def wait(self, handles: Sequence[_Process]) -> list[tuple[_Process, Reply]]:
        """Wait up to a second for replies."""
        pipes = {handle.pipe: handle for handle in handles}
        replies: list[tuple[_Process, Reply]] = []
        for pipe in wait(list(pipes), timeout=1.0):
            assert isinstance(pipe, Connection)
            handle = pipes[pipe]
            try:
                reply = pipe.recv()
            except (EOFError, OSError):
                reply = None
            if reply is None or isinstance(reply, Lost):
                handle.process.join()
                handle.pipe.close()
                reply = reply or Lost(_how_it_ended(handle.process.exitcode))
            replies.append((handle, reply))
        return replies

    def stop(self, handles: Sequence[_Process]) -> None:
        """Kill the processes: nothing is theirs to lose."""
        for handle in handles:
            handle.process.kill()
            handle.pipe.close()
        for handle in handles:
            handle.process.join()


def _how_it_ended(code: int | None) -> str:
    if code is not None and code < 0:
        return f"killed by signal {-code}" + (", perhaps for memory" if code == -9 else "")
    return f"exit code {code}"


def _serve(pipe: Connection, settings: Settings) -> None:
    """Process the tasks that come through ``pipe`` until it is closed."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C is handled by the command, which ends its workers
    warnings.simplefilter("ignore", DegradedWarning)  # the command warns, once
    try:
        from .work import Worker

        worker = Worker(settings)
        pipe.send(worker.about)
        while True:
            while not worker.busy or pipe.poll():
                worker.add(pipe.recv())
            outcomes = worker.step()
            if news := [*worker.advances(), *outcomes]:
                pipe.send(news)
    except StreamasrError as error:
        pipe.send(error)
    except EOFError:
        return
    except Exception as error:
        with contextlib.suppress(OSError):  # the other end is gone
            pipe.send(Lost(f"{type(error).__name__}: {error}"))


class OwnPool(Pool["Worker"]):
    """One worker in this very process: the quickest start."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, 1)
        self._news: list[Reply] = []

    def start(self) -> Worker:
        """Load the model."""
        from .work import Worker

        worker = Worker(self.settings)
        self._news.append(worker.about)
        return worker

    def send(self, handle: Worker, tasks: list[Task]) -> None:
        """Queue tasks at the worker."""
        handle.add(tasks)

    def wait(self, handles: Sequence[Worker]) -> list[tuple[Worker, Reply]]:
        """Let the worker do a step."""
        (worker,) = handles
        news, self._news = self._news, []
        if not news and worker.busy:
            try:
                outcomes = worker.step()
                news = [[*worker.advances(), *outcomes]]
            except StreamasrError:
                raise
            except Exception as error:
                worker.close()
                news = [Lost(f"{type(error).__name__}: {error}")]
        return [(worker, reply) for reply in news]

    def stop(self, handles: Sequence[Worker]) -> None:
        """End the worker's helpers."""
        for handle in handles:
            handle.close()
