"""Choosing and opening a microphone, and the queue behind it."""

from __future__ import annotations

import builtins
import re
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import soxr

from streamasr.audio.live import BlockQueue, blocks_of
from streamasr.audio.microphone import (
    DeviceChange,
    InputDevice,
    Microphone,
    find_device,
    input_devices,
    remedy,
)
from streamasr.errors import AudioError

DEVICES = [
    InputDevice(0, "pulse", 32, 44_100, False),
    InputDevice(1, "USB Audio: Desk (hw:1,0)", 1, 48_000, False),
    InputDevice(4, "USB Audio: Headset (hw:2,0)", 1, 16_000, True),
    InputDevice(5, "pulse monitor", 2, 44_100, False),
]


@pytest.mark.parametrize(
    ("wanted", "index"),
    [(None, 4), (0, 0), ("0", 0), ("4", 4), ("desk", 1), ("HEADSET", 4), ("pulse", 0), ("mon", 5)],
)
def test_a_device_is_found_by_index_or_part_of_its_name(wanted, index):
    assert find_device(wanted, DEVICES).index == index


@pytest.mark.parametrize(
    ("wanted", "devices", "message"),
    [
        ("3", DEVICES, "no input device 3: there are 0 'pulse', 1 'USB"),
        ("usb", DEVICES, "'usb' could be any of 1 'USB Audio: Desk .*: give the number"),
        ("webcam", DEVICES, "no input device is called 'webcam': there are 0 'pulse'"),
        (None, [], "no microphone found: plug one in"),
        ("pulse", [], "no microphone found"),
    ],
)
def test_what_is_not_there_is_said_with_what_is(wanted, devices, message):
    with pytest.raises(AudioError, match=message):
        find_device(wanted, devices)


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        ("Error opening InputStream: Device unavailable [PaErrorCode -9985]", "another program"),
        ("host error: 'Device or resource busy' [ALSA error -16]", "in use by another program"),
        ("host error: 'Permission denied' [ALSA error -13]", "usermod -aG audio"),
        ("host error: 'Input/output error' [ALSA error -5]", "has no microphone"),
        ("Invalid\nsample rate", r"cannot be opened \(Invalid sample rate\): try another device"),
    ],
)
def test_portaudio_errors_say_what_to_do(problem, message):
    assert re.search(message, remedy(problem))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ImportError("no"), r"pip install 'streamasr\[mic\]'"),
        (OSError("PortAudio library not found"), "apt install libportaudio2"),
    ],
)
def test_what_must_be_installed_is_named(monkeypatch, error, message):
    real = builtins.__import__

    def refuse(name, *arguments, **options):
        if name == "sounddevice":
            raise error
        return real(name, *arguments, **options)

    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(AudioError, match=message):
        input_devices()


class FakeSounddevice:
    """As much of sounddevice as the microphone uses; ``stream`` is the open one."""

    class PortAudioError(Exception):
        pass

    def __init__(self) -> None:
        self.default = SimpleNamespace(device=(0, 0))
        self.there = True
        self.restarts = 0
        self.problem = ""

    def query_devices(self):
        one = {"index": 0, "name": "Desk", "max_input_channels": 8, "default_samplerate": 48_000.0}
        return [one] if self.there else []

    def InputStream(self, **options):
        if self.problem:
            raise self.PortAudioError(self.problem)
        self.stream = SimpleNamespace(
            **options, start=lambda: None, close=options["finished_callback"]
        )
        return self.stream

    def _terminate(self):
        self.restarts += 1

    def _initialize(self):
        pass

    def hear(self, seconds: float, *, overflow: bool = False) -> None:
        frames = np.ones((round(48_000 * seconds), self.stream.channels), np.float32)
        self.stream.callback(frames, len(frames), None, SimpleNamespace(input_overflow=overflow))


@pytest.fixture
def sounddevice(monkeypatch) -> FakeSounddevice:
    fake = FakeSounddevice()
    monkeypatch.setattr("streamasr.audio.microphone._sounddevice", lambda: fake)
    monkeypatch.setattr("streamasr.audio.microphone.RETRY_SECONDS", 0.01)
    return fake


def test_a_device_is_opened_as_it_is_with_two_channels_at_most(sounddevice):
    with Microphone() as microphone:
        stream = sounddevice.stream
        assert (stream.samplerate, stream.channels, stream.device) == (48_000, 2, 0)
        sounddevice.hear(0.5)
        microphone.stop()
        samples = np.concatenate([block.samples for block in microphone.blocks()])
    assert len(samples) == 8_000
    assert samples[1000:-1000] == pytest.approx(1, abs=1e-3)


def test_a_device_in_use_is_one_line(sounddevice):
    sounddevice.problem = "Device unavailable [PaErrorCode -9985]"
    with pytest.raises(AudioError, match=r"^Desk: is in use by another program"):
        Microphone()


def test_a_device_that_goes_is_opened_again_and_the_gap_is_told(sounddevice):
    notes: list[DeviceChange] = []
    blocks = []
    with Microphone(0, notify=notes.append) as microphone:
        sounddevice.hear(0.5)
        stream = microphone.blocks()
        blocks.append(next(stream))
        sounddevice.there = False
        sounddevice.stream.finished_callback()
        while not blocks[-1].reason:
            blocks.append(next(stream))
        assert (blocks[-1].reason, blocks[-1].lost_seconds) == ("device", 0.0)
        assert notes == [DeviceChange("Desk", present=False)]
        for _ in range(5):
            assert not len(next(stream).samples)
        assert sounddevice.restarts >= 3
        sounddevice.there = True
        time.sleep(0.3)
        next(stream)
        sounddevice.hear(0.1)
        while not blocks[-1].lost_seconds:
            blocks.append(next(stream))
        assert notes[1:] == [DeviceChange("Desk", present=True)]
        assert 0.2 < blocks[-1].lost_seconds < 2
        microphone.stop()
        blocks.extend(stream)
    assert sum(len(b.samples) for b in blocks) == pytest.approx(0.6 * 16_000, abs=2)


def test_what_portaudio_lost_is_counted_by_the_clock(sounddevice):
    with Microphone() as microphone:
        sounddevice.hear(0.1)
        time.sleep(0.4)
        sounddevice.hear(0.1, overflow=True)
        microphone.stop()
        lost = [b for b in microphone.blocks() if b.reason]
    assert [b.reason for b in lost] == ["overflow"]
    assert lost[0].lost_seconds == pytest.approx(0.3, abs=0.1)


def test_a_full_queue_drops_the_oldest_sixth_and_counts_it():
    queue = BlockQueue(1000, seconds=1.2)
    for index in range(25):
        queue.put(np.full((100, 1), index, np.float32), index / 10)
    assert queue.waiting_seconds == 1.0
    first = queue.get(0)
    assert first is not None
    assert first.lost_frames == 1500
    assert first.frames[0, 0] == 15
    second = queue.get(0)
    assert second is not None
    assert (second.lost_frames, second.frames[0, 0]) == (0, 16)
    assert [queue.get(0) is None for _ in range(9)] == [False] * 8 + [True]


@pytest.mark.smoke
def test_blocks_are_resampled_as_one_signal_and_both_channels_are_heard():
    rng = np.random.default_rng(0)
    signal = rng.standard_normal((44_100, 2)).astype(np.float32)
    queue = BlockQueue(44_100)
    for piece in np.array_split(signal, 97):
        queue.put(piece, 0.0)
    got = np.concatenate([block.samples for block in blocks_of(queue, lambda: True)])
    expected = soxr.resample(signal.mean(axis=1), 44_100, 16_000)
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_what_is_lost_starts_the_signal_anew():
    queue = BlockQueue(16_000)
    queue.put(np.ones((160, 1), np.float32), 1.0)
    queue.put(np.ones((160, 1), np.float32), 3.0, lost_frames=8_000)
    blocks = [b for b in blocks_of(queue, lambda: True) if len(b.samples)]
    assert [(b.lost_seconds, b.reason) for b in blocks] == [(0.0, ""), (0.5, "overflow")]


def test_a_reader_is_woken_by_sound_and_not_kept_waiting_without():
    queue = BlockQueue(16_000)
    stream = blocks_of(queue, lambda: False, patience=0.05)
    began = time.monotonic()
    assert not len(next(stream).samples)
    assert time.monotonic() - began < 1
    timer = threading.Timer(0.05, lambda: queue.put(np.ones((160, 1), np.float32), 0.0))
    timer.start()
    while not len(next(stream).samples):
        assert time.monotonic() - began < 5
    timer.join()
