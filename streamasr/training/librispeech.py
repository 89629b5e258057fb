"""Manifests of LibriSpeech (Panayotov et al. 2015), read through ``torchaudio.datasets``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from ..acoustic._torchaudio import torchaudio
from ..audio import open_audio
from ..errors import ConfigError
from ..failures import Failure, attempt, warn_of_failure
from ..manifest import Utterance, write_manifest

__all__ = ["SUBSETS", "write_manifests"]

SUBSETS = (
    "dev-clean",
    "dev-other",
    "test-clean",
    "test-other",
    "train-clean-100",
    "train-clean-360",
    "train-other-500",
)


def write_manifests(
    root: Path,
    subsets: Sequence[str],
    *,
    download: bool = False,
    on_failure: Callable[[Failure], None] = warn_of_failure,
) -> Iterator[tuple[Path, int, float]]:
    """Write ``root/SUBSET.tsv`` for each subset; yield its path, utterances and hours.

    ``root`` holds the folder ``LibriSpeech`` as its archives unpack it; with ``download``, missing
    archives are fetched there first. Recordings that cannot be opened are left out and passed to
    ``on_failure``. Raises ConfigError for an unknown or missing subset.
    """
    for subset in subsets:
        if subset not in SUBSETS:
            raise ConfigError(f"{subset}: no LibriSpeech subset; known are {', '.join(SUBSETS)}")
        try:
            dataset = torchaudio.datasets.LIBRISPEECH(root, url=subset, download=download)
        except RuntimeError as error:
            raise ConfigError(
                f"{root / 'LibriSpeech' / subset}: not there; unpack the archive, or add --download"
            ) from error
        utterances = []
        for index in range(len(dataset)):
            name, _rate, transcript, speaker, *_ = dataset.get_metadata(index)
            path = root / "LibriSpeech" / name
            duration = attempt(path, partial(_duration, path))
            if isinstance(duration, Failure):
                on_failure(duration)
                continue
            utterances.append(Utterance(path, duration, f"librispeech-{speaker}", transcript))
        manifest = root / f"{subset}.tsv"
        write_manifest(manifest, utterances)
        yield manifest, len(utterances), sum(u.duration for u in utterances) / 3600


def _duration(path: Path) -> float:
    with open_audio(path) as audio:
        return audio.duration or 0.0
