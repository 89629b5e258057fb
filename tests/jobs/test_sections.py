"""Long recordings: the same pieces whatever blocks they come in, and each word in one of them."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from streamasr import AudioError, RecognizerOptions, Word
from streamasr.jobs.local import OwnPool
from streamasr.jobs.sections import (
    AFTER,
    BEFORE,
    LONGEST,
    SHORTEST,
    Section,
    cut_at_pauses,
    own_words,
)
from streamasr.jobs.tasks import Settings, Task
from streamasr.jobs.work import Worker
from streamasr.manifest import read_manifest
from streamasr.wer import count_errors

RATE = 100  # samples a second: the cuts do not care


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(round(seconds * RATE)).astype(np.float32)


def cut(audio: np.ndarray, size: int) -> list[Section]:
    blocks = (audio[i : i + size] for i in range(0, len(audio), size))
    return list(cut_at_pauses(blocks, RATE))


@given(seconds=st.floats(0, 400), size=st.integers(1, 50_000), seed=st.integers(0, 3))
def test_any_blocks_give_the_same_pieces_and_they_cover_all(seconds, size, seed):
    audio = noise(seconds, seed)
    pieces, whole = cut(audio, size), cut(audio, max(1, len(audio)))
    assert [(p.offset, p.start, p.end) for p in pieces] == [
        (p.offset, p.start, p.end) for p in whole
    ]
    end = 0.0
    for piece in pieces:
        assert piece.start == end
        end = piece.end
        first = round(piece.offset * RATE)
        assert np.array_equal(piece.samples, audio[first : first + len(piece.samples)])
        assert piece.start - BEFORE - 0.02 <= piece.offset <= piece.start
        if piece is not pieces[-1]:
            assert SHORTEST <= piece.end - piece.start <= LONGEST
            assert first + len(piece.samples) == pytest.approx((piece.end + AFTER) * RATE)
    if pieces:
        assert end == float("inf")
        assert first + len(pieces[-1].samples) == len(audio)
    else:
        assert not len(audio)


def test_a_cut_falls_into_the_pause():
    audio = noise(100)
    audio[44 * RATE : 45 * RATE] *= 0.01
    assert 44 <= cut(audio, 999)[0].end <= 45


def test_an_error_comes_after_the_samples_before_it():
    def blocks():
        yield noise(70)
        raise AudioError("broken")

    source = cut_at_pauses(blocks(), RATE)
    assert [next(source).start for _ in range(2)] == [0.0, pytest.approx(45, abs=16)]
    with pytest.raises(AudioError, match="broken"):
        next(source)


@given(starts=st.lists(st.floats(0, 300), max_size=50), seed=st.integers(0, 3))
def test_each_word_belongs_to_just_one_piece(starts, seed):
    said = [Word("word", start, start + 0.3, 1.0) for start in sorted(starts)]
    found: list[Word] = []
    for piece in cut(noise(310, seed), 5_000):
        end = piece.offset + len(piece.samples) / RATE
        heard = [w for w in said if piece.offset <= w.start and w.end <= end]
        local = [Word(w.text, w.start - piece.offset, w.end - piece.offset, 1.0) for w in heard]
        found += own_words(piece, local)
    assert [w.start for w in found] == pytest.approx([w.start for w in said])


@pytest.fixture(scope="module")
def long_file(voices, tmp_path_factory):
    path = tmp_path_factory.mktemp("long") / "long.flac"
    soundfile.write(path, np.tile(voices, 5), 16_000)
    return path


def test_pieces_cost_no_words(recognizer, long_file, samples_folder):
    """Words may differ where the model owes them to minutes ago, for better or for worse."""
    order = sorted(read_manifest(samples_folder / "samples.tsv"), key=lambda u: u.path.name)
    said = " ".join([utterance.transcript for utterance in order] * 5)
    (whole,) = run(Worker(Settings(), recognizer), [Task(0, str(long_file))])
    (pieces,) = run(Worker(Settings(), recognizer), [Task(0, str(long_file), 0, 1)])
    assert pieces.transcript.duration == whole.transcript.duration > 2.5 * LONGEST
    errors = [count_errors([said], [o.transcript.text]).wer for o in (whole, pieces)]
    assert errors[1] <= errors[0] + 0.03


def run(worker: Worker, tasks: list[Task]):
    worker.add(tasks)
    found = []
    while worker.busy:
        found += worker.step()
    return sorted(found, key=lambda outcome: outcome.task.id)


def test_shares_put_together_are_the_whole(tiny, long_file):
    (whole,) = run(Worker(Settings(), tiny), [Task(0, str(long_file), 0, 1)])
    shares = run(Worker(Settings(), tiny), [Task(i, str(long_file), i, 2) for i in range(2)])
    words = sorted((w for s in shares for w in s.transcript.words), key=lambda w: w.start)
    key = [(w.text, w.start) for w in words]
    assert key == [(w.text, w.start) for w in whole.transcript.words]
    assert len(key) > 20


def test_pieces_tell_how_far_they_are(tiny, long_file):
    """What is told adds up to the recording, though pieces overlap."""
    worker = Worker(Settings(rows=1), tiny)
    worker.add([Task(i, str(long_file), i, 2) for i in range(2)])
    news, outcomes = [], []
    while worker.busy:
        outcomes += worker.step()
        news += worker.advances()
    duration = outcomes[0].transcript.duration
    ended = soundfile.info(long_file).duration
    assert duration == pytest.approx(ended)
    assert {advance.task.id for advance in news} == {0, 1}
    assert max(advance.seconds for advance in news) <= LONGEST + AFTER
    # What ends with its task may go untold.
    assert 0.6 * ended < sum(advance.seconds for advance in news) <= ended + 1e-6
    for advance in news:
        assert advance.share == pytest.approx(advance.seconds / ended)


def test_a_long_recording_is_counted_while_it_is_under_way(tiny_folder, long_file):
    pool = OwnPool(Settings(RecognizerOptions(str(tiny_folder)), long_seconds=60, rows=1))
    seen, outcomes = [], []
    try:
        pool.open()
        for found in pool.run([Task(7, str(long_file))]):
            seen += [pool.under_way[7].seconds] if pool.under_way else []
            outcomes += found or []
    finally:
        pool.close()
    assert seen == sorted(seen)
    assert 0 < seen[0] < seen[-1] <= outcomes[0].transcript.duration
    assert pool.under_way == {}


def test_a_long_recording_asks_for_pieces(tiny, long_file):
    (outcome,) = run(Worker(Settings(long_seconds=60), tiny), [Task(0, str(long_file))])
    assert outcome.long
    assert outcome.transcript is None
