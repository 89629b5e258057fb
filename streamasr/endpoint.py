"""Where one segment of live speech ends and the next begins.

Rules on trailing silence, as in Kaldi's and sherpa-onnx's endpointing: a segment ends some time
after its speech, sooner when it has grown long, and a stretch without any speech ends by itself.
Whether a timestep is quiet is for the acoustic model to say, by its posterior of the blank.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Endpoint", "EndpointConfig", "EndpointState", "Endpointer"]


class EndpointConfig(BaseModel):
    """The rules, in seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    silence_seconds: float = Field(0.8, ge=0.4, le=10, description="after speech ends a segment")
    no_speech_seconds: float = Field(2.0, ge=0.8, le=60, description="without speech end one, too")
    longest_seconds: float = Field(20.0, ge=2, description="of a segment; its next gap ends it")
    gap_seconds: float = Field(0.3, ge=0.2, le=2, description="of silence are a gap")
    blank_posterior: float = Field(0.5, gt=0, lt=1, description="above it a timestep is quiet")


class Endpoint(NamedTuple):
    """A segment ends after ``steps`` of the timesteps given; the last ``quiet`` were quiet."""

    steps: int
    quiet: int


@dataclass(frozen=True, slots=True)
class EndpointState:
    """Timesteps of the segment so far, those quiet at its end, and whether any was not."""

    steps: int = 0
    quiet: int = 0
    spoken: bool = False


class Endpointer:
    """Quiet or not, timestep by timestep, to endpoints; any chunking gives the same.

    Args:
        config: the rules.
        step_seconds: from one timestep to the next.
        delay_seconds: how long after a sound the model answers. When it falls quiet, the silence
            has already lasted that long.
    """

    def __init__(self, config: EndpointConfig, step_seconds: float, delay_seconds: float) -> None:
        self._silence = _steps(config.silence_seconds - delay_seconds, step_seconds)
        self._no_speech = _steps(config.no_speech_seconds, step_seconds)
        self._longest = _steps(config.longest_seconds, step_seconds)
        self._gap = _steps(config.gap_seconds, step_seconds)

    def initial_state(self) -> EndpointState:
        """Return the state in which a segment begins."""
        return EndpointState()

    def __call__(
        self, quiet: Sequence[bool], state: EndpointState
    ) -> tuple[Endpoint | None, EndpointState]:
        """Return the first endpoint among the timesteps, if any, and the state after it.

        The timesteps behind an endpoint are not looked at: they belong to the next segment.
        """
        steps, trailing, spoken = state.steps, state.quiet, state.spoken
        for index, is_quiet in enumerate(quiet, start=1):
            steps += 1
            trailing = trailing + 1 if is_quiet else 0
            spoken = spoken or not is_quiet
            if trailing >= self._limit(steps, spoken):
                return Endpoint(index, trailing), self.initial_state()
        return None, EndpointState(steps, trailing, spoken)

    def _limit(self, steps: int, spoken: bool) -> int:
        """How much trailing quiet ends the segment now."""
        if not spoken:
            return self._no_speech
        return self._gap if steps >= self._longest else self._silence


def _steps(seconds: float, step_seconds: float) -> int:
    return max(1, math.ceil(round(seconds / step_seconds, 6)))
