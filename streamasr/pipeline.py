"""The stages of live recognition, one after the other: samples in, events out.

Each segment is a stream of its own: the decoder, ``(h, C)`` and the frontend begin afresh, as for a
new stream. The model was trained on utterances that begin so, and makes fewer
errors than with the state of what came before (docs/experiments.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from .acoustic import AcousticOutput, AcousticStage, AcousticState
from .decoding import SegmentDecoder, SegmentState, WordDecoder
from .events import Event
from .segment import EndpointConfig, Part, Segmenter, SegmenterState
from .text.format import Formatter
from .text.live import EventFormatState, EventFormatter

__all__ = ["ListenState", "LivePipeline"]


@dataclass(frozen=True, slots=True)
class ListenState:
    """The state of a session: the states of its stages. A value. Plain text has no ``text``."""

    segmenter: SegmenterState
    acoustic: AcousticState
    decoding: SegmentState
    text: EventFormatState | None = None

    @property
    def received(self) -> int:
        """Samples of the session so far, lost ones included."""
        return self.segmenter.received


class LivePipeline:
    """Recognition with endpoints: ``(samples, state) -> (events, state)``. Immutable.

    The stages one after the other, the last of them only with a ``formatter``; ``forward`` runs the
    second for many sessions at once.
    """

    def __init__(
        self,
        acoustic: AcousticStage,
        words: WordDecoder,
        endpoint: EndpointConfig | None = None,
        formatter: Formatter | None = None,
    ) -> None:
        self.segmenter = Segmenter(acoustic.frontend, endpoint)
        self.acoustic = acoustic
        self.decoding = SegmentDecoder(words, acoustic.frontend.sample_rate)
        self.text = EventFormatter(formatter) if formatter else None

    def initial_state(self) -> ListenState:
        """Return the state of a new session."""
        return ListenState(
            self.segmenter.initial_state(),
            self.acoustic.initial_state(),
            self.decoding.initial_state(),
            self.text.initial_state() if self.text else None,
        )

    def advance(self, samples: torch.Tensor, state: ListenState) -> tuple[list[Event], ListenState]:
        """Accept ``samples (n,)``, 16 kHz float32; return what is now final, and the state."""
        parts, segmenter = self.segmenter(samples, state.segmenter)
        return self._decode(parts, replace(state, segmenter=segmenter))

    def forward(
        self, parts: Sequence[Sequence[Part]], states: Sequence[AcousticState]
    ) -> list[tuple[list[AcousticOutput], AcousticState]]:
        """Run the model over the parts of several sessions, in one pass.

        The first part of each goes on from its state; one behind a part that ended begins afresh.
        """
        fresh = self.acoustic.initial_state()
        samples = [part.samples for own in parts for part in own]
        befores = [
            state if place == 0 else fresh
            for own, state in zip(parts, states, strict=True)
            for place in range(len(own))
        ]
        found = iter(self.acoustic.many(samples, befores))
        made = []
        for own in parts:
            outputs, afters = zip(*(next(found) for _ in own), strict=True)
            made.append(([*outputs], fresh if own[-1].ended else afters[-1]))
        return made

    def partial(self, state: ListenState) -> tuple[list[Event], ListenState]:
        """Return the segment as it looks now, if that has changed, and the state that knows."""
        events, decoding = self.decoding.partial(state.decoding)
        return self._formatted(events, replace(state, decoding=decoding))

    def end_segment(
        self, state: ListenState, lost_seconds: float = 0.0, reason: str = ""
    ) -> tuple[list[Event], ListenState]:
        """End the segment, since nothing follows, or only after ``lost_seconds``."""
        lost = round(lost_seconds * self.segmenter.sample_rate)
        part, segmenter = self.segmenter.end(state.segmenter, lost)
        events, state = self._decode([part], replace(state, segmenter=segmenter))
        if lost_seconds:
            events.append(self.decoding.gap(lost, reason, state.decoding))
        return events, state

    def _decode(self, parts: Sequence[Part], state: ListenState) -> tuple[list[Event], ListenState]:
        """Run the model over the parts of a session, and decode what it made of them."""
        ((outputs, acoustic),) = self.forward([parts], [state.acoustic])
        events: list[Event] = []
        decoding = state.decoding
        for part, output in zip(parts, outputs, strict=True):
            found, decoding = self.decoding(part, output, decoding)
            events += found
        return self._formatted(events, replace(state, acoustic=acoustic, decoding=decoding))

    def _formatted(
        self, events: Sequence[Event], state: ListenState
    ) -> tuple[list[Event], ListenState]:
        if self.text is None or state.text is None:
            return [*events], state
        formatted, text = self.text.many(events, state.text)
        return formatted, replace(state, text=text)
