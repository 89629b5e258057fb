"""Expand files, folders, patterns and manifests to recordings."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import ConfigError, StreamasrError
from ..paths import STDIN, is_address, one_line, unusable

__all__ = ["EXTENSIONS", "Input", "expand", "is_collection"]

_READABLE = """
    3g2 3ga 3gp aac ac3 adts aif aifc aiff alac amr ape
    asf au avi avr awb caf dff divx dsf dss dts dv
    eac3 ec3 f4a f4v flac flv gsm ircam isma ismv loas
    m2a m2t m2ts m2v m4a m4b m4r m4v mka mkv mlp mov
    mp1 mp2 mp3 mp4 mpa mpc mpeg mpg mpga mts mxf nist
    nut oga ogg ogm ogv ogx oma opus paf qcp qt ra
    rf64 rm rmvb sf shn snd sox sph spx tak thd ts
    tta vob voc vqf w64 wav wave weba webm wma wmv wtv
    wv xwma
"""
EXTENSIONS = frozenset(f".{name}" for name in _READABLE.split())
"""What is taken for a recording in a folder: what libsndfile and FFmpeg read and people have."""

MANIFEST = ".tsv"
_TRANSPORT_STREAM = (".ts", ".mts")
"""TypeScript's extensions, too; each packet of a transport stream begins with 0x47, a G."""
_PACKETS = ((0, 188), (4, 192))
"""Where a stream's first packet begins, and how long packets are."""
_MOST_KINDS = 5


@dataclass(frozen=True, slots=True)
class Input:
    """A recording, and where its transcript belongs below the output folder, less the extension.

    ``named`` is one that was given itself, not found in a folder, pattern or manifest.
    """

    path: str
    place: Path
    named: bool


def is_collection(name: str) -> bool:
    """Whether ``name`` is a folder, a manifest, or a pattern: perhaps many recordings."""
    # Not Path.is_dir(), which fails for a name that is too long or out of reach.
    return (
        os.path.isdir(name)  # noqa: PTH112
        or name.endswith(MANIFEST)
        or (glob.has_magic(name) and not os.path.lexists(name))
    )


def expand(
    names: Sequence[str],
    report: Callable[[str], None],
    note: Callable[[str], None] = lambda _: None,
    *,
    in_folder: bool = True,
) -> list[Input]:
    """Expand ``names`` to recordings, in order, each once; for stdout as often as named.

    Folders are searched to the bottom, links to folders and hidden files left alone. Transcripts of
    a folder's recordings mirror it; so do those of a pattern below its last plain folder, and of a
    manifest. What is missing or cannot be read is passed to ``report``, a line each, and what a
    folder has besides recordings to ``note``.

    Raises StreamasrError where two recordings would share a transcript ``in_folder``.
    """
    found: list[Input] = []
    known: set[str] = set()
    for name in names:
        for item in _expand_one(name, report, note):
            if item.named and (problem := unusable(item.path)):
                report(problem)
            elif item.path not in known or (item.named and not in_folder):
                known.add(item.path)
                found.append(item)
    return _apart(found) if in_folder else found


def _expand_one(
    name: str, report: Callable[[str], None], note: Callable[[str], None]
) -> Iterator[Input]:
    path = Path(name)
    if os.path.isdir(name):  # noqa: PTH112
        yield from _in_folder(path, report, note)
    elif glob.has_magic(name) and not os.path.lexists(name) and not is_address(name):
        base = _base(name)
        # Links to folders are left alone by **: they may lead up again.
        rest = path.relative_to(base)
        hidden = any(part.startswith(".") for part in rest.parts)
        matches = sorted(
            match
            for match in base.glob(os.fspath(rest))
            if not match.is_dir() and (hidden or not _is_hidden(match.relative_to(base)))
        )
        if not matches:
            report(f"{one_line(name)}: matches no file")
        for match in matches:
            yield _below(os.fspath(match), base)
    elif name.endswith(MANIFEST) and os.path.isfile(name):  # noqa: PTH113
        yield from _in_manifest(path, report)
    else:
        yield Input(name, Path("stdin" if name == STDIN else _stem(path)), named=True)


def _in_folder(
    folder: Path, report: Callable[[str], None], note: Callable[[str], None]
) -> Iterator[Input]:
    left_out: Counter[str] = Counter()
    nothing = True
    for file in _search(folder, report):
        if _is_recording(file):
            nothing = False
            yield _below(os.fspath(file), folder)
        else:
            left_out[file.suffix.lower() or "without an extension"] += 1
    if nothing:
        report(f"{one_line(os.fspath(folder))}: a folder without recordings")
    if left_out:
        count = left_out.total()
        kinds = ", ".join(f"{n} {kind}" for kind, n in left_out.most_common(_MOST_KINDS))
        more = ", …" * (len(left_out) > _MOST_KINDS)
        note(
            f"{one_line(os.fspath(folder))}: {count} file{'s' * (count != 1)} left out, by name no "
            f"recording{'s' * (count != 1)} ({kinds}{more})"
        )


def _in_manifest(path: Path, report: Callable[[str], None]) -> Iterator[Input]:
    from ..manifest import read_manifest

    try:
        utterances = read_manifest(path, labelled=False, report=report)
    except ConfigError as error:
        report(str(error))
        return
    for utterance in utterances:
        audio = os.fspath(utterance.path)
        if problem := unusable(audio):
            report(problem)
        else:
            yield _below(audio, path.parent)


def _search(folder: Path, report: Callable[[str], None]) -> Iterator[Path]:
    """Yield the files below ``folder`` that are not hidden."""

    def unreadable(error: OSError) -> None:
        report(f"{error.filename}: cannot be searched ({(error.strerror or str(error)).lower()})")

    for root, folders, files in os.walk(folder, onerror=unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for file in sorted(files):
            # macOS leaves ._name.wav beside each name.wav on other systems' disks.
            if not file.startswith("."):
                yield Path(root, file)


def _is_recording(path: Path) -> bool:
    suffix = path.suffix.lower()
    if suffix not in _TRANSPORT_STREAM:
        return suffix in EXTENSIONS
    try:
        with path.open("rb") as file:
            head = file.read(197)
    except OSError:
        return True  # opening it will report the reason
    return any(head[at::step][:2] == b"GG" for at, step in _PACKETS)


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _stem(path: Path) -> str:
    """Return a file's name without its extension; all of it where only dots would be left."""
    return path.stem if path.stem.strip(".") else path.name


def _base(pattern: str) -> Path:
    """Return the folder that all matches of ``pattern`` lie below."""
    parts = Path(pattern).parent.parts
    plain = next((i for i, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    return Path(*parts[:plain])


def _below(file: str, folder: Path) -> Input:
    path = Path(file)
    place = path.relative_to(folder) if path.is_relative_to(folder) else Path(path.name)
    if ".." in place.parts:
        place = Path(path.name)
    return Input(file, place.with_name(_stem(path)), named=False)


def _apart(inputs: Iterable[Input]) -> list[Input]:
    """Keep the extension in the place of recordings that differ in nothing else."""
    inputs = list(inputs)
    places = Counter(item.place for item in inputs)
    renamed = [
        item
        if places[item.place] == 1 or item.named
        else replace(item, place=item.place.with_name(Path(item.path).name))
        for item in inputs
    ]
    seen: dict[Path, str] = {}
    for item in renamed:
        if seen.setdefault(item.place, item.path) != item.path:
            raise StreamasrError(
                f"{seen[item.place]} and {item.path} would both be written to {item.place}"
            )
    return renamed
