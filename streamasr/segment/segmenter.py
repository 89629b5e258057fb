"""Cut live audio into segments, in front of the acoustic model.

The voice detector and the endpointer read nothing but samples, so that a segment's end is known
before the model receives it: each segment is given, from its first sample to its last, to an
acoustic state of its own. A segment begins a little before the end of the one before it: the model
answers late, and a word that begins just there would otherwise lose its first sound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .endpoint import EndpointConfig, Endpointer, EndpointState
from .vad import WINDOW_SAMPLES, VoiceDetector, VoiceState

if TYPE_CHECKING:
    from ..acoustic.frontend import FrontendConfig

__all__ = ["Part", "Segmenter", "SegmenterState"]


@dataclass(frozen=True, slots=True)
class Part:
    """Samples of a segment, which continue those of the part before it.

    Attributes:
        origin: the sample of the session at which the segment begins; no two begin at the same.
        samples: ``(n,)``, 16 kHz float32; the closing silence where nothing follows.
        end: the sample of the session behind them, the closing silence left out.
        ended: whether the segment ends here; the next part begins another.
        speech: whether anyone may have spoken in the segment so far.
    """

    origin: int
    samples: Tensor
    end: int
    ended: bool
    speech: bool


@dataclass(frozen=True, slots=True)
class SegmenterState:
    """The state of a session. A value.

    The segment began at sample ``origin``, and ``received`` have come so far; ``recent`` are the
    newest, as far back as the next segment may begin. ``voice`` began at sample ``voice_origin``,
    has read ``windows`` windows, and ``probabilities`` of speech are those of the newest.
    """

    voice: VoiceState
    endpoint: EndpointState
    recent: Tensor
    probabilities: tuple[float, ...] = ()
    windows: int = 0
    voice_origin: int = 0
    origin: int = 0
    received: int = 0


class Segmenter:
    """Samples to the parts of segments; any chunking gives the same segments. Immutable.

    Endpoints lie between the timesteps that ``frontend`` makes of a segment's samples.
    """

    def __init__(self, frontend: FrontendConfig, endpoint: EndpointConfig | None = None) -> None:
        self.sample_rate = frontend.sample_rate
        self._frontend = frontend
        self._step = frontend.step_samples
        self._endpointer = Endpointer(endpoint or EndpointConfig(), frontend.step_seconds)
        self._detector = VoiceDetector()
        self._kept = self._endpointer.lead_steps * self._step + frontend.window_samples
        self._kept_windows = self._kept // WINDOW_SAMPLES + 2

    def initial_state(self, origin: int = 0) -> SegmenterState:
        """Return the state of a session that begins at sample ``origin``."""
        return SegmenterState(
            self._detector.initial_state(),
            self._endpointer.initial_state(),
            torch.zeros(0),
            voice_origin=origin,
            origin=origin,
            received=origin,
        )

    def __call__(self, samples: Tensor, state: SegmenterState) -> tuple[list[Part], SegmenterState]:
        """Take ``samples (n,)``, 16 kHz float32; return them in parts, at least one."""
        return self.many([samples], [state])[0]

    def many(
        self, samples: Sequence[Tensor], states: Sequence[SegmenterState]
    ) -> list[tuple[list[Part], SegmenterState]]:
        """Do as a call for each of several sessions, in one pass of the voice detector."""
        answers = self._detector.many(samples, [state.voice for state in states])
        return [
            self._cut(chunk, probabilities, replace(state, voice=voice))
            for chunk, state, (probabilities, voice) in zip(samples, states, answers, strict=True)
        ]

    def whole(self, samples: Tensor, state: SegmenterState) -> tuple[Part, SegmenterState]:
        """Take ``samples (n,)`` as part of the segment, without looking for its end."""
        received = state.received + len(samples)
        part = Part(state.origin, samples, received, ended=False, speech=True)
        return part, replace(state, received=received)

    def end(self, state: SegmenterState, lost_samples: int = 0) -> tuple[Part, SegmenterState]:
        """End the segment, since nothing follows, or only behind ``lost_samples``.

        The part holds the closing silence, and nothing if the segment has no samples. The state is
        that of a session that begins afresh.
        """
        begun = state.received > state.origin
        samples = torch.zeros(self._frontend.closing_samples if begun else 0)
        part = Part(state.origin, samples, state.received, True, self._has_speech(state.endpoint))
        return part, self.initial_state(state.received + lost_samples)

    def _cut(
        self, samples: Tensor, probabilities: Sequence[float], state: SegmenterState
    ) -> tuple[list[Part], SegmenterState]:
        """Cut ``samples`` at endpoints, given what the voice detector has found in them."""
        state = replace(
            state,
            recent=torch.cat([state.recent, samples]),
            probabilities=(*state.probabilities, *probabilities),
            windows=state.windows + len(probabilities),
            received=state.received + len(samples),
        )
        origin, endpoint = state.origin, state.endpoint
        first = state.received - len(state.recent)  # of the recent samples
        begun = state.received - len(samples)  # what came before has been handed on
        parts: list[Part] = []
        while True:
            speech = self._speech(origin, endpoint.steps, state)
            end, endpoint = self._endpointer(speech, endpoint)
            if end is None:
                break
            last = origin + self._frontend.samples(endpoint.steps)
            own = state.recent[begun - first : last - first]
            parts.append(Part(origin, own, last, True, self._has_speech(endpoint)))
            origin = begun = origin + (endpoint.steps - end.lead) * self._step
            endpoint = self._endpointer.initial_state()
        rest = state.recent[begun - first :]
        parts.append(Part(origin, rest, state.received, False, self._has_speech(endpoint)))
        return parts, replace(
            state,
            origin=origin,
            endpoint=endpoint,
            recent=state.recent[-self._kept :].clone(),
            probabilities=state.probabilities[-self._kept_windows :],
        )

    def _speech(self, origin: int, begun: int, state: SegmenterState) -> list[float]:
        """Return how likely someone spoke in each timestep that ``begun`` ones do not include.

        The windows of the detector are not those of the frontend: a timestep takes the last one
        that lies within what the timestep has seen.
        """
        seen = origin - state.voice_origin + self._frontend.window_samples
        dropped = state.windows - len(state.probabilities)
        indices = (
            (seen + step * self._step) // WINDOW_SAMPLES - 1 - dropped
            for step in range(begun, self._frontend.timesteps(state.received - origin))
        )
        return [state.probabilities[index] if index >= 0 else 0.0 for index in indices]

    def _has_speech(self, endpoint: EndpointState) -> bool:
        return not self._endpointer.is_noise(endpoint)
