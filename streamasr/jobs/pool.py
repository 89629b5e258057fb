"""Share tasks among workers, and retry those of a worker that crashed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from ..errors import StreamasrError
from .tasks import About, Advance, Outcome, Settings, Task

__all__ = ["Lost", "Pool", "Reply"]

H = TypeVar("H")

_TRIES = 3
"""Give up on a recording after this many workers crashed while processing it."""
_AHEAD = 2
"""Tasks queued at a worker beyond those in its batch."""


@dataclass(frozen=True, slots=True)
class Lost:
    """A worker has died: killed, out of memory, or crashed."""

    reason: str


Reply = About | Sequence[Outcome | Advance] | StreamasrError | Lost


@dataclass
class _Hand(Generic[H]):
    """A worker and the tasks assigned to it."""

    handle: H
    ready: bool = False
    tasks: dict[int, Task] = field(default_factory=dict)

    @property
    def parts(self) -> int:
        """How many of them are shares of a long recording."""
        return sum(1 for task in self.tasks.values() if task.count)


class Pool(ABC, Generic[H]):
    """Workers that share the tasks of a job; subclasses start them and exchange messages.

    ``under_way`` is what has been done of recordings in sections, by their task's id.

    Raises StreamasrError where a worker cannot begin.
    """

    def __init__(self, settings: Settings, workers: int) -> None:
        self.settings = settings
        self.about: About | None = None
        self._hands: list[_Hand[H]] = []
        self._tries: dict[int, int] = {}
        self.under_way: dict[int, Advance] = {}
        self._parts: dict[int, _Parts] = {}
        self._waiting: deque[Task] = deque()
        self._again: deque[Task] = deque()
        self.workers = workers

    @abstractmethod
    def start(self) -> H:
        """Start a worker; its first reply is its About."""

    @abstractmethod
    def send(self, handle: H, tasks: list[Task]) -> None:
        """Send tasks to a worker; one that has died is reported by ``wait``."""

    @abstractmethod
    def wait(self, handles: Sequence[H]) -> list[tuple[H, Reply]]:
        """Wait up to a second for replies."""

    @abstractmethod
    def stop(self, handles: Sequence[H]) -> None:
        """End the workers at once."""

    def interrupted(self) -> None:
        """Return nothing: tasks in progress are repeated by the next run."""

    def close(self) -> None:
        """End all workers."""
        self.stop([hand.handle for hand in self._hands])
        self._hands = []

    def open(self) -> About:
        """Start all workers; return, when the first is ready, what it works with."""
        self._hands = [_Hand(self.start()) for _ in range(self.workers)]
        while self.about is None:
            for _ in self._replies():
                raise AssertionError("an outcome before any task")
        return self.about

    def run(self, tasks: Sequence[Task]) -> Iterator[list[Outcome] | None]:
        """Do the tasks; yield outcomes as they come, None now and then while there are none."""
        self._waiting = deque(tasks)
        open_tasks = len(tasks)
        serial = max((task.id for task in tasks), default=0)
        while open_tasks:
            self._hand_out()
            outcomes = []
            for outcome in self._replies():
                if outcome.long:
                    sections = _Parts(outcome.task, self.workers)
                    for index in range(self.workers):
                        serial += 1
                        self._parts[serial] = sections
                        part = Task(serial, outcome.task.path, index, self.workers)
                        self._waiting.appendleft(part)
                elif outcome.task.id in self._parts:
                    if whole := self._parts.pop(outcome.task.id).add(outcome):
                        self.under_way.pop(whole.task.id, None)
                        outcomes.append(whole)
                else:
                    outcomes.append(outcome)
            open_tasks -= len(outcomes)
            # The workers go on while the caller writes.
            self._hand_out()
            yield outcomes or None

    def _hand_out(self) -> None:
        ready = [hand for hand in self._hands if hand.ready]
        for hand in ready:
            # A task whose worker crashed runs alone: if that crashes again, it was the cause.
            if self._again and not hand.tasks:
                self._give(hand, [self._again.popleft()])
            if any(self._tries.get(task) for task in hand.tasks):
                continue
            room = min(self.settings.rows + _AHEAD, self._fair_share()) - len(hand.tasks)
            given = self._next(hand, room)
            if given:
                self._give(hand, given)

    def _fair_share(self) -> int:
        """Return how many of the tasks that are left would be a worker's, one that starts too."""
        left = len(self._waiting) + sum(len(hand.tasks) for hand in self._hands)
        return -(-left // len(self._hands))

    def _next(self, hand: _Hand[H], room: int) -> list[Task]:
        """Take up to ``room`` tasks off the queue; parts of long recordings go to all alike."""
        given: list[Task] = []
        parts, fewest = hand.parts, min(each.parts for each in self._hands)
        while self._waiting and len(given) < room:
            if self._waiting[0].count:
                if parts > fewest:
                    break
                parts += 1
            given.append(self._waiting.popleft())
        return given

    def _give(self, hand: _Hand[H], tasks: list[Task]) -> None:
        hand.tasks.update((task.id, task) for task in tasks)
        self.send(hand.handle, tasks)

    def _replies(self) -> Iterator[Outcome]:
        hands = {id(hand.handle): hand for hand in self._hands}
        for handle, reply in self.wait([hand.handle for hand in self._hands]):
            hand = hands[id(handle)]
            if isinstance(reply, StreamasrError):
                raise reply
            if isinstance(reply, About):
                hand.ready, self.about = True, reply
            elif isinstance(reply, Lost):
                yield from self._lost(hand, reply)
            else:
                for news in reply:
                    if isinstance(news, Advance):
                        self._note(news)
                    # A task that was repeated elsewhere may be reported twice.
                    elif hand.tasks.pop(news.task.id, None):
                        yield news

    def _note(self, advance: Advance) -> None:
        if (parts := self._parts.get(advance.task.id)) is not None:
            before = self.under_way.get(parts.task.id, Advance(parts.task, 0.0, 0.0))
            # A part that was lost with its worker counts twice: no more than all can be done.
            share = min(1.0, before.share + advance.share)
            self.under_way[parts.task.id] = Advance(
                parts.task, before.seconds + advance.seconds, share
            )

    def _lost(self, hand: _Hand[H], lost: Lost) -> Iterator[Outcome]:
        if not hand.ready:
            raise StreamasrError(
                f"a worker could not start: {lost.reason}; try fewer with --workers"
            )
        self._hands[self._hands.index(hand)] = _Hand(self.start())
        for task in hand.tasks.values():
            tries = self._tries[task.id] = self._tries.get(task.id, 0) + 1
            if tries >= _TRIES:
                yield Outcome(
                    task,
                    None,
                    f"{task.path}: {_TRIES} workers crashed while processing it ({lost.reason})",
                )
            else:
                self._again.append(task)


@dataclass
class _Parts:
    """The sections of a long recording, put together as they come."""

    task: Task
    missing: int
    found: list[Outcome] = field(default_factory=list)

    def add(self, outcome: Outcome) -> Outcome | None:
        """Return the whole when nothing is missing."""
        self.found.append(outcome)
        self.missing -= 1
        if self.missing:
            return None
        problem = next((part.problem for part in self.found if part.problem), None)
        parts = [part.transcript for part in self.found if part.transcript]
        if not parts or len(parts) < len(self.found):
            # A part that was lost, with its worker, leaves holes: no transcript is better.
            return Outcome(self.task, None, problem)
        words = sorted((word for part in parts for word in part.words), key=lambda w: w.start)
        whole = replace(parts[0], words=tuple(words), duration=max(p.duration for p in parts))
        # All workers read the whole recording, and have the same notes on it.
        first = self.found[0]
        return Outcome(self.task, whole, problem, notes=first.notes, level=first.level)
