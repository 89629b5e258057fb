"""The microphone, by PortAudio through sounddevice, which is imported nowhere else.

A device that goes away is waited for: PortAudio is started again, because it lists devices only
once, and the device that was asked for is opened as soon as it is there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ..errors import AudioError
from .live import QUEUE_SECONDS, Block, BlockQueue, blocks_of
from .resample import SAMPLE_RATE

__all__ = ["DeviceChange", "InputDevice", "Microphone", "find_device", "input_devices", "remedy"]

INSTALL = "pip install 'streamasr[mic]'"
FIRST_BLOCK_SECONDS = 6.0
"""A sound server may take seconds to start a source; a device silent for longer is gone."""
LATER_BLOCK_SECONDS = 3.0
RETRY_SECONDS = 0.5
MOST_CHANNELS = 2
"""Sound servers offer many more, all copies of the first ones."""


@dataclass(frozen=True, slots=True)
class InputDevice:
    """A device that records: its index and name, and how it likes to be opened."""

    index: int
    name: str
    channels: int
    sample_rate: int
    is_default: bool


@dataclass(frozen=True, slots=True)
class DeviceChange:
    """A device has come back (``present``), or has gone; as a string, a line for a person."""

    name: str
    present: bool

    def __str__(self) -> str:
        return f"{self.name} is back" if self.present else f"{self.name} is gone: waiting for it"


def _sounddevice() -> Any:
    try:
        import sounddevice
    except ImportError:
        raise AudioError(f"the microphone needs sounddevice: {INSTALL}") from None
    except OSError:
        raise AudioError(
            "the microphone needs PortAudio: apt install libportaudio2 "
            "(Fedora: dnf install portaudio; macOS: brew install portaudio)"
        ) from None
    return sounddevice


def input_devices() -> list[InputDevice]:
    """Return the devices that record; raises AudioError without sounddevice or PortAudio."""
    sounddevice = _sounddevice()
    default = sounddevice.default.device[0]
    return [
        InputDevice(
            info["index"],
            info["name"],
            info["max_input_channels"],
            round(info["default_samplerate"]),
            info["index"] == default,
        )
        for info in sounddevice.query_devices()
        if info["max_input_channels"] > 0
    ]


def find_device(wanted: int | str | None, devices: list[InputDevice]) -> InputDevice:
    """Return the device of an index (digits, too), of a unique part of a name, or the default one.

    Raises AudioError that lists what there is.
    """
    if not devices:
        raise AudioError(
            "no microphone found: plug one in, start the sound server, or let this user record "
            "(Linux: group audio; macOS: System Settings, Privacy, Microphone)"
        )
    if wanted is None:
        return next((d for d in devices if d.is_default), devices[0])
    known = ", ".join(f"{d.index} {d.name!r}" for d in devices)
    if isinstance(wanted, int) or wanted.isdecimal():
        found = [d for d in devices if d.index == int(wanted)]
        if not found:
            raise AudioError(f"no input device {wanted}: there are {known}")
        return found[0]
    part = wanted.casefold()
    found = [d for d in devices if part in d.name.casefold()]
    exact = [d for d in found if part == d.name.casefold()]
    if len(exact) == 1:
        return exact[0]
    if not found:
        raise AudioError(f"no input device is called {wanted!r}: there are {known}")
    if len(found) > 1:
        several = ", ".join(f"{d.index} {d.name!r}" for d in found)
        raise AudioError(f"{wanted!r} could be any of {several}: give the number")
    return found[0]


class Microphone:
    """An open microphone: a context manager whose ``blocks`` are 16 kHz mono.

    Args:
        device: an index, a unique part of a name, or the system's default.
        notify: called when the device goes or comes back.

    Raises:
        AudioError: it cannot be opened; the message says what to do.
    """

    def __init__(
        self,
        device: int | str | None = None,
        *,
        notify: Callable[[DeviceChange], None] = lambda _: None,
        queue_seconds: float = QUEUE_SECONDS,
    ) -> None:
        self._wanted = device
        self._notify = notify
        self._queue_seconds = queue_seconds
        self._sounddevice = _sounddevice()
        self._stream: Any = None
        self._queue: BlockQueue
        self._over = threading.Event()
        self._opened_at = self._heard_at = 0.0
        self._looked_at = self._known_at = self._silent = 0.0
        self._stopped = False
        self.device = self._open()
        # Indices change when a device comes back; its name does not, unless two share it.
        names = [d.name for d in input_devices()]
        if device is not None and names.count(self.device.name) == 1:
            self._wanted = self.device.name

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close()

    @property
    def waiting_seconds(self) -> float:
        """How much audio waits to be recognised."""
        return self._queue.waiting_seconds

    def stop(self) -> None:
        """Record no more; ``blocks`` ends when what was recorded has been read.

        Only sets a flag, so a signal handler may call it.
        """
        self._stopped = True

    def blocks(self) -> Iterator[Block]:
        """Yield captured blocks until ``stop``, and empty ones in between while there are none."""
        gone_since = 0.0
        while True:
            for block in blocks_of(self._queue, self._ended):
                if not (gone_since and len(block.samples)):
                    yield block
                    continue
                begun = block.captured_at - len(block.samples) / SAMPLE_RATE
                lost = max(0.0, begun - gone_since)
                self._notify(DeviceChange(self.device.name, present=True))
                gone_since = 0.0
                yield Block(block.samples, block.captured_at, lost, "device")
            if self._stopped:
                return
            if not gone_since:
                gone_since = self._heard_at or self._opened_at
                self._notify(DeviceChange(self.device.name, present=False))
                yield Block(np.zeros(0, np.float32), time.monotonic(), 0.0, "device")
            while not (self._stopped or self._reopened()):
                yield Block(np.zeros(0, np.float32), time.monotonic())
                time.sleep(RETRY_SECONDS)

    def _ended(self) -> bool:
        """Whether nothing more comes: the recording was stopped, or the device is gone."""
        now = time.monotonic()
        # A suspended process captures nothing either, so only a little counts each time.
        self._silent += min(now - self._looked_at, 0.2)
        self._looked_at = now
        if self._heard_at != self._known_at:
            self._known_at, self._silent = self._heard_at, 0.0
        patience = LATER_BLOCK_SECONDS if self._heard_at else FIRST_BLOCK_SECONDS
        if self._stopped or self._over.is_set() or self._silent > patience:
            self._close()
            return True
        return False

    def _open(self) -> InputDevice:
        device = find_device(self._wanted, input_devices())
        queue = BlockQueue(device.sample_rate, self._queue_seconds)
        over = threading.Event()

        def capture(frames: npt.NDArray[np.float32], count: int, _: Any, status: Any) -> None:
            now = time.monotonic()
            lost = 0
            if status.input_overflow and self._heard_at:
                lost = max(0, round((now - self._heard_at) * device.sample_rate) - count)
            self._heard_at = now
            queue.put(frames.copy(), now, lost)

        self._heard_at = self._known_at = self._silent = 0.0
        self._opened_at = self._looked_at = time.monotonic()
        self._queue, self._over = queue, over
        try:
            self._stream = self._sounddevice.InputStream(
                device=device.index,
                samplerate=device.sample_rate,
                channels=min(device.channels, MOST_CHANNELS),
                dtype="float32",
                callback=capture,
                finished_callback=over.set,
            )
            self._stream.start()
        except self._sounddevice.PortAudioError as error:
            self._close()
            raise AudioError(f"{device.name}: {remedy(str(error))}") from error
        return device

    def _close(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            # A device that is gone may refuse even this.
            with suppress(self._sounddevice.PortAudioError):
                stream.close()

    def _reopened(self) -> bool:
        try:
            self._sounddevice._terminate()
            self._sounddevice._initialize()
            self.device = self._open()
        except (AudioError, self._sounddevice.PortAudioError):
            return False
        return True


def remedy(problem: str) -> str:
    """Return what PortAudio's error means and what to do about it, in a line."""
    known = {
        "Device unavailable": "is in use by another program: close that, or choose another device",
        "busy": "is in use by another program: close that, or choose another device",
        "Permission denied": "may not be used: add yourself to group audio, "
        "sudo usermod -aG audio $USER, and log in again",
        "Input/output error": "cannot be opened: the sound server has no microphone; "
        "plug one in (pactl list short sources shows what there is)",
        "Connection refused": "cannot be opened: the sound server does not run; start it",
    }
    for sign, answer in known.items():
        if sign.casefold() in problem.casefold():
            return answer
    return f"cannot be opened ({' '.join(problem.split())}): try another device"
