"""``streamasr enroll``: recordings of a voice, to adapt a model on."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import console
from .mic import DeviceOption, quiet_libraries

if TYPE_CHECKING:
    from ..audio.microphone import Microphone
    from ..enrollment import Session, Take

__all__ = ["enroll"]

_KEYS = "Enter keeps it, r records it again, s skips the sentence, q ends"
_TRIES = 3
"""Takes of a sentence before it is skipped, where nobody can press a key."""


def enroll(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Where recordings and manifest.tsv go.")
    ],
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="DIR",
            help="Take recordings from there, with txt, srt or vtt beside them or a csv or tsv.",
        ),
    ] = None,
    device: DeviceOption = None,
    count: Annotated[
        int, typer.Option("--count", "-n", min=1, help="Sentences to read, 40 at most.")
    ] = 20,
    speaker: Annotated[str, typer.Option("--speaker", help="Name in the manifest.")] = "me",
    hands_free: Annotated[
        bool,
        typer.Option("--hands-free", help="Wait for no key: keep every take that is good enough."),
    ] = False,
) -> None:
    """Show sentences and record each from the microphone, or collect recordings with --from.

    Interrupted, the same command goes on with the sentences that are not read yet. Where stdin is
    no terminal, it waits for no key.
    """
    from ..enrollment import Session

    session = Session(folder, speaker)
    if source is not None:
        _import(source, session)
        return
    from ..enrollment import sentences

    left = session.missing(sentences()[:count])
    if left:
        from ..audio.microphone import Microphone

        ask = None if hands_free or not sys.stdin.isatty() else _ask
        with quiet_libraries(), Microphone(device) as microphone:
            console.note(
                f"{microphone.device.name}: read each sentence aloud, as you speak; a take ends "
                "when you are silent"
            )
            _record(left, session, microphone, ask)
    _end(session)


def _record(
    left: list[str], session: Session, microphone: Microphone, ask: Callable[[], str] | None
) -> None:
    """Record the sentences that are left, until the last or until the speaker has enough."""
    from ..enrollment import record_take

    blocks = microphone.blocks()
    for number, sentence in enumerate(left, start=1):
        for attempt in range(1, _TRIES + 1 if ask is None else sys.maxsize):
            console.note(f"\n{number}/{len(left)}  {sentence}")
            # What was said while a key was waited for is no part of the take.
            since = time.monotonic() if ask is not None else 0.0
            take = record_take(blocks, sentence, since=since)
            console.note(f"   {take.level}" + (f": {take.problem}" if take.problem else ""))
            key = ask() if ask is not None else _decide(take, attempt)
            if key == "q":
                return
            if key == "s":
                break
            if key != "r" and len(take.samples):
                session.save(take.samples, sentence)
                break


def _decide(take: Take, attempt: int) -> str:
    """Return the key that is pressed for somebody who cannot."""
    if not take.problem:
        return ""
    return "r" if attempt < _TRIES else "s"


def _ask() -> str:
    try:
        return input(f"   {_KEYS}: ").strip().lower()[:1]
    except EOFError:
        return "q"


def _import(source: Path, session: Session) -> None:
    """Add what there is already; the exit code is 1 if any of it could not be read."""
    from ..enrollment.imports import import_recordings

    problems: list[str] = []

    def tell(problem: str) -> None:
        problems.append(problem)
        console.error(problem)

    counts = import_recordings(source, session, tell)
    what = {
        "transcribed": "with transcript",
        "cues": "cut out by subtitles",
        "untranscribed": "without transcript, which adapt will transcribe",
        "known": "there already",
    }
    console.note("; ".join(f"{counts[kind]} {words}" for kind, words in what.items()))
    _end(session)
    if problems:
        raise typer.Exit(1)


def _end(session: Session) -> None:
    if not session.rows:
        console.note("nothing was recorded")
        return
    console.note(
        f"{len(session.rows)} recordings, {session.seconds:.0f} s; next: "
        f"streamasr adapt {session.manifest} -o my-model"
    )
