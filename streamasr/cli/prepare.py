"""``streamasr prepare`` and, with a download of its own, ``streamasr prepare-librispeech``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import console, failed

if TYPE_CHECKING:
    from ..preparation import Prepared

__all__ = ["prepare", "prepare_librispeech"]

_EXAMPLES = 5


class DataSet(StrEnum):
    """Whose layout a data set has."""

    common_voice = "common-voice"
    kaldi = "kaldi"
    librispeech = "librispeech"
    lhotse = "lhotse"
    nemo = "nemo"


def prepare(
    kind: Annotated[
        DataSet,
        typer.Argument(metavar="KIND", help="common-voice, kaldi, librispeech, lhotse or nemo."),
    ],
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE",
            help="The TSV of a split, a data directory, a folder, or a manifest of that kind.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="MANIFEST", help="The manifest to write.")
    ],
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
) -> None:
    """Write the manifest of a data set that others have made.

    Recordings stay where they are; parts of longer ones are written as FLAC into a folder beside
    MANIFEST. What is wrong is named and left out; the exit code is then 1.
    """
    left_out = failed.Collected()
    _prepare(kind, source, output, left_out, quiet=quiet)
    left_out.end()


def prepare_librispeech(
    root: Annotated[Path, typer.Argument(help="Folder that holds LibriSpeech/, or shall.")],
    subsets: Annotated[
        list[str], typer.Argument(metavar="SUBSET...", help="Such as train-clean-100 dev-clean.")
    ],
    download: Annotated[
        bool, typer.Option("--download", help="Fetch what is missing, by torchaudio.")
    ] = False,
) -> None:
    """Write a manifest per LibriSpeech subset: ROOT/SUBSET.tsv."""
    from ..preparation.librispeech import check_subsets

    left_out = failed.Collected()
    for folder in check_subsets(root, subsets, download=download):
        _prepare(DataSet.librispeech, folder, root / f"{folder.name}.tsv", left_out)
    left_out.end()


def _prepare(
    kind: DataSet,
    source: Path,
    manifest: Path,
    left_out: failed.Collected,
    *,
    quiet: bool = False,
) -> None:
    from ..preparation import prepare as run

    with console.progress_bar(quiet=quiet) as bar:
        task = bar.add_task(manifest.name, rate="")
        prepared = run(
            kind.value,
            source,
            manifest,
            left_out,
            lambda done, of: bar.update(task, completed=done, total=of),
        )
    _summarise(manifest, prepared)


def _summarise(manifest: Path, prepared: Prepared) -> None:
    from ..preparation import parts_folder

    console.note(f"{manifest}: {prepared.utterances} utterances, {prepared.hours:.1f} h")
    if prepared.parts:
        console.note(f"{prepared.parts} are parts of recordings, in {parts_folder(manifest)}")
    if prepared.numbers:
        console.note(f"{prepared.numbers} transcripts had digits, now in words")
    if not prepared.unsayable:
        return
    console.note(
        f"{prepared.unsayable.total()} utterances were left out: nobody knows how they are said"
    )
    for sign, count in prepared.unsayable.most_common(_EXAMPLES):
        reason = f"with {sign!r}" if sign else "without words"
        console.note(f"   {count} {reason}, such as: {prepared.examples[sign]}")
