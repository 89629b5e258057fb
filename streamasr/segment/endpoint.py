"""Where one segment of live speech ends and the next begins.

Rules on trailing silence, as in Kaldi's and sherpa-onnx's endpointing: a segment ends some time
after its speech, sooner when it has grown long, and a stretch without any speech ends by itself.
Whether someone speaks is for a voice detector to say (``vad.py``): in noise it is right far
more often than the acoustic model's blanks (docs/experiments.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pydantic import Field

from ..validated import Settings

__all__ = ["Endpoint", "EndpointConfig", "EndpointState", "Endpointer"]

DETECTOR_SECONDS = 0.04
"""Median release delay of the voice detector, in seconds."""


class EndpointConfig(Settings):
    """The rules; times in seconds."""

    silence_seconds: float = Field(0.8, ge=0.4, le=10, description="after speech end a segment")
    no_speech_seconds: float = Field(2.0, ge=0.8, le=60, description="without speech end one, too")
    longest_seconds: float = Field(20.0, ge=2, description="of a segment; its next gap ends it")
    gap_seconds: float = Field(0.3, ge=0.2, le=2, description="of silence are a gap")
    lead_seconds: float = Field(0.4, ge=0.2, le=1, description="of silence begin a segment")
    speech_probability: float = Field(0.5, gt=0, lt=1, description="above it someone speaks")
    noise_probability: float = Field(
        0.3, ge=0, lt=1, description="words of a segment that never reaches it are noise"
    )


class Endpoint(NamedTuple):
    """A segment ends after ``steps`` of the timesteps given.

    The next one begins ``lead`` timesteps before that: it overlaps the silence, since the
    model answers late, and words need some silence before them.
    """

    steps: int
    lead: int


@dataclass(frozen=True, slots=True)
class EndpointState:
    """Timesteps of the segment so far, those quiet at its end, and the likeliest speech in it."""

    steps: int = 0
    quiet: int = 0
    likeliest: float = 0.0


class Endpointer:
    """Probabilities of speech, a timestep each, to endpoints; any chunking gives the same."""

    def __init__(self, config: EndpointConfig, step_seconds: float) -> None:
        self._silence = _steps(config.silence_seconds - DETECTOR_SECONDS, step_seconds)
        self._no_speech = _steps(config.no_speech_seconds, step_seconds)
        self._longest = _steps(config.longest_seconds, step_seconds)
        self._gap = _steps(config.gap_seconds, step_seconds)
        self.lead_steps = _steps(config.lead_seconds, step_seconds)
        self._config = config

    def initial_state(self) -> EndpointState:
        """Return the state in which a segment begins."""
        return EndpointState()

    def __call__(
        self, speech: Sequence[float], state: EndpointState
    ) -> tuple[Endpoint | None, EndpointState]:
        """Return the first endpoint among the timesteps, if any, and the state there.

        The timesteps behind an endpoint are not looked at: they belong to the next segment.
        """
        steps, quiet, likeliest = state.steps, state.quiet, state.likeliest
        for index, probability in enumerate(speech, start=1):
            steps += 1
            likeliest = max(likeliest, probability)
            quiet = 0 if probability > self._config.speech_probability else quiet + 1
            if quiet >= self._limit(steps, likeliest):
                # Not so much that it overlaps the last word.
                lead = min(self.lead_steps, quiet // 2)
                return Endpoint(index, lead), EndpointState(steps, quiet, likeliest)
        return None, EndpointState(steps, quiet, likeliest)

    def is_noise(self, state: EndpointState) -> bool:
        """Whether what seemed to be words in the segment so far is none."""
        return state.likeliest < self._config.noise_probability

    def _limit(self, steps: int, likeliest: float) -> int:
        """How much trailing quiet ends the segment now."""
        if likeliest <= self._config.speech_probability:
            return self._no_speech
        return self._gap if steps >= self._longest else self._silence


def _steps(seconds: float, step_seconds: float) -> int:
    return max(1, math.ceil(round(seconds / step_seconds, 6)))
