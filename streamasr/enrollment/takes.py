"""A take: one sentence from the microphone, from the first word to the silence behind the last."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from ..audio import SAMPLE_RATE
from ..audio.level import Level
from ..audio.live import Block
from ..segment.vad import WINDOW_SAMPLES, VoiceDetector
from ..validated import Settings

__all__ = ["Take", "TakeConfig", "record_take"]

Samples = NDArray[np.float32]

_CLIPPED = -0.1
"""dBFS."""
_QUIET = -32.0
_LEAST_SNR = 8.0
_FASTEST = 32.0
"""Letters a second: nobody reads a sentence aloud so fast."""


class TakeConfig(Settings):
    """When a take begins and ends; times in seconds."""

    silence_seconds: float = Field(1.2, gt=0, description="behind the last word end a take")
    margin_seconds: float = Field(0.4, ge=0, description="before the first word are kept")
    patience_seconds: float = Field(20.0, gt=0, description="without a word give a take up")
    longest_seconds: float = Field(30.0, gt=0, description="of a take")
    speech_probability: float = Field(0.5, gt=0, lt=1, description="above it someone speaks")


@dataclass(frozen=True)
class Take:
    """What was recorded, ``samples (n,)`` at 16 kHz, and what is wrong with it, if anything."""

    samples: Samples
    problem: str

    @property
    def seconds(self) -> float:
        """Its length."""
        return len(self.samples) / SAMPLE_RATE

    @property
    def level(self) -> str:
        """Its level in words."""
        level = Level()
        level.add(self.samples)
        return f"{self.seconds:.1f} s, peak {level.peak:.0f} dB"


def record_take(
    blocks: Iterable[Block],
    sentence: str,
    config: TakeConfig | None = None,
    *,
    since: float = -math.inf,
) -> Take:
    """Return the next thing that is said in ``blocks``, as a take of ``sentence``.

    Args:
        blocks: live audio at 16 kHz; no more are taken than the take needs.
        sentence: what was to be read; a take too short for it has a problem.
        config: when a take begins and ends.
        since: blocks captured before this time (``time.monotonic()``) are passed over.
    """
    config = config or TakeConfig()
    detector = VoiceDetector()
    state = detector.initial_state()
    blocks_so_far: list[Samples] = []
    speech: list[bool] = []
    lost = False
    for block in blocks:
        if block.captured_at < since:
            continue
        lost = lost or (block.lost_seconds > 0 and any(speech))
        blocks_so_far.append(block.samples)
        found, state = detector(torch.from_numpy(block.samples), state)
        speech += [probability > config.speech_probability for probability in found]
        if _ended(speech, config):
            break
    samples = np.concatenate([*blocks_so_far, np.zeros(0, np.float32)])
    return _trimmed(samples, speech, sentence, config, lost)


def _windows(seconds: float) -> int:
    return math.ceil(seconds * SAMPLE_RATE / WINDOW_SAMPLES)


def _ended(speech: list[bool], config: TakeConfig) -> bool:
    if len(speech) >= _windows(config.longest_seconds):
        return True
    if not any(speech):
        return len(speech) >= _windows(config.patience_seconds)
    return not any(speech[-_windows(config.silence_seconds) :])


def _trimmed(
    samples: Samples, speech: list[bool], sentence: str, config: TakeConfig, lost: bool
) -> Take:
    """Cut off the silence but for a margin, and judge what is left."""
    if not any(speech):
        return Take(samples[:0], "there is no sound: is the microphone muted, or another one?")
    first, last = speech.index(True), len(speech) - speech[::-1].index(True)
    margin = round(config.margin_seconds * SAMPLE_RATE)
    begin = max(0, first * WINDOW_SAMPLES - margin)
    end = last * WINDOW_SAMPLES + margin
    spoken = samples[first * WINDOW_SAMPLES : last * WINDOW_SAMPLES]
    silence = np.concatenate([samples[:begin], samples[end:]])
    problem = "sound was lost on the way: close other programs" if lost else ""
    return Take(samples[begin:end], problem or _problem(spoken, silence, sentence))


def _problem(spoken: Samples, silence: Samples, sentence: str) -> str:
    """Return what is wrong with a take and what to do, or nothing."""
    level, noise = Level(), Level()
    level.add(spoken)
    noise.add(silence)
    if level.peak > _CLIPPED:
        return "too loud, it clips: turn the microphone down, or move away from it"
    if level.peak < _QUIET:
        return "too quiet: turn the microphone up, or come closer"
    if len(silence) >= SAMPLE_RATE // 10 and level.rms - noise.rms < _LEAST_SNR:
        return "hardly louder than the noise: come closer, or find a quieter place"
    if len(spoken) / SAMPLE_RATE < len(sentence) / _FASTEST:
        return "too short for the sentence: read all of it, without long pauses"
    return ""
