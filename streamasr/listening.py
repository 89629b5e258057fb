"""Live recognition: blocks of samples in, events out.

Each segment is a stream of its own: at an endpoint the decoder, ``(h, C)`` and the frontend begin
afresh, as for a listener who has heard nothing. The model was trained on utterances that begin so,
and makes fewer errors than with the state of what came before (docs/RESULTS.md). What the fresh
stream hears first is the end of the silence, again: the model answers late, and a word that begins
just there would otherwise lose its first sound.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike

from .audio.live import Block
from .audio.polyphase import ResamplingState, checked_rate, convert, flush, heard_at
from .endpoint import EndpointConfig, Endpointer, EndpointState
from .events import Event, agreement
from .recognizer import LISTEN_CHUNK_MS, Recognizer, StreamState
from .samples import as_samples
from .transcript import Word
from .vad import WINDOW_SAMPLES, VoiceDetector, VoiceState

__all__ = ["ListenState", "Listener", "Listening", "listen"]

HOLD_SECONDS = 0.08
"""How long a word must stand in the decoder's best hypothesis to be shown in a partial.

Without it a quarter of the words that the beam search shows change again (docs/RESULTS.md).
"""


@dataclass(frozen=True, slots=True)
class ListenState:
    """All that is remembered of a session. A value.

    ``origin`` is the sample of the session at which ``stream``, fresh then, began; ``recent`` are
    the newest samples, as far back as the next segment may begin. ``voice`` began at sample
    ``voice_origin``, has heard ``windows`` windows, and ``speech`` is what it said of the newest.
    ``words`` are those of the segment that the decoder will not change, ``shown`` all that the last
    partial showed, the first ``firm`` of which can no longer change, and ``guesses`` the latest
    hypotheses, each with the sample at which it stood.
    """

    stream: StreamState
    endpoint: EndpointState
    recent: torch.Tensor
    voice: VoiceState
    speech: tuple[float, ...] = ()
    windows: int = 0
    voice_origin: int = 0
    origin: int = 0
    segment: int = 0
    words: tuple[Word, ...] = ()
    shown: tuple[Word, ...] = ()
    firm: int = 0
    guesses: tuple[tuple[int, tuple[str, ...]], ...] = ()

    @property
    def heard(self) -> int:
        """Samples of the session so far, lost ones included."""
        return self.origin + self.stream.samples


class Listening:
    """Recognition with endpoints: ``(samples, state) -> (events, state)``. Immutable.

    Events leave here without their latency, which only a clock can tell.
    """

    def __init__(self, recognizer: Recognizer, endpoint: EndpointConfig | None = None) -> None:
        config = recognizer.config
        endpoint = endpoint or EndpointConfig()
        self.recognizer = recognizer
        self._step_samples = config.frontend.step_samples
        self._window_samples = config.frontend.window_samples
        self._endpointer = Endpointer(endpoint, config.frontend.step_seconds)
        self.detector = VoiceDetector()
        self._kept = self._endpointer.lead_steps * self._step_samples + self._window_samples
        self._kept_windows = self._kept // WINDOW_SAMPLES + 2

    def initial_state(self) -> ListenState:
        """Return the state of a session that has heard nothing."""
        return ListenState(
            self.recognizer.initial_state(),
            self._endpointer.initial_state(),
            torch.zeros(0),
            self.detector.initial_state(),
        )

    def advance(self, samples: torch.Tensor, state: ListenState) -> tuple[list[Event], ListenState]:
        """Hear ``samples (n,)``, 16 kHz float32; return what is now final, and the state."""
        speech, voice = self.detector(samples, state.voice)
        state = self.hear(samples, speech, replace(state, voice=voice))
        log_probs, stream = self.recognizer.log_probs(samples, state.stream)
        events: list[Event] = []
        while True:
            found, again, state = self.take(log_probs, stream, state)
            events += found
            if again is None:
                return events, state
            log_probs, stream = self.recognizer.log_probs(again, state.stream)

    def hear(
        self, samples: torch.Tensor, speech: Sequence[float], state: ListenState
    ) -> ListenState:
        """Note ``samples (n,)`` and what the voice detector says of them.

        With ``take``, what ``advance`` does around the two models: one pass of theirs can so hear
        many sessions.
        """
        return replace(
            state,
            recent=torch.cat([state.recent, samples]),
            speech=(*state.speech, *speech),
            windows=state.windows + len(speech),
        )

    def take(
        self, log_probs: torch.Tensor, stream: StreamState, state: ListenState
    ) -> tuple[list[Event], torch.Tensor | None, ListenState]:
        """Take ``log_probs (T, V + P)`` and the ``stream`` after them.

        Returns what is now final; the samples, if a segment has ended, that the fresh stream of the
        new state must hear before any others; and the state.
        """
        speech = self._speech(len(log_probs), state)
        end, endpoint = self._endpointer(speech, state.endpoint)
        heard = log_probs if end is None else log_probs[: end.steps]
        words, decoded = self.recognizer.decode(
            heard, replace(stream, decoder=state.stream.decoder)
        )
        state = self._with_words(replace(state, stream=decoded, endpoint=endpoint), words)
        if end is None:
            return (
                [],
                None,
                replace(
                    state,
                    recent=state.recent[-self._kept :],
                    speech=state.speech[-self._kept_windows :],
                ),
            )
        origin = state.origin + (state.endpoint.steps - end.lead) * self._step_samples
        events, state = self._close(state)
        again = state.recent[len(state.recent) - (state.heard - origin) :]
        fresh = replace(
            state,
            stream=self.recognizer.initial_state(),
            endpoint=self._endpointer.initial_state(),
            origin=origin,
            recent=again,
        )
        return events, again, fresh

    def partial(self, state: ListenState) -> tuple[list[Event], ListenState]:
        """Return the segment as it looks now, if that has changed, and the state that knows.

        Words are shown once they have stood for ``HOLD_SECONDS``, and taken back only for others.
        """
        if self._endpointer.is_noise(state.endpoint):
            return [], state
        open_words = self._shifted(self.recognizer.partial(state.stream), state)
        words = (*state.words, *open_words)
        guess = tuple(word.text for word in words)
        count, guesses = self._settled(guess, state)
        state = replace(state, guesses=guesses)
        firm = len(state.words) + self.recognizer.firm(state.stream)
        settled = words[: max(count, firm)]
        same = agreement([w.text for w in settled], [w.text for w in state.shown]) == len(settled)
        if same and firm <= state.firm:
            return [], state
        if same:
            settled = state.shown  # nothing is taken back but for other words
        state = replace(state, shown=settled, firm=firm)
        return [replace(_text_event("partial", state.segment, settled), firm=firm)], state

    def _settled(
        self, guess: tuple[str, ...], state: ListenState
    ) -> tuple[int, tuple[tuple[int, tuple[str, ...]], ...]]:
        """Return how many words of ``guess`` have stood long enough, and the guesses to keep."""
        hold = HOLD_SECONDS * self.recognizer.sample_rate
        count, kept = len(guess), [(state.heard, guess)]
        for at, before in reversed(state.guesses):
            kept.append((at, before))
            count = min(count, agreement(guess, before))
            if state.heard - at >= hold:
                return count, tuple(reversed(kept))
        return 0, tuple(reversed(kept))

    def break_off(
        self, state: ListenState, lost_seconds: float = 0.0, reason: str = ""
    ) -> tuple[list[Event], ListenState]:
        """End the segment, since nothing follows, or only after ``lost_seconds``."""
        log_probs, _ = self.recognizer.log_probs(self.recognizer.closing_silence(), state.stream)
        events, state = self.end(log_probs, state)
        rate = self.recognizer.sample_rate
        fresh = self.following(state, round(lost_seconds * rate))
        if lost_seconds:
            begun, ended = state.heard / rate, fresh.origin / rate
            events = [*events, Event("gap", state.segment, begun, ended, reason=reason)]
        return events, fresh

    def following(self, state: ListenState, lost_samples: int = 0) -> ListenState:
        """Return the state of a session that begins afresh behind ``state``, whose segment ended.

        Times and segments count on; ``lost_samples`` lie between.
        """
        origin = state.heard + lost_samples
        fresh = self.initial_state()
        return replace(fresh, origin=origin, voice_origin=origin, segment=state.segment)

    def end(self, log_probs: torch.Tensor, state: ListenState) -> tuple[list[Event], ListenState]:
        """End the segment, where ``log_probs`` are the model's answer to the closing silence."""
        if not state.stream.samples:
            return self._close(state)
        words, stream = self.recognizer.decode(log_probs, state.stream)
        last, stream = self.recognizer.close(stream)
        # The closing silence may carry a word past the end.
        end = state.stream.samples / self.recognizer.sample_rate
        words = [replace(w, start=min(w.start, end), end=min(w.end, end)) for w in (*words, *last)]
        return self._close(self._with_words(replace(state, stream=stream), words))

    def _close(self, state: ListenState) -> tuple[list[Event], ListenState]:
        """Return the segment's final, if it has any words or ever seemed to, and what follows."""
        words, stream = self.recognizer.close(state.stream)
        state = self._with_words(replace(state, stream=stream), words)
        events = []
        if state.words and not self._endpointer.is_noise(state.endpoint):
            events = [_text_event("final", state.segment, state.words)]
        elif state.shown:
            at = state.shown[-1].end
            events = [Event("final", state.segment, at, at)]
        return events, replace(
            state, segment=state.segment + len(events), words=(), shown=(), firm=0, guesses=()
        )

    def _speech(self, steps: int, state: ListenState) -> list[float]:
        """Return how likely someone spoke in each of the ``steps`` newest timesteps.

        The windows of the detector are not those of the frontend: a timestep takes the last one
        that lies within what the timestep has seen.
        """
        first = state.endpoint.steps
        seen = state.origin - state.voice_origin + self._window_samples
        dropped = state.windows - len(state.speech)
        indices = (
            (seen + step * self._step_samples) // WINDOW_SAMPLES - 1 - dropped
            for step in range(first, first + steps)
        )
        return [state.speech[index] if index >= 0 else 0.0 for index in indices]

    def _with_words(self, state: ListenState, words: list[Word]) -> ListenState:
        return replace(state, words=(*state.words, *self._shifted(words, state)))

    def _shifted(self, words: list[Word], state: ListenState) -> list[Word]:
        """Put a stream's words where they were said in the session."""
        offset = state.origin / self.recognizer.sample_rate
        return [replace(w, start=w.start + offset, end=w.end + offset) for w in words]


def _text_event(kind: Literal["partial", "final"], segment: int, words: tuple[Word, ...]) -> Event:
    return Event(kind, segment, words[0].start, max(w.end for w in words), words)


class Listener:
    """One live session: ``accept`` blocks as they come, then ``finish``; both return events.

    Blocks are cut to ``chunk_ms`` for the model; how, changes no final.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        endpoint: EndpointConfig | None = None,
        *,
        chunk_ms: int = LISTEN_CHUNK_MS,
    ) -> None:
        self._listening = Listening(recognizer, endpoint)
        self._rate = recognizer.sample_rate
        self._chunk = recognizer.chunk_samples(chunk_ms)
        self._pending: list[torch.Tensor] = []
        self._pending_length = 0
        self._resampling: ResamplingState | None = None
        self._clock = 0.0
        self.state = self._listening.initial_state()

    @property
    def seconds(self) -> float:
        """Length of the session so far, lost audio included."""
        return (self.state.heard + self._pending_length) / self._rate

    def accept(self, block: Block | ArrayLike, sample_rate: int | None = None) -> list[Event]:
        """Hear a block from a ``Microphone``, or samples ``(n,)``: mono, floats or int16.

        ``sample_rate`` is theirs, in Hz, the model's (16000) when None; it may change on the way.
        Raises AudioError for NaN, infinity, other shapes and rates, having changed nothing.
        """
        if not isinstance(block, Block):
            block = Block(np.asarray(block), time.monotonic())
        rate = self._rate if sample_rate is None else checked_rate(sample_rate)
        before = self.state.heard + self._pending_length
        heard = heard_at(rate, self._rate, before, self._resampling)
        samples = as_samples(block.samples, heard, rate)
        events: list[Event] = []
        if block.reason:
            events += self._break_off(block.lost_seconds, block.reason)
        if rate != self._rate or self._resampling is not None:
            ready, self._resampling = convert(samples.numpy(), rate, self._rate, self._resampling)
            samples = torch.from_numpy(ready)
        if len(samples):
            self._pending.append(samples)
            self._pending_length += len(samples)
            self._clock = block.captured_at - self.seconds
        if self._pending_length >= self._chunk:
            waiting = torch.cat(self._pending)
            whole = len(waiting) - len(waiting) % self._chunk
            self._pending, self._pending_length = [waiting[whole:]], len(waiting) - whole
            for chunk in torch.split(waiting[:whole], self._chunk):
                found, self.state = self._listening.advance(chunk, self.state)
                events += self._stamped(found)
            partial, self.state = self._listening.partial(self.state)
            events += self._stamped(partial)
        return events

    def finish(self) -> list[Event]:
        """Hear the end: return the last final, if words are open."""
        return self._break_off()

    def _break_off(self, lost_seconds: float = 0.0, reason: str = "") -> list[Event]:
        events: list[Event] = []
        if self._resampling is not None:
            rest = torch.from_numpy(flush(self._resampling))
            self._pending.append(rest)
            self._pending_length += len(rest)
            self._resampling = None
        if self._pending_length:
            events, self.state = self._listening.advance(torch.cat(self._pending), self.state)
            self._pending, self._pending_length = [], 0
        last, self.state = self._listening.break_off(self.state, lost_seconds, reason)
        return self._stamped([*events, *last])

    def _stamped(self, events: Sequence[Event]) -> list[Event]:
        now = time.monotonic() - self._clock
        return [replace(e, latency_ms=1000 * max(0.0, now - e.end)) for e in events]


def listen(
    listener: Listener,
    blocks: Iterable[Block | ArrayLike] | None = None,
    *,
    sample_rate: int | None = None,
    device: int | str | None = None,
) -> Iterator[Event]:
    """Yield the events of ``blocks``, or of a microphone: see ``Recognizer.listen``."""
    with ExitStack() as stack:
        if blocks is None:
            from .audio.microphone import Microphone

            blocks = stack.enter_context(Microphone(device)).blocks()
        for block in blocks:
            yield from listener.accept(block, sample_rate)
        yield from listener.finish()
