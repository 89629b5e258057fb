"""Write a manifest of a data set: transcripts as they are said, parts of recordings as files."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from ..audio import SAMPLE_RATE, open_audio
from ..errors import ConfigError, OutputError
from ..failures import Failure, attempt, warn_of_failure
from ..manifest import Utterance, write_manifest
from ..paths import one_line
from .common_voice import read_common_voice
from .entry import Entry, Reader
from .kaldi import read_kaldi
from .lhotse import read_lhotse
from .librispeech import read_librispeech
from .nemo import read_nemo
from .parts import PartNames, cut, write_flac
from .spelling import Unsayable, as_said

__all__ = ["KINDS", "Kind", "Prepared", "parts_folder", "prepare"]

Kind = Literal["common-voice", "kaldi", "librispeech", "lhotse", "nemo"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_READERS: dict[Kind, Reader] = {
    "common-voice": read_common_voice,
    "kaldi": read_kaldi,
    "librispeech": read_librispeech,
    "lhotse": read_lhotse,
    "nemo": read_nemo,
}

_TOLERANCE = 0.5
"""Seconds that a part may go beyond the end of its recording, as in Kaldi's extract-segments."""
_WHOLE = 0.05
"""Seconds at either end that an utterance may lack and still be all of its recording."""
_SHORTEST = 0.1
"""Seconds of an utterance."""
_BREAKS_A_LINE = re.compile(r"[\t\n\r]")


@dataclass
class Prepared:
    """What was written: utterances, hours, parts cut out, transcripts with spelled-out numbers.

    ``unsayable`` counts the utterances that were left out by the sign that cannot be said ("" where
    there are no words), and ``examples`` has the first transcript of each.
    """

    utterances: int = 0
    hours: float = 0.0
    parts: int = 0
    numbers: int = 0
    unsayable: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)


def prepare(
    kind: Kind,
    source: Path,
    manifest: Path,
    on_failure: Callable[[Failure], None] = warn_of_failure,
    on_progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Prepared:
    """Write the ``manifest`` of a data set, and say what is in it.

    Recordings stay where they are. Where an utterance is a part of one, the part is written as FLAC
    into a folder beside the manifest, of the manifest's name without its ending. Recordings and
    lines that are wrong are passed to ``on_failure``, and the others go on.

    Args:
        kind: of the data set.
        source: a folder or file: the TSV file of a split of Common Voice, a data directory of
            Kaldi, a manifest of NeMo, cuts of Lhotse, any folder of LibriSpeech.
        manifest: the file to write.
        on_failure: told what is left out, but for transcripts that cannot be said.
        on_progress: told how many recordings of how many are done.

    Raises ConfigError where there is no such data set or nothing of it is left, OutputError.
    """
    if not source.exists():
        raise ConfigError(f"{source}: no such file or folder")
    if source.is_dir() and kind in ("nemo", "lhotse"):
        raise ConfigError(f"{source}: is a folder: give the manifest in it")
    if source.is_file() and kind in ("kaldi", "librispeech"):
        raise ConfigError(f"{source}: is a file: give the folder that holds it")
    manifest = manifest.absolute()
    if manifest in (source.absolute(), source.absolute() / "validated.tsv"):
        raise ConfigError(f"{manifest}: is the data set's own: give the manifest another name")
    prepared, folder = Prepared(), parts_folder(manifest)
    entries = _said(_READERS[kind](source, on_failure), prepared, on_failure)
    recordings = _by_recording(entries, PartNames(folder))
    utterances: dict[int, Utterance] = {}
    with ThreadPoolExecutor() as pool:
        for done, (found, failures) in enumerate(pool.map(_of_recording, recordings), start=1):
            utterances |= found
            for failure in failures:
                on_failure(failure)
            on_progress(done, len(recordings))
    if not utterances:
        raise ConfigError(f"{source}: nothing of it can be used")
    rows = [utterances[index] for index in sorted(utterances)]
    try:
        manifest.parent.mkdir(parents=True, exist_ok=True)
        write_manifest(manifest, rows)
    except OSError as error:
        raise OutputError(f"{manifest}: cannot be written ({error.strerror})") from error
    prepared.utterances = len(rows)
    prepared.hours = sum(row.duration for row in rows) / 3600
    prepared.parts = sum(row.path.parent == folder for row in rows)
    return prepared


def parts_folder(manifest: Path) -> Path:
    """Return the folder beside ``manifest`` that parts of recordings are written into."""
    return (
        manifest.with_suffix("")
        if manifest.suffix
        else manifest.with_name(f"{manifest.name}-parts")
    )


class _Planned(NamedTuple):
    """An utterance, its place in the manifest, and the file that it goes into if it is a part."""

    place: int
    entry: Entry
    part: Path


def _said(
    entries: Iterable[Entry], prepared: Prepared, on_failure: Callable[[Failure], None]
) -> Iterator[Entry]:
    """Yield the utterances whose transcript can be said, with that; count the others."""
    for entry in entries:
        try:
            text = as_said(entry.text)
        except Unsayable as problem:
            prepared.unsayable[problem.sign] += 1
            prepared.examples.setdefault(problem.sign, entry.text)
            continue
        if _BREAKS_A_LINE.search(str(entry.path)):
            name = one_line(str(entry.path))
            on_failure(Failure(entry.path, f"{name}: a manifest cannot hold a tab in a name"))
            continue
        prepared.numbers += any(map(str.isdigit, entry.text))
        yield replace(entry, text=text, speaker=" ".join(entry.speaker.split()))


def _by_recording(entries: Iterable[Entry], names: PartNames) -> list[list[_Planned]]:
    recordings: dict[Path, list[_Planned]] = {}
    for place, entry in enumerate(entries):
        part = names(entry.path, entry.name, entry.start)
        recordings.setdefault(entry.path, []).append(_Planned(place, entry, part))
    return [*recordings.values()]


def _of_recording(planned: list[_Planned]) -> tuple[dict[int, Utterance], list[Failure]]:
    """Return the utterances of one recording by their places, and what cannot be one."""
    path = planned[0].entry.path
    duration = attempt(path, partial(_duration, path))
    if isinstance(duration, Failure):
        return {}, [duration]
    utterances, failures, parts = {}, [], []
    for plan in planned:
        place, entry, _ = plan
        if problem := _beyond(entry, duration):
            failures.append(Failure(path, f"{path}: {problem}"))
        elif entry.start <= _WHOLE and entry.end >= duration - _WHOLE:
            utterances[place] = Utterance(path.absolute(), duration, entry.speaker, entry.text)
        else:
            parts.append(plan)
    parts.sort(key=lambda plan: plan.entry.start)
    samples_of = cut(path, [(plan.entry.start, plan.entry.end) for plan in parts])
    for number, (place, entry, part) in enumerate(parts):
        samples = attempt(path, partial(next, samples_of))
        if isinstance(samples, Failure):
            left = f"{samples.problem}; {len(parts) - number} of its parts are left out"
            return utterances, [*failures, Failure(path, left)]
        write_flac(part, samples)
        seconds = len(samples) / SAMPLE_RATE
        utterances[place] = Utterance(part, seconds, entry.speaker, entry.text)
    return utterances, failures


def _beyond(entry: Entry, duration: float) -> str:
    """Return why an utterance is no part of a recording of ``duration`` seconds, or nothing."""
    late = math.isfinite(entry.end) and entry.end > duration + _TOLERANCE
    if not late and min(entry.end, duration) - entry.start >= _SHORTEST:
        return ""
    name = f"utterance {entry.name}, " if entry.name else ""
    end = f"{entry.end:g} s" if math.isfinite(entry.end) else "the end"
    return f"{name}{entry.start:g} s to {end}, is no part of {duration:.2f} s"


def _duration(path: Path) -> float:
    """Return a recording's length, which is read where its header does not say."""
    with open_audio(path) as audio:
        if audio.duration is not None:
            return audio.duration
        return sum(map(len, audio.blocks())) / SAMPLE_RATE
