"""Container time: gaps between timestamps are silence, a late start is an offset."""

from collections.abc import Callable

__all__ = ["GAP_SECONDS", "MOST_SILENCE", "Timeline"]

GAP_SECONDS = 0.1
"""Shorter gaps are jitter: WebM rounds to milliseconds, Vorbis blocks vary, encoders have delay."""

MOST_SILENCE = 3600.0
"""Seconds of silence that a recording's timestamps may add, in all."""

_NOTED = 1.0
"""Browsers leave out what is silent, up to 0.4 s at a time; longer gaps are reported."""
_NOTED_START = 10.0
_LISTED = 5


class Timeline:
    """Says how much silence stands before each frame of a track.

    Timestamps that go back, where recordings were joined, are counted on from where they are.

    Args:
        zero: time, in seconds, at which the recording begins.
        note: called with what a listener should know.

    Attributes:
        position: seconds of audio and silence so far.
    """

    def __init__(self, zero: float, note: Callable[[str], None]) -> None:
        self._zero = zero
        self._note = note
        self._silence = 0.0
        self._gaps: list[tuple[float, float]] = []
        self._begun = self._jumped = False
        self.position = 0.0

    def silence_before(self, time: float | None) -> float:
        """Return the seconds of silence before a frame with this timestamp, None if it has none."""
        gap = 0.0 if time is None else time - self._zero - self.position
        begun, self._begun = self._begun, True
        if abs(gap) <= GAP_SECONDS:
            return 0.0
        if gap > 0 and self._silence + gap <= MOST_SILENCE:
            self._silence += gap
            if begun and gap >= _NOTED:
                self._gaps.append((self.position, gap))
            elif gap >= _NOTED_START:
                self._note(f"its sound begins at {gap:.2f} s; it is silent until then")
            self.position += gap
            return gap
        self._zero += gap
        if gap > 0 and not self._jumped:
            self._jumped = True
            self._note(
                f"its timestamps jump by {gap:.0f} s at {self.position:.2f} s: "
                "not taken for silence, so that what follows is timed as if it joined"
            )
        return 0.0

    def advance(self, seconds: float) -> None:
        """Count audio."""
        self.position += seconds

    def end(self) -> None:
        """Report the gaps."""
        if not self._gaps:
            return
        listed = ", ".join(f"{gap:.2f} s at {at:.2f} s" for at, gap in self._gaps[:_LISTED])
        if len(self._gaps) > _LISTED:
            total = sum(gap for _, gap in self._gaps)
            listed += f" and so on, {len(self._gaps)} in all, {total:.2f} s"
        self._note(f"sound is missing by its timestamps, and replaced by silence: {listed}")
