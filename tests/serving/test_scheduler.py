"""The scheduler by itself: who shares a pass with whom changes nothing, and nobody is lost."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamasr import Recognizer
from streamasr.errors import StreamasrError
from streamasr.events import Event
from streamasr.listening import Listener
from streamasr.serving.decoders import Processes
from streamasr.serving.metrics import Metrics
from streamasr.serving.scheduler import Full, Scheduler, Source


class Caller:
    """What a stream was told."""

    def __init__(self, scheduler: Scheduler, *, live: bool = True) -> None:
        self.events: list[Event] = []
        self.error: BaseException | None = None
        self.over = threading.Event()
        self.source: Source = scheduler.open(live=live, tell=self.events.extend, ended=self._end)

    def _end(self, error: BaseException | None) -> None:
        assert not self.over.is_set()
        self.error = error
        self.over.set()

    @property
    def finals(self) -> list[tuple[int, str, float, float]]:
        return finals_of(self.events)


def finals_of(events: list[Event]) -> list[tuple[int, str, float, float]]:
    return [
        (e.segment, e.text, round(e.start, 2), round(e.end, 2)) for e in events if e.type == "final"
    ]


@contextmanager
def scheduling(recognizer: Recognizer, **options) -> Iterator[Scheduler]:
    scheduler = Scheduler(recognizer, Metrics(), tick_seconds=0.001, **options)
    try:
        yield scheduler
    finally:
        scheduler.close()


@pytest.fixture(scope="module")
def scheduler(tiny) -> Iterator[Scheduler]:
    with scheduling(tiny) as found:
        yield found


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    streams=st.lists(
        st.tuples(
            st.integers(0, 40_000),  # where in the recording it begins
            st.integers(0, 45_000),  # how much of it there is, and a pause follows
            st.integers(0, 40_000),
            st.lists(st.integers(1, 9_000), min_size=1, max_size=4),  # sizes of messages
            st.booleans(),  # whether it leaves in the middle
        ),
        min_size=1,
        max_size=6,
    )
)
@pytest.mark.parametrize("model", ["tiny", "overlapping"])
def test_who_shares_a_pass_changes_nothing(request, model, speech, streams):
    recognizer = request.getfixturevalue(model)
    with scheduling(recognizer) as scheduler:
        talk(recognizer, scheduler, torch.tensor(speech), streams)


def talk(
    recognizer: Recognizer, scheduler: Scheduler, recording: torch.Tensor, streams: list
) -> None:
    """Let streams talk at the same time; each must be told what a listener by himself is told."""
    callers = []
    for first, length, pause, sizes, leaves in streams:
        own = recording[first : first + length]
        # Twice, with a pause between that may end a segment, or not.
        sound = torch.cat([own, torch.zeros(pause), own])
        alone = Listener(recognizer)
        expected = finals_of([*alone.accept(sound.numpy()), *alone.finish()])
        callers.append((Caller(scheduler), sound, sizes, leaves, expected))
    for turn in range(1 + max(len(sound) // min(sizes) for _, sound, sizes, *_ in callers)):
        for caller, sound, sizes, leaves, _ in callers:
            at = turn // len(sizes) * sum(sizes) + sum(sizes[: turn % len(sizes)])
            piece = sound[at : at + sizes[turn % len(sizes)]]
            if len(piece):
                caller.source.put(piece)
            if leaves and at > len(sound) // 2:
                caller.source.leave()
    for caller, *_ in callers:
        caller.source.end()
    for caller, _, _, leaves, expected in callers:
        if leaves:
            caller.source.leave()
        else:
            assert caller.over.wait(20)
            assert caller.error is None
            assert caller.finals == expected
    assert len(scheduler) == 0


def test_processes_decode_as_a_thread_does(recognizer, speech):
    alone = Listener(recognizer)
    expected = finals_of([*alone.accept(speech), *alone.finish()])
    load = partial(Recognizer.from_pretrained, decoder=recognizer.decoder, device="cpu")
    with scheduling(recognizer, decoders=Processes(2, load), max_streams=5) as scheduler:
        callers = [Caller(scheduler, live=number < 4) for number in range(5)]
        with pytest.raises(Full):
            Caller(scheduler)
        for caller in callers:
            caller.source.put(torch.tensor(speech))
            caller.source.end()
        for caller in callers:
            assert caller.over.wait(30)
            assert caller.error is None
        assert [caller.finals for caller in callers[:4]] == [expected] * 4
        whole = " ".join(e.text for e in callers[4].events)
        stream = recognizer.stream()
        stream.accept(speech)
        assert whole == stream.finish().text


def test_a_process_that_dies_takes_only_its_own_streams_along(tiny, tiny_folder, speech):
    load = partial(Recognizer.from_pretrained, tiny_folder, device="cpu")
    alone = Listener(tiny)
    expected = finals_of([*alone.accept(speech), *alone.finish()])
    with scheduling(tiny, decoders=Processes(2, load)) as scheduler:
        callers = [Caller(scheduler) for _ in range(4)]
        for caller in callers:
            caller.source.put(torch.tensor(speech[:20_000]))
        assert scheduler.whole
        victim = scheduler._decoders._workers[0]  # type: ignore[attr-defined]
        assert victim.streams == {callers[0].source.id, callers[2].source.id}
        os.kill(victim._process.pid, signal.SIGKILL)
        for caller in callers[::2]:
            assert caller.over.wait(10)
            assert "recognition failed" in str(caller.error)
        assert not scheduler.whole
        newcomers = [Caller(scheduler)]
        until = time.monotonic() + 30
        while not scheduler.whole:
            assert time.monotonic() < until, "no process took its place"
            time.sleep(0.05)
        newcomers.append(Caller(scheduler))
        heir = scheduler._decoders._workers[0]  # type: ignore[attr-defined]
        assert heir.streams == {newcomers[1].source.id}
        for newcomer in newcomers:
            newcomer.source.put(torch.tensor(speech[:20_000]))
        for caller in (callers[1], callers[3], *newcomers):
            caller.source.put(torch.tensor(speech[20_000:]))
            caller.source.end()
            assert caller.over.wait(20)
            assert caller.error is None
            assert caller.finals == expected
        assert len(scheduler) == 0
        # Another process takes its place.
        deadline = time.monotonic() + 60
        while not scheduler.whole and time.monotonic() < deadline:
            time.sleep(0.05)
        assert scheduler.whole
        later = [Caller(scheduler) for _ in range(2)]
        fresh = scheduler._decoders._workers[0]  # type: ignore[attr-defined]
        assert fresh is not victim
        assert later[0].source.id in fresh.streams
        for caller in later:
            caller.source.put(torch.tensor(speech))
            caller.source.end()
            assert caller.over.wait(20)
            assert caller.finals == expected


def test_a_process_that_cannot_start_is_an_error(tiny, tmp_path):
    load = partial(Recognizer.from_pretrained, tmp_path / "nowhere")
    with (
        pytest.raises(StreamasrError, match="did not start"),
        scheduling(tiny, decoders=Processes(2, load)),
    ):
        pass
    assert multiprocessing.active_children() == []


def test_a_pass_that_fails_ends_its_streams_and_no_others(tiny, scheduler, speech, monkeypatch):
    def fail(*_arguments):
        raise MemoryError("none left")

    caller = Caller(scheduler)
    with monkeypatch.context() as patched:
        patched.setattr(scheduler, "_hear", fail)
        caller.source.put(torch.tensor(speech))
        assert caller.over.wait(10)
    assert caller.error is not None
    assert len(scheduler) == 0
    another = Caller(scheduler)
    another.source.put(torch.tensor(speech))
    another.source.end()
    assert another.over.wait(20)
    assert another.error is None
    assert another.finals


def test_one_that_hurries_does_not_hold_others_up(tiny, scheduler, speech):
    """A minute sent at once is heard in turns of at most 320 ms."""
    hurried, patient = Caller(scheduler), Caller(scheduler)
    hurried.source.put(torch.tensor(speech).repeat(11))
    time.sleep(0.05)
    patient.source.put(torch.tensor(speech[:16_000]))
    patient.source.end()
    assert patient.over.wait(20)
    assert hurried.source.waiting_samples > 16_000
    hurried.source.leave()
