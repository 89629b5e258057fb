"""The scheduler by itself: who shares a pass with whom changes nothing, and nobody is lost."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamasr import Recognizer
from streamasr.acoustic import SecondPass
from streamasr.api import Listener
from streamasr.events import Event
from streamasr.serving.metrics import Metrics
from streamasr.serving.scheduler import RecognitionFailed, Scheduler, ServerFull, StreamHandle
from streamasr.serving.sessions import SegmentOutputs
from streamasr.tokens import Tokens

from ..conftest import save_tiny, write_graph
from ..decoding.models import arpa_of


class Caller:
    """What a stream was told."""

    def __init__(self, scheduler: Scheduler, *, live: bool = True) -> None:
        self.events: list[Event] = []
        self.error: BaseException | None = None
        self.over = threading.Event()
        self.source: StreamHandle = scheduler.open(
            live=live, on_events=self.events.extend, on_end=self._end
        )

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
                caller.source.feed(piece)
            if leaves and at > len(sound) // 2:
                caller.source.cancel()
    for caller, *_ in callers:
        caller.source.end()
    for caller, _, _, leaves, expected in callers:
        if leaves:
            caller.source.cancel()
        else:
            assert caller.over.wait(20)
            assert caller.error is None
            assert caller.finals == expected
    assert len(scheduler) == 0


@pytest.mark.parametrize("decoders", [1, 3])
def test_any_number_of_threads_finds_the_same(recognizer, speech, decoders):
    alone = Listener(recognizer)
    expected = finals_of([*alone.accept(speech), *alone.finish()])
    with scheduling(recognizer, decoders=decoders, max_streams=5) as scheduler:
        callers = [Caller(scheduler, live=number < 4) for number in range(5)]
        with pytest.raises(ServerFull):
            Caller(scheduler)
        for caller in callers:
            caller.source.feed(torch.tensor(speech))
            caller.source.end()
        for caller in callers:
            assert caller.over.wait(30)
            assert caller.error is None
        assert [caller.finals for caller in callers[:4]] == [expected] * 4
        whole = " ".join(e.text for e in callers[4].events)
        stream = recognizer.stream(partials=False)
        stream.accept(speech)
        assert whole == stream.finish().text


def test_streams_are_decoded_side_by_side_and_each_in_order(tiny, speech, monkeypatch):
    """Two streams meet in each chunk; neither is ever in two threads."""
    meeting = threading.Barrier(2)
    with scheduling(tiny, decoders=4) as scheduler:
        callers = [Caller(scheduler) for _ in range(2)]
        heard: list[list[torch.Tensor]] = [[], []]

        def recorded(
            number: int, decode: Callable[[SegmentOutputs], list]
        ) -> Callable[[SegmentOutputs], list]:
            alone = threading.Lock()

            def locked(chunk: SegmentOutputs) -> list:
                assert alone.acquire(blocking=False), "two chunks of one stream at a time"
                try:
                    meeting.wait(10)
                    heard[number] += [part.samples for part, _ in chunk if not part.ended]
                    return decode(chunk)
                finally:
                    alone.release()

            return locked

        for number, caller in enumerate(callers):
            session = caller.source._session
            monkeypatch.setattr(session, "decode", recorded(number, session.decode))
        # Put together, so that both are cut into the same chunks.
        with scheduler.changed:
            for caller in callers:
                for at in range(0, len(speech), 7_000):
                    caller.source.feed(torch.tensor(speech[at : at + 7_000]))
                caller.source.end()
        for caller, pieces in zip(callers, heard, strict=True):
            assert caller.over.wait(20)
            assert caller.error is None
            assert torch.equal(torch.cat(pieces), torch.tensor(speech))


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize("where", ["decoding", "telling"])
def test_a_stream_that_fails_takes_no_other_along(tiny, speech, monkeypatch, caplog, live, where):
    def fail(*_arguments):
        raise MemoryError("none left")

    alone = Listener(tiny)
    expected = finals_of([*alone.accept(speech), *alone.finish()])
    with scheduling(tiny, decoders=2) as scheduler:
        victim = Caller(scheduler, live=live)
        others = [Caller(scheduler) for _ in range(3)]
        for caller in (victim, *others):
            caller.source.feed(torch.tensor(speech[:20_000]))
        while victim.source.busy or victim.source.queued_samples >= scheduler.chunk_samples:
            time.sleep(0.01)
        target, name = (
            (victim.source._session, "decode")
            if where == "decoding"
            else (victim.source, "on_events")
        )
        monkeypatch.setattr(target, name, fail)
        for caller in (victim, *others):
            caller.source.feed(torch.tensor(speech[20_000:]))
            caller.source.end()
        assert victim.over.wait(10)
        assert isinstance(victim.error, RecognitionFailed)
        for caller in others:
            assert caller.over.wait(20)
            assert caller.error is None
            assert caller.finals == expected
        assert len(scheduler) == 0
        assert scheduler.alive
        counted = scheduler.metrics.errors.labels("internal")._value.get()
        assert counted == 1
    (record,) = caplog.records
    assert record.exc_info is not None
    assert "none left" in str(record.exc_info[1])


def test_closing_waits_for_what_is_being_decoded_and_begins_nothing_more(tiny, speech, monkeypatch):
    begun, go_on = threading.Event(), threading.Event()
    with scheduling(tiny, decoders=1) as scheduler:
        callers = [Caller(scheduler) for _ in range(3)]
        decoded = []
        for caller in callers:

            def wait(_heard: SegmentOutputs, caller: Caller = caller) -> list[Event]:
                begun.set()
                assert go_on.wait(10)
                decoded.append(caller)
                return []

            monkeypatch.setattr(caller.source._session, "decode", wait)
        # Put together, so that one pass hears all three.
        with scheduler.changed:
            for caller in callers:
                caller.source.feed(torch.tensor(speech[:5_000]))
        assert begun.wait(10)
        closing = threading.Thread(target=scheduler.close)
        closing.start()
        closing.join(0.2)
        assert closing.is_alive()
        go_on.set()
        closing.join(10)
        assert not closing.is_alive()
        assert len(decoded) == 1
        assert not scheduler.alive


def test_what_decodes_is_compiled_before_the_first_caller(tmp_path):
    """In a process of its own: in this one everything may be compiled already."""
    grams = {(word,): (-1.0, -0.3) for word in ("<s>", "</s>", "<unk>", "a", "it", "that")}
    arpa = arpa_of({**grams, ("a", "it"): (-0.5, 0.0)})
    folder = save_tiny(tmp_path)
    write_graph(folder, arpa, "a\nit\nthat\n", Tokens.characters())
    (folder / "beam.json").write_text("{}")
    code = """
import sys, torch
from persistent_lstm import _cpu_kernels
from streamasr import Recognizer
from streamasr.acoustic import AcousticOutput
from streamasr.decoding import kernel
from streamasr.serving.metrics import Metrics
from streamasr.serving.scheduler import Scheduler
torch.manual_seed(1)
def compiled():
    functions = {**vars(kernel), **vars(_cpu_kernels)}
    functions = {n: f for n, f in functions.items() if hasattr(f, "signatures")}
    return {name: sorted(map(str, f.signatures)) for name, f in functions.items()}
recognizer = Recognizer.from_pretrained(sys.argv[1], decoder="beam", hotwords=sys.argv[2:])
assert not any(compiled().values())
Scheduler(recognizer, Metrics()).close()
ready = compiled()
assert all(ready[name] for name in ("advance", "compact", "descendants", "lm_scores")), ready
assert all(ready[name] for name in ("run_layers", "linear")), ready
state = recognizer.words.initial_state()
shown = []
for chunk in torch.randn(70, recognizer.config.model.output_size).log_softmax(1).split(7):
    _, state = recognizer.words(AcousticOutput(chunk), state)
    shown += recognizer.words.partial(state)
words, _ = recognizer.words.finish(state)
assert shown and words
heard = [torch.randn(5000), torch.randn(16000), torch.randn(9000)]
acoustic = recognizer.acoustic
acoustic.many(heard, [acoustic.initial_state() for _ in heard])
assert compiled() == ready
"""
    for hotwords in ((), ("tia",)):
        done = subprocess.run(
            [sys.executable, "-c", code, str(folder), *hotwords],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


def test_the_second_pass_of_all_streams_runs_with_the_model(recognizer, speech, monkeypatch):
    """In its thread and one call a pass, never in those that decode."""
    calls: list[tuple[str, int]] = []
    many = SecondPass.many

    def watched(self, inputs):
        calls.append((threading.current_thread().name, len(inputs)))
        return many(self, inputs)

    monkeypatch.setattr(SecondPass, "many", watched)
    sound = torch.tensor(speech)[:80_000]
    with scheduling(recognizer) as scheduler:
        callers = [Caller(scheduler) for _ in range(3)]
        for caller in callers:
            caller.source.feed(sound)
            caller.source.end()
        assert all(caller.over.wait(60) for caller in callers)
    assert all(caller.finals for caller in callers)
    assert {name for name, _ in calls} == {"recognition"}
    assert max(count for _, count in calls) >= 3


def test_a_pass_that_fails_ends_its_streams_and_no_others(tiny, scheduler, speech, monkeypatch):
    def fail(*_arguments):
        raise MemoryError("none left")

    caller = Caller(scheduler)
    with monkeypatch.context() as patched:
        patched.setattr(scheduler, "_forward", fail)
        caller.source.feed(torch.tensor(speech))
        assert caller.over.wait(10)
    assert caller.error is not None
    assert len(scheduler) == 0
    another = Caller(scheduler)
    another.source.feed(torch.tensor(speech))
    another.source.end()
    assert another.over.wait(20)
    assert another.error is None
    assert another.finals


def test_one_that_hurries_does_not_hold_others_up(tiny, scheduler, speech):
    """A minute sent at once is heard in turns of at most 320 ms."""
    hurried, patient = Caller(scheduler), Caller(scheduler)
    hurried.source.feed(torch.tensor(speech).repeat(11))
    time.sleep(0.05)
    patient.source.feed(torch.tensor(speech[:16_000]))
    patient.source.end()
    assert patient.over.wait(20)
    assert hurried.source.queued_samples > 16_000
    hurried.source.cancel()
