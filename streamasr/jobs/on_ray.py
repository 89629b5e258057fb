"""Ray actors as workers: on this machine, or on the cluster that ``RAY_ADDRESS`` names.

Recordings are read where the actor runs, so a cluster needs them at the same path: shared storage.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import ModelError, StreamasrError
from .pool import Lost, Pool, Reply
from .tasks import About, Advance, Outcome, Settings, Task
from .work import Worker

__all__ = ["INSTALL", "RayPool"]

INSTALL = "pip install 'streamasr[ray]'"


class _Actor:
    """A worker that is kept between calls; each actor loads the model once."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._worker: Worker | None = None

    def load(self) -> About | str:
        """Load the model; return what it is, or the error as text."""
        try:
            self._worker = Worker(self._settings)
        except StreamasrError as error:  # as text: the caller may not share our classes
            return str(error)
        return self._worker.about

    def work(self, tasks: list[Task]) -> list[Outcome | Advance]:
        """Queue tasks and work until there are outcomes or progress."""
        assert self._worker is not None
        self._worker.add(tasks)
        while self._worker.busy:
            outcomes = self._worker.step()
            news: list[Outcome | Advance] = [*self._worker.advances(), *outcomes]
            if news:
                return news
        return []


@dataclass(eq=False)
class _Remote:
    actor: Any
    call: Any
    waiting: list[Task] = field(default_factory=list)
    in_hand: int = 0


def _begin(ray: Any) -> None:
    """Start Ray, or join the cluster that ``RAY_ADDRESS`` names."""
    # Ray keeps the command line for its job list, and ends where a name in it is not UTF-8.
    utils: Any = importlib.import_module("ray._private.utils")
    entrypoint = getattr(utils, "get_entrypoint_name", None)
    if entrypoint is not None:
        utils.get_entrypoint_name = lambda: entrypoint().encode("utf-8", "replace").decode()
    try:
        ray.init(log_to_driver=False, include_dashboard=False, logging_level="ERROR")
    except Exception as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ModelError(f"Ray cannot be started or reached: {reason}") from error
    finally:
        if entrypoint is not None:
            utils.get_entrypoint_name = entrypoint


class RayPool(Pool[_Remote]):
    """An actor for each worker, a core (or, with GPUs, a GPU) each; None is as many as there are.

    Raises ModelError where Ray is not installed, or cannot be started or reached.
    """

    def __init__(self, settings: Settings, workers: int | None) -> None:
        try:
            ray: Any = importlib.import_module("ray")
        except ImportError as error:
            raise ModelError(f"--engine ray needs Ray: {INSTALL}") from error
        self._ray = ray
        self._own = not ray.is_initialized()
        if self._own:
            _begin(ray)
        resources = ray.cluster_resources()
        self._gpus = 1 if resources.get("GPU") else 0
        there = int(resources.get("GPU") or resources.get("CPU") or 1)
        super().__init__(settings, min(workers or there, there))
        self._class = ray.remote(num_cpus=1, num_gpus=self._gpus, max_restarts=0)(_Actor)

    def start(self) -> _Remote:
        """Start an actor that loads the model."""
        actor = self._class.remote(self.settings)
        return _Remote(actor, actor.load.remote())

    def send(self, handle: _Remote, tasks: list[Task]) -> None:
        """Send tasks to an actor, now or after its current call."""
        handle.waiting += tasks
        handle.in_hand += len(tasks)
        if handle.call is None:
            self._call(handle)

    def _call(self, handle: _Remote) -> None:
        tasks, handle.waiting = handle.waiting, []
        handle.call = handle.actor.work.remote(tasks)

    def wait(self, handles: Sequence[_Remote]) -> list[tuple[_Remote, Reply]]:
        """Wait up to a second for replies."""
        calls = {handle.call: handle for handle in handles if handle.call is not None}
        ready, _ = self._ray.wait(list(calls), num_returns=1, timeout=1.0)
        replies: list[tuple[_Remote, Reply]] = []
        for call in ready:
            handle = calls[call]
            handle.call = None
            try:
                reply = self._ray.get(call)
            except self._ray.exceptions.RayActorError as error:
                replies.append((handle, Lost(str(error).splitlines()[0])))
                continue
            except self._ray.exceptions.RayTaskError as error:
                # The actor lives, but in an unknown state.
                self._ray.kill(handle.actor)
                replies.append((handle, Lost(f"{type(error.cause).__name__}: {error.cause}")))
                continue
            if isinstance(reply, str):
                replies.append((handle, ModelError(reply)))
                continue
            if not isinstance(reply, About):
                handle.in_hand -= sum(isinstance(item, Outcome) for item in reply)
                if handle.in_hand:
                    self._call(handle)  # it continues while outcomes are written
            replies.append((handle, reply))
        return replies

    def stop(self, handles: Sequence[_Remote]) -> None:
        """Kill the actors, and Ray with them if it was started for them."""
        for handle in handles:
            self._ray.kill(handle.actor)
        if self._own:
            self._ray.shutdown()
