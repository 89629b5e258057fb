"""LibriSpeech (Panayotov et al. 2015): transcripts of a chapter in a file beside its recordings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ..errors import ConfigError
from ..failures import Failure
from .entry import Entry, text_lines

__all__ = ["SUBSETS", "check_subsets", "read_librispeech"]

SUBSETS = (
    "dev-clean",
    "dev-other",
    "test-clean",
    "test-other",
    "train-clean-100",
    "train-clean-360",
    "train-other-500",
)


def read_librispeech(source: Path, on_failure: Callable[[Failure], None]) -> Iterator[Entry]:
    """Yield the utterances of all chapters below ``source``, such as a subset's folder."""
    chapters = sorted(source.rglob("*.trans.txt"))
    if not chapters:
        raise ConfigError(f"{source}: no *.trans.txt below it: not the layout of LibriSpeech")
    for chapter in chapters:
        for number, line in enumerate(text_lines(chapter), start=1):
            name, _, text = line.partition(" ")
            if not text:
                problem = f"{chapter}:{number}: not a name and a transcript"
                on_failure(Failure(chapter, problem))
                continue
            speaker = f"librispeech-{name.partition('-')[0]}"
            yield Entry(chapter.parent / f"{name}.flac", text, speaker)


def check_subsets(root: Path, subsets: Sequence[str], *, download: bool = False) -> list[Path]:
    """Return the folders of ``subsets`` in ``root``, which are downloaded first if they shall.

    ``root`` holds the folder ``LibriSpeech`` as its archives unpack it. Raises ConfigError for an
    unknown or missing subset.
    """
    folders = []
    for subset in subsets:
        if subset not in SUBSETS:
            raise ConfigError(f"{subset}: no LibriSpeech subset; known are {', '.join(SUBSETS)}")
        folder = root / "LibriSpeech" / subset
        if download:
            from ..acoustic._torchaudio import torchaudio

            torchaudio.datasets.LIBRISPEECH(root, url=subset, download=True)
        if not folder.is_dir():
            raise ConfigError(f"{folder}: not there; unpack the archive, or add --download")
        folders.append(folder)
    return folders
