"""From a decoder's samples to blocks of 16 kHz mono."""

from collections.abc import Iterator
from types import TracebackType
from typing import Self

import numpy as np

from ..errors import AudioError
from .decoder import Damaged, Decoder, Samples
from .resample import Resampler

__all__ = ["AudioFile", "one_line"]

PLAUSIBLE_RATES = range(1_000, 1_000_001)


class AudioFile:
    """An open recording, made by `open_audio` or `open_raw`. A context manager.

    Attributes:
        name: the path as it was given, or "stdin".
        sample_rate: rate of the source, in Hz; blocks are at 16 kHz whatever it is.
        channels: channels of the source; blocks are mono whatever it is.
        duration: length in seconds as the source states it, None when unknown.
    """

    def __init__(self, name: str, decoder: Decoder) -> None:
        self.name = name
        self.sample_rate = decoder.sample_rate
        self.channels = decoder.channels
        self.duration = decoder.duration
        self._decoder = decoder
        self._blocks: Iterator[Samples] | None = None
        if self.sample_rate not in PLAUSIBLE_RATES:
            decoder.close()
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
        """Release the file. Closing twice is harmless; standard input stays open."""
        self._decoder.close()

    def blocks(self) -> Iterator[Samples]:
        """Yield the recording once, as contiguous float32 arrays (n,) at 16 kHz, about ±1.

        Channels are averaged. Memory does not grow with the recording's length.

        Raises:
            AudioError: the recording is damaged or cut short, has a NaN or infinite sample, or
                has no samples. Raised after all samples before the damage were yielded.
            RuntimeError: called a second time.
        """
        if self._blocks is not None:
            raise RuntimeError("blocks() reads the recording once: open it again")
        self._blocks = self._read()
        return self._blocks

    def _read(self) -> Iterator[Samples]:
        problem = ""
        seconds = 0.0
        resampler = Resampler(self.sample_rate)
        try:
            for samples, rate in self._decoder.read():
                if rate != resampler.source_rate:  # joined recordings may change it on the way
                    yield from _nonempty(resampler.flush())
                    resampler = Resampler(rate)
                mono = _downmix(samples)
                unusable = np.flatnonzero(~np.isfinite(mono))
                if unusable.size:
                    mono = mono[: unusable[0]]
                yield from _nonempty(resampler.process(mono))
                seconds += mono.size / rate
                if unusable.size:
                    problem = (
                        f"a sample is NaN or infinite at {seconds:.3f} s; "
                        f"only the audio before it was read"
                    )
                    break
        except Damaged as damage:
            problem = _describe(damage, seconds)
        yield from _nonempty(resampler.flush())
        if not problem and seconds == 0:
            problem = "contains no audio samples"
        if problem:
            raise AudioError(f"{one_line(self.name)}: {problem}")


def one_line(name: str) -> str:
    """Return a file's name fit for an error line: a name may hold a line feed or escape codes."""
    return "".join(c if c.isprintable() else "?" for c in name)


def _describe(damage: Damaged, seconds: float) -> str:
    if damage.total is not None and abs(damage.total - seconds) < 0.005:
        return f"damaged in places, though all {seconds:.2f} s could be decoded"
    total = "" if damage.total is None else f" of {damage.total:.2f} s"
    return f"{damage}: {seconds:.2f} s{total} could be decoded"


def _downmix(samples: Samples) -> Samples:
    if samples.shape[1] == 1:
        return np.ascontiguousarray(samples[:, 0])
    with np.errstate(over="ignore", invalid="ignore"):  # infinities are reported by the caller
        mono: Samples = samples.mean(axis=1, dtype=np.float32)
    return mono


def _nonempty(block: Samples) -> Iterator[Samples]:
    if block.size:
        yield block
