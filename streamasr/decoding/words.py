"""From a stream's acoustic output to words: the decoder, and where in the audio its words stand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from ..acoustic import AcousticOutput, SecondPassInput
from ..errors import ConfigError
from ..hotwords import Hotword, as_hotwords
from ..transcript import Alternative, Transcript, Word, clipped
from .base import Decoder
from .beam import BeamDecoder, BeamState
from .greedy import GreedyState

__all__ = ["DecoderState", "WordDecoder"]

DecoderState = GreedyState | BeamState
"""What a decoder remembers of a stream: a value."""


class WordDecoder:
    """Acoustic output to words, chunk by chunk; any chunking gives the same words. Immutable.

    Args:
        decoder: finds them.
        part: of the log-posteriors, what ``decoder`` reads.
        delay_seconds: the model's delay, subtracted from the times of words.
    """

    def __init__(self, decoder: Decoder[Any], part: slice, delay_seconds: float = 0.0) -> None:
        self._decoder = decoder
        self._part = part
        self._delay = delay_seconds

    @property
    def unusable_hotwords(self) -> Sequence[tuple[Hotword, str]]:
        """The recognizer's hotwords that have no effect, each with the reason."""
        return self._decoder.unusable_hotwords if isinstance(self._decoder, BeamDecoder) else ()

    def initial_state(
        self, hotwords: Iterable[Hotword | str] = (), *, partials: bool = True
    ) -> DecoderState:
        """Return the state before the first timestep.

        ``hotwords`` are the stream's own, in place of the recognizer's. Raises ConfigError for
        those that cannot be used, and where the decoder is not the beam search. Whoever will not
        ask for ``partials`` gets better finals for less.
        """
        own = as_hotwords(hotwords)
        if not own and isinstance(self._decoder, BeamDecoder):
            return self._decoder.initial_state(partials=partials)
        if not own:
            state: DecoderState = self._decoder.initial_state()
            return state
        if not isinstance(self._decoder, BeamDecoder):
            raise ConfigError("hotwords need the beam search: decoder='beam'")
        bias, unusable = self._decoder.bias(own)
        if unusable:
            hotword, reason = unusable[0]
            raise ConfigError(f"the hotword {hotword.text!r} cannot be used: {reason}")
        return self._decoder.initial_state(bias, partials=partials)

    def renewed(self, state: DecoderState) -> DecoderState:
        """Return the state before the first timestep, with the hotwords of ``state``."""
        if isinstance(self._decoder, BeamDecoder) and isinstance(state, BeamState):
            return self._decoder.initial_state(state.bias, partials=state.partials)
        return self.initial_state()

    def __call__(
        self, output: AcousticOutput, state: DecoderState
    ) -> tuple[list[Word], DecoderState]:
        """Decode ``output``; return the words that are now final."""
        log_probs = output.log_probs[:, self._part]
        if isinstance(self._decoder, BeamDecoder) and isinstance(state, BeamState):
            words, after = self._decoder(log_probs, state, output.encoded, output.second)
            return self._placed(words), after
        words, state = self._decoder(log_probs, state)
        return self._placed(words), state

    def second_inputs(
        self, output: AcousticOutput, state: DecoderState, *, ended: bool
    ) -> list[SecondPassInput]:
        """Return what the second pass reads of ``output``, to be run for many streams in one.

        ``AcousticOutput.second`` takes what it makes of them; without, it runs in the call.
        ``ended`` says that ``finish`` follows.
        """
        if isinstance(self._decoder, BeamDecoder) and isinstance(state, BeamState):
            log_probs = output.log_probs[:, self._part]
            return self._decoder.second_inputs(log_probs, state, output.encoded, ended=ended)
        return []

    def finish(self, state: DecoderState) -> tuple[list[Word], DecoderState]:
        """End the segment: return the words that become final as nothing follows."""
        words, state = self._decoder.finish(state)
        return self._placed(words), state

    def partial(self, state: DecoderState) -> list[Word]:
        """Return the words that have begun and may still change."""
        return self._placed(self._decoder.partial(state))

    def firm(self, state: DecoderState) -> int:
        """Return how many of the first words of ``partial`` can no longer change."""
        return self._decoder.firm(state)

    def alternatives(self, state: DecoderState) -> tuple[Alternative, ...]:
        """Return the best hypotheses for what is final, if more than one was asked for."""
        if isinstance(self._decoder, BeamDecoder) and isinstance(state, BeamState):
            return self._decoder.alternatives(state)
        return ()

    def transcript(self, output: AcousticOutput, duration: float) -> Transcript:
        """Decode all of a recording.

        ``output`` includes that of the closing silence, which ``duration``, in seconds, does not.
        """
        words, state = self(output, self.initial_state(partials=False))
        last, state = self.finish(state)
        said = tuple(clipped(word, duration) for word in (*words, *last))
        return Transcript(said, duration, self.alternatives(state))

    def _placed(self, words: list[Word]) -> list[Word]:
        """Subtract the model's delay from the times of words."""
        if not self._delay:
            return words
        return [
            replace(
                word, start=max(0.0, word.start - self._delay), end=max(0.0, word.end - self._delay)
            )
            for word in words
        ]
