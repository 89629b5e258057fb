"""What a person sees while talking: finals as lines, below them the partial and a status line.

Only the lines below are ever drawn again, each time in one write and at most ten times a second.
"""

from __future__ import annotations

import math
import time
from collections import deque

import numpy as np
from numpy.typing import NDArray
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from ..events import Event

__all__ = ["LiveView", "Meter"]

REFRESH_SECONDS = 0.1
PARTIAL_LINES = 4
METER_WIDTH = 10
QUIETEST_DB = -60.0
SILENT_DB = -75.0
HINT_SECONDS = 3.0


class Meter:
    """The level of the microphone: peaks of the last moments, and what is wrong with them."""

    def __init__(self) -> None:
        self._peaks: deque[tuple[float, float]] = deque([(0.0, 0.0)], maxlen=1000)
        self._heard = 0.0
        self._loud_at = 0.0
        self._clipped_at = -math.inf

    def update(self, samples: NDArray[np.float32]) -> None:
        """Look at ``samples (n,)`` at 16 kHz."""
        if not len(samples):
            return
        peak = float(np.abs(samples).max())
        self._heard += len(samples) / 16_000
        self._peaks.append((self._heard, peak))
        if _decibels(peak) > SILENT_DB:
            self._loud_at = self._heard
        if peak >= 0.99:
            self._clipped_at = self._heard

    @property
    def level(self) -> float:
        """The peak of the last 0.3 s, in dB of full scale."""
        return _decibels(max(p for at, p in self._peaks if at >= self._heard - 0.3))

    @property
    def hint(self) -> str:
        """What to do about the level, if anything."""
        if self._heard - self._clipped_at < HINT_SECONDS:
            return "clipping: turn it down"
        if self._heard - self._loud_at > HINT_SECONDS:
            return "silent: is it muted?"
        return ""

    def bar(self) -> str:
        """The level as a bar of ``METER_WIDTH`` characters."""
        share = (self.level - QUIETEST_DB) / -QUIETEST_DB
        full = round(METER_WIDTH * min(1.0, max(0.0, share)))
        return "█" * full + "░" * (METER_WIDTH - full)


class LiveView:
    """The lines on a terminal. A context manager.

    Args:
        console: the terminal.
        facts: what never changes, such as the backend; the least important part of the status.
    """

    def __init__(self, console: Console, facts: str = "") -> None:
        self._console = console
        self.facts = facts
        self.meter = Meter()
        self._forms: tuple[str, ...] = ()
        self._firm = 0
        self._latency: float | None = None
        self._message = ""
        self._drawn_at = 0.0
        self._live = Live(
            console=console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            vertical_overflow="crop",
        )

    def __enter__(self) -> LiveView:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.update(Text(""))
        self._live.stop()

    @property
    def is_stdout(self) -> bool:
        """Whether what is shown stands on stdout."""
        return not self._console.stderr

    def show(self, event: Event) -> None:
        """Take in an event: a final becomes a line that stays, a partial the text below it."""
        if event.type == "gap":
            self._console.print(Text(event.description, style="yellow"))
            return
        if event.type == "partial":
            # A final's latency holds the silence that it waited for.
            self._latency = event.latency_ms
            self._forms, self._firm = tuple(event.forms), event.firm
            return
        self._forms, self._firm = (), 0
        if event.text:
            self._console.print(Text(event.text))

    def say(self, message: str) -> None:
        """Show a note in place of the meter, until an empty one comes."""
        self._message = message

    def refresh(self, seconds: float, rtf: float, *, now: bool = False) -> None:
        """Draw again, unless that was a moment ago; ``seconds`` is the time elapsed."""
        at = time.monotonic()
        if not now and at - self._drawn_at < REFRESH_SECONDS:
            return
        self._drawn_at = at
        self._live.update(self.render(seconds, rtf), refresh=True)

    def render(self, seconds: float, rtf: float) -> Group:
        """Return the lines as they are now."""
        return Group(*self._partial_lines(), self._status(seconds, rtf))

    def _partial_lines(self) -> list[Text]:
        firm = self._firm
        text = Text(" ".join(filter(None, self._forms[:firm])))
        rest = " ".join(filter(None, self._forms[firm:]))
        if text and rest:
            text.append(" ")
        text.append(rest, style="dim")
        # A rewrapped line must not move the rest about: all lines but the last stay as they are.
        return list(text.wrap(self._console, self._console.width))[-PARTIAL_LINES:]

    def _status(self, seconds: float, rtf: float) -> Text:
        meter = self._message or " ".join(filter(None, (self.meter.bar(), self.meter.hint)))
        whole = int(seconds)
        parts = [f"{whole // 60:d}:{whole % 60:02d}"]
        if self._latency is not None:
            parts.append(f"latency {self._latency:.0f} ms")
        parts += [f"RTF {rtf:.2f}", self.facts, "Ctrl-C ends"]
        line = meter
        for part in parts:
            if part and len(line) + 3 + len(part) <= self._console.width:
                line = f"{line} · {part}"
        style = "yellow" if self._message or self.meter.hint else "cyan"
        status = Text(line, style="dim", no_wrap=True, overflow="ellipsis")
        status.stylize(f"not dim {style}", 0, len(meter))
        return status


def _decibels(peak: float) -> float:
    return 20 * math.log10(max(peak, 1e-6))
