"""Files, folders, patterns and manifests: the recordings that they mean."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import StreamasrError

__all__ = ["EXTENSIONS", "Input", "expand", "is_collection"]

EXTENSIONS = frozenset(
    f".{name}"
    for name in (
        *("3gp", "aac", "ac3", "aif", "aifc", "aiff", "amr", "ape", "au", "avi", "caf", "flac"),
        *("flv", "m4a", "m4b", "m4v", "mka", "mkv", "mov", "mp2", "mp3", "mp4", "mpeg", "mpg"),
        *("oga", "ogg", "ogv", "opus", "ra", "snd", "spx", "tta", "w64", "wav", "webm", "wma"),
        *("wmv", "wv"),
    )
)
"""What is taken for a recording in a folder."""

MANIFEST = ".tsv"


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
    return (
        Path(name).is_dir()
        or name.endswith(MANIFEST)
        or (glob.has_magic(name) and not Path(name).exists())
    )


def expand(names: Sequence[str], report: Callable[[str], None]) -> list[Input]:
    """Return the recordings that ``names`` mean, each once, in order.

    Folders are searched to the bottom, links to folders left alone. Transcripts of a folder's
    recordings mirror it; so do those of a pattern below its last plain folder, and of a manifest.
    What cannot be searched is told to ``report``, a line each.

    Raises:
        StreamasrError: a name means nothing, or two recordings would share a transcript.
        ConfigError: a manifest is damaged.
    """
    found: dict[str, Input] = {}
    for name in names:
        for item in _expand_one(name, report):
            found.setdefault(item.path, item)
    return _apart(list(found.values()))


def _expand_one(name: str, report: Callable[[str], None]) -> Iterator[Input]:
    path = Path(name)
    if path.is_dir():
        nothing = True
        for file in _search(path, report):
            nothing = False
            yield _below(file, path)
        if nothing:
            report(f"{name}: a folder without recordings")
    elif glob.has_magic(name) and not os.path.lexists(name):
        base = _base(name)
        # Links to folders are left alone by **: they may lead up again.
        rest = os.fspath(path.relative_to(base))
        matches = sorted(os.fspath(match) for match in base.glob(rest))
        if not matches:
            raise StreamasrError(f"{name}: matches no file")
        for match in matches:
            if not Path(match).is_dir():
                yield _below(match, base)
    elif name.endswith(MANIFEST) and path.is_file():
        from ..manifest import read_manifest

        for utterance in read_manifest(path, labelled=False):
            yield _below(os.fspath(utterance.path), path.parent)
    else:
        yield Input(name, Path(path.stem), named=True)


def _search(folder: Path, report: Callable[[str], None]) -> Iterator[str]:
    def unreadable(error: OSError) -> None:
        report(f"{error.filename}: cannot be searched ({(error.strerror or str(error)).lower()})")

    for root, folders, files in os.walk(folder, onerror=unreadable):
        folders.sort()
        for file in sorted(files):
            if Path(file).suffix.lower() in EXTENSIONS:
                yield os.fspath(Path(root, file))


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
    return Input(file, place.with_name(path.stem), named=False)


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
