"""The training set: its recordings decoded once, its texts as token indices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..audio import SAMPLE_RATE
from ..errors import ConfigError
from ..failures import Failure, warn_of_failure
from ..manifest import Utterance, normalise, read_manifest
from ..tokens import Tokens
from .augment import Augmenter
from .cache import AudioCache
from .config import TrainingConfig

__all__ = ["Corpus", "load_corpus"]


@dataclass(frozen=True)
class Corpus:
    """The training set: decoded audio, token indices, and each utterance's share of epochs."""

    cache: AudioCache
    texts: list[str]
    targets: list[list[int]]
    shares: list[float]
    seconds: list[float]
    augmenter: Augmenter


def _audio_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".tsv")


def load_corpus(
    config: TrainingConfig,
    tokens: Tokens,
    on_failure: Callable[[Failure], None] = warn_of_failure,
) -> Corpus:
    """Read manifests and decode the audio, once; recordings that cannot be decoded are left out.

    Raises ConfigError for manifests that cannot be used, MissingError for recordings that are not
    there.
    """
    root = Path(config.data.root)
    folder = Path(config.output) / "cache"
    utterances: list[Utterance] = []
    shares: list[float] = []
    for source in config.data.train:
        chosen = [u for u in read_manifest(root / source.manifest) if source.only in str(u.path)]
        if not chosen:
            raise ConfigError(f"{root / source.manifest}: no utterance matches {source.only!r}")
        utterances += chosen
        shares += [source.share] * len(chosen)
    paths = [u.path for u in utterances]
    cache, kept = AudioCache(paths, folder).readable(paths, on_failure)
    if not kept:
        raise ConfigError("no recording of the training set can be decoded")
    utterances, shares = [utterances[k] for k in kept], [shares[k] for k in kept]
    texts = [normalise(u.transcript) for u in utterances]
    targets = [tokens.encode(text) for text in texts]

    def extra(name: str) -> AudioCache | None:
        paths = _audio_files(root / name) if name else []
        found, kept = AudioCache(paths, folder).readable(paths, on_failure)
        return found if kept else None

    augmenter = Augmenter(config.augment, extra(config.data.noise), extra(config.data.rooms))
    seconds = [cache.length(i) / SAMPLE_RATE for i in range(len(cache))]
    return Corpus(cache, texts, targets, shares, seconds, augmenter)
