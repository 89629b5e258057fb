"""Workers that are lost, in processes and on Ray: their recordings are done again, the same."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamasr import ModelError, RecognizerOptions
from streamasr.jobs.local import LocalPool
from streamasr.jobs.pool import Pool, Reply
from streamasr.jobs.tasks import About, Outcome, Settings, Task


def finish(pool: Pool, tasks: list[Task]) -> Iterator[Outcome]:
    for outcomes in pool.run(tasks):
        yield from outcomes or ()


@pytest.fixture(scope="module")
def recordings(scatter, tmp_path_factory) -> list[Path]:
    return scatter(tmp_path_factory.mktemp("recordings"), 60)


def check_all_done_with_a_loss(pool: Pool, kill, recordings: list[Path], tiny) -> None:
    """Lose a worker on the first outcome: each text comes once, and is that of one stream."""
    tasks = [Task(number, str(path)) for number, path in enumerate(recordings)]
    found: dict[int, Outcome] = {}
    try:
        pool.open()
        for outcome in finish(pool, tasks):
            if not found:
                busy = next(hand for hand in pool._hands if hand.tasks)
                kill(busy.handle)
            assert outcome.task.id not in found
            found[outcome.task.id] = outcome
        assert pool._tries, "nothing was in the lost worker's hands"
    finally:
        pool.close()
    assert len(found) == len(tasks)
    for task in tasks:
        assert found[task.id].problem is None
        assert found[task.id].transcript.text == tiny.transcribe(task.path).text


def test_a_killed_process_is_replaced(tiny, tiny_folder, recordings):
    check_all_done_with_a_loss(
        LocalPool(Settings(RecognizerOptions(str(tiny_folder))), 2),
        lambda handle: os.kill(handle.process.pid, signal.SIGKILL),
        recordings,
        tiny,
    )


def test_a_recording_that_costs_three_workers_is_given_up(tiny_folder, recordings, tiny):
    class Fatal(LocalPool):
        """Stands for a recording that makes a codec crash."""

        def send(self, handle, tasks):
            super().send(handle, tasks)
            if any(task.id == 3 for task in tasks):
                handle.process.kill()

    pool = Fatal(Settings(RecognizerOptions(str(tiny_folder))), 1)
    try:
        pool.open()
        tasks = [Task(number, str(path)) for number, path in enumerate(recordings[:6])]
        found = {outcome.task.id: outcome for outcome in finish(pool, tasks)}
    finally:
        pool.close()
    assert len(found) == 6
    lost = "3 workers crashed while processing it (killed by signal 9, perhaps for memory)"
    assert found.pop(3).problem == f"{recordings[3]}: {lost}"
    for number, outcome in found.items():
        assert outcome.transcript.text == tiny.transcribe(recordings[number]).text


def test_a_long_recording_is_shared_out(tiny, tiny_folder, voices, tmp_path):
    import numpy as np
    import soundfile

    path = tmp_path / "long.flac"
    soundfile.write(path, np.tile(voices, 4), 16_000)
    texts = []
    for workers in (1, 2):
        pool = LocalPool(Settings(RecognizerOptions(str(tiny_folder)), long_seconds=60), workers)
        try:
            pool.open()
            (outcome,) = finish(pool, [Task(0, str(path))])
        finally:
            pool.close()
        assert outcome.problem is None
        assert outcome.transcript.duration == pytest.approx(4 * len(voices) / 16_000)
        texts.append(outcome.transcript.text)
    assert texts[0] == texts[1] != ""


class Scripted(Pool[list]):
    """Workers that only collect their tasks; ``replies`` are what they say, in order."""

    def __init__(self, workers: int) -> None:
        super().__init__(Settings(), workers)
        self.workers_tasks: list[list[Task]] = []
        self.replies: list[tuple[int, Reply]] = []

    def start(self) -> list[Task]:
        self.workers_tasks.append([])
        return self.workers_tasks[-1]

    def send(self, handle, tasks):
        handle.extend(tasks)

    def wait(self, handles):
        if not self.replies:
            return []
        number, reply = self.replies.pop(0)
        return [(handles[number], reply)]

    def stop(self, handles):
        pass


@pytest.fixture
def scripted() -> Scripted:
    """Two workers, of which the first is ready."""
    pool = Scripted(2)
    pool.replies = [(0, About("", "greedy", "", "", ()))]
    pool.open()
    return pool


def test_a_worker_that_starts_late_gets_its_share_of_a_long_recording(scripted):
    long = Task(0, "long.flac")
    run = scripted.run([long])
    scripted.replies = [(0, [Outcome(long, long=True)])]
    for _ in range(3):
        next(run)
    early, late = scripted.workers_tasks
    assert len(early) == 2
    assert late == []
    scripted.replies = [(1, About("", "greedy", "", "", ()))]
    for _ in range(3):
        next(run)
    assert early[0] == long
    assert sorted((task.index, task.count) for task in (*early[1:], *late)) == [(0, 2), (1, 2)]
    assert len(late) == 1


def test_a_worker_that_starts_late_gets_its_share_of_the_recordings(scripted):
    run = scripted.run([Task(number, f"{number}.flac") for number in range(7)])
    next(run)
    assert [len(tasks) for tasks in scripted.workers_tasks] == [4, 0]
    scripted.replies = [(1, About("", "greedy", "", "", ()))]
    for _ in range(2):
        next(run)
    assert [len(tasks) for tasks in scripted.workers_tasks] == [4, 3]


def test_a_model_that_cannot_be_loaded_ends_the_job(tmp_path):
    pool = LocalPool(Settings(RecognizerOptions(str(tmp_path / "none"))), 1)
    try:
        with pytest.raises(ModelError, match="no such model folder"):
            pool.open()
    finally:
        pool.close()


@pytest.fixture
def ray_pool(monkeypatch):
    """A way to make pools of Ray actors, which find these packages where this process does."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    from streamasr.jobs.on_ray import RayPool

    return RayPool


def test_a_killed_ray_actor_is_replaced(ray_pool, tiny, tiny_folder, recordings):
    import ray

    pool = ray_pool(Settings(RecognizerOptions(str(tiny_folder))), 2)
    assert pool.workers == 2 or os.cpu_count() == 1
    check_all_done_with_a_loss(pool, lambda handle: ray.kill(handle.actor), recordings, tiny)
    assert not ray.is_initialized()


def test_a_missing_ray_is_one_line(monkeypatch, transcribe, recordings):
    monkeypatch.setitem(sys.modules, "ray", None)
    done = transcribe("--engine", "ray", "--stdout", *recordings[:2])
    assert done.code == 2
    assert done.err == ("streamasr: error: --engine ray needs Ray: pip install 'streamasr[ray]'\n")
