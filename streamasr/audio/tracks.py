"""Choose one of a container's audio tracks."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .decoder import NotAudio
from .frames import as_samples

if TYPE_CHECKING:
    from av import AudioFrame, AudioStream
    from av.container import InputContainer

__all__ = ["AUDIBLE", "candidates", "choose_track", "describe", "sounding_track"]

AUDIBLE = 1e-3
"""A track whose samples all stay below this, -60 dBFS, is silent."""

WAIT_SECONDS = 20.0
"""How long the default track may be silent before another one that is not is taken."""

_MOST_CANDIDATES = 8


def choose_track(
    container: "InputContainer", wanted: int | str | None
) -> tuple["AudioStream", list["AudioStream"]]:
    """Return the chosen track, and all audio tracks.

    Args:
        container: an open container.
        wanted: a number from 1, or a language in any of its codes; None: the default track.

    Raises:
        NotAudio: there is no such track, or none that can be decoded.
    """
    from av import AudioStream

    tracks = list(container.streams.audio)
    if not tracks:
        raise NotAudio("contains no audio track")
    usable = [track for track in tracks if _can_be_decoded(track)]
    if wanted is not None:
        track = _find(tracks, wanted)
        if track not in usable:
            raise NotAudio("that audio track is in a format that FFmpeg here cannot decode")
        return track, tracks
    if not usable:
        raise NotAudio("its audio track is in a format that FFmpeg here cannot decode")
    best = container.streams.best("audio")
    if isinstance(best, AudioStream) and best in usable:
        return best, tracks
    return usable[0], tracks


def describe(tracks: Sequence["AudioStream"], chosen: "AudioStream", why: str = "") -> str:
    """Return a note on which of several tracks was chosen."""
    names = ", ".join(_name(tracks, track) for track in tracks)
    return (
        f"has {len(tracks)} audio tracks, {names}: using {_name(tracks, chosen)}{why}; "
        "--track takes another"
    )


def sounding_track(
    frames: Iterator[tuple["AudioStream", "AudioFrame"]],
    default: "AudioStream",
    decide: Callable[["AudioStream"], None],
) -> Iterator[tuple["AudioStream", "AudioFrame"]]:
    """Yield the frames of the default track, or of the loudest one if it stays silent.

    Frames are held back until the default track sounds, `WAIT_SECONDS` at most.

    Args:
        frames: frames of all candidates, each with its track, in the container's order.
        default: the track to prefer.
        decide: called with the track once it is chosen; `frames` need bring no others then.
    """
    held: list[tuple[AudioStream, AudioFrame]] = []
    loudest = {default.index: 0.0}
    track_of = {default.index: default}
    waited = 0.0
    for track, frame in frames:
        held.append((track, frame))
        track_of[track.index] = track
        loudest[track.index] = max(loudest.get(track.index, 0.0), _peak(frame))
        if track.index == default.index:
            waited += frame.samples / frame.sample_rate
        if loudest[default.index] >= AUDIBLE or waited >= WAIT_SECONDS:
            break
    chosen = default
    if loudest[default.index] < AUDIBLE:
        best = max(loudest, key=lambda index: loudest[index])
        chosen = track_of[best] if loudest[best] >= AUDIBLE else default
    decide(chosen)
    yield from ((track, frame) for track, frame in held if track.index == chosen.index)
    del held
    yield from ((track, frame) for track, frame in frames if track.index == chosen.index)


def candidates(tracks: Sequence["AudioStream"], default: "AudioStream") -> list["AudioStream"]:
    """Return the tracks to listen to until it is known which one sounds."""
    others = [track for track in tracks if track is not default and _can_be_decoded(track)]
    return [default, *others[: _MOST_CANDIDATES - 1]]


def _find(tracks: Sequence["AudioStream"], wanted: int | str) -> "AudioStream":
    named = ", ".join(_name(tracks, track) for track in tracks)
    if isinstance(wanted, int) or wanted.isdecimal():
        number = int(wanted)
        if not 1 <= number <= len(tracks):
            raise NotAudio(f"has no audio track {number}; there are {named}")
        return tracks[number - 1]
    tagged = [(track, _language(track)) for track in tracks]
    same = [track for track, tag in tagged if tag.casefold() == wanted.casefold()]
    alike = same or [track for track, tag in tagged if tag and _is_language(wanted, tag)]
    if alike:
        return alike[0]
    raise NotAudio(f"has no audio track in {wanted!r}; there are {named}")


def _is_language(wanted: str, tag: str) -> bool:
    """Whether a container's tag is of the ``wanted`` language, in whichever code.

    Containers have ISO 639-2 ("ger" or "deu") or BCP 47 ("de-CH") where a person says "de". A
    script or region that only one of them names does not part them.
    """
    import langcodes

    try:
        asked, found = langcodes.get(wanted), langcodes.get(tag)
    except ValueError:  # no code of a language
        return False
    return asked.language in (found.language, found.prefer_macrolanguage().language) and all(
        a is None or b is None or a == b
        for a, b in ((asked.script, found.script), (asked.territory, found.territory))
    )


def _name(tracks: Sequence["AudioStream"], track: "AudioStream") -> str:
    number = next(n for n, each in enumerate(tracks, 1) if each.index == track.index)
    words = [_language(track), track.metadata.get("title", "")]
    inside = " ".join("".join(c for c in word if c.isprintable()) for word in words if word)
    return f"{number} ({inside})" if inside else str(number)


def _language(track: "AudioStream") -> str:
    language = track.metadata.get("language", "")
    return "" if language == "und" else language


def _can_be_decoded(track: "AudioStream") -> bool:
    return track.codec_context is not None and track.codec_context.sample_rate > 0


def _peak(frame: "AudioFrame") -> float:
    return float(np.abs(as_samples(frame)).max(initial=0.0))
