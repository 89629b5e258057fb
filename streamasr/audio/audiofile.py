"""From a decoder's samples to blocks of 16 kHz mono."""

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import Self

import numpy as np

from ..errors import AudioError
from ..paths import one_line
from .decoder import LOUDEST, AudioDecoder, Damaged, Samples
from .level import Level
from .mixer import Mixer
from .resample import Resampler

__all__ = ["AudioFile"]

PLAUSIBLE_RATES = range(1_000, 1_000_001)


class AudioFile:
    """An open recording, made by `open_audio` or `open_raw`. A context manager.

    Attributes:
        name: the path as it was given, or "stdin".
        sample_rate: rate of the source, in Hz; blocks are at 16 kHz whatever it is.
        channels: channels of the source; blocks are mono whatever it is.
        duration: length in seconds as the source states it, None when unknown.
        level: how loud the blocks so far are.
    """

    def __init__(
        self,
        name: str,
        decoder: AudioDecoder,
        note: Callable[[str], None],
        resources: ExitStack | None = None,
    ) -> None:
        self.name = name
        self.sample_rate = decoder.sample_rate
        self.channels = decoder.channels
        self.duration = decoder.duration
        self.level = Level()
        self._decoder = decoder
        self._note = note
        self._resources = resources or ExitStack()
        self._blocks: Iterator[Samples] | None = None
        if self.sample_rate not in PLAUSIBLE_RATES:
            self.close()
            raise AudioError(
                f"{one_line(name)}: a sample rate of {self.sample_rate} Hz is not plausible "
                f"(1 kHz to 1 MHz are read)"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the file. Closing twice is harmless; what the caller opened stays open."""
        self._decoder.close()
        self._resources.close()

    def blocks(self) -> Iterator[Samples]:
        """Yield the recording once, as contiguous float32 arrays (n,) at 16 kHz, about ±1.

        Channels are averaged, except where they cancel each other. Gaps in the container's time
        are silence. Memory does not grow with the recording's length.

        Raises:
            AudioError: the recording is damaged or cut short, has a sample that is NaN, infinite
                or far beyond ±1, or has no samples. Raised after all samples before the damage
                were yielded.
            RuntimeError: called a second time.
        """
        if self._blocks is not None:
            raise RuntimeError("blocks() reads the recording once: open it again")
        self._blocks = self._read()
        return self._blocks

    def _read(self) -> Iterator[Samples]:
        problem = ""
        seconds = 0.0
        mixer = Mixer(self.channels, self.sample_rate, self._note)
        resampler = Resampler(self.sample_rate)
        try:
            for samples, rate in self._decoder.read():
                if (rate, samples.shape[1]) != (mixer.rate, mixer.channels):
                    # Joined recordings may change them on the way.
                    yield from self._ready(resampler.process(mixer.flush()))
                    mixer = Mixer(samples.shape[1], rate, self._note)
                    if rate != resampler.source_rate:
                        yield from self._ready(resampler.flush())
                        resampler = Resampler(rate)
                usable, unusable = _usable(samples)
                yield from self._ready(resampler.process(mixer.process(usable)))
                seconds += len(usable) / rate
                if unusable:
                    place = unusable.format(place=f"at {seconds:.3f} s")
                    problem = f"{place}; only the audio before it was read"
                    break
        except Damaged as damage:
            problem = _describe(damage, seconds)
        yield from self._ready(resampler.process(mixer.flush()))
        yield from self._ready(resampler.flush())
        if not problem and seconds == 0:
            problem = "contains no audio samples"
        if problem:
            raise AudioError(f"{one_line(self.name)}: {problem}")

    def _ready(self, block: Samples) -> Iterator[Samples]:
        if block.size:
            self.level.add(block)
            yield block


def _describe(damage: Damaged, seconds: float) -> str:
    if damage.total is not None and abs(damage.total - seconds) < 0.005:
        return f"damaged in places, though read to the end of its {seconds:.2f} s"
    total = "" if damage.total is None else f" of {damage.total:.2f} s"
    return f"{damage}: {seconds:.2f} s{total} could be decoded"


def _usable(samples: Samples) -> tuple[Samples, str]:
    """Return the samples before the first one that is no sound, and what that one is."""
    if not samples.size or (samples.max() <= LOUDEST and samples.min() >= -LOUDEST):
        return samples, ""
    bad = ~(np.abs(samples) <= LOUDEST)  # NaN compares with nothing
    first = int(np.argmax(bad.any(axis=1)))
    value = float(samples[first][bad[first]][0])
    if not math.isfinite(value):
        return samples[:first], "a sample is NaN or infinite {place}"
    return samples[:first], (
        f"a sample is {value:g} {{place}}, and floats lie in [-1, 1]: divide those on the scale of "
        "16-bit integers by 32768 (ffmpeg -af volume=1/32768)"
    )
