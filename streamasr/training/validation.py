"""Dev error rates during training: whole utterances in batches, greedy, no noise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from ..acoustic.frontend import Frontend
from ..acoustic.model import AcousticModel
from ..decoding import GreedyDecoder
from ..failures import Failure, warn_of_failure
from ..manifest import read_manifest
from ..tokens import Tokens
from ..wer import ErrorCounts, count_errors
from .cache import AudioCache
from .config import TrainingConfig

__all__ = ["DevSet"]

_BATCH = 24


class DevSet:
    """A fixed sample of the dev manifests, but for recordings that cannot be decoded."""

    def __init__(
        self,
        config: TrainingConfig,
        frontend: Frontend,
        tokens: Tokens,
        on_failure: Callable[[Failure], None] = warn_of_failure,
    ) -> None:
        root = Path(config.data.root)
        utterances = [u for name in config.data.dev for u in read_manifest(root / name)]
        order = np.random.default_rng(config.seed).permutation(len(utterances))
        chosen = [utterances[int(i)] for i in order[: config.evaluate_utterances]]
        chosen.sort(key=lambda u: u.duration)
        paths = [u.path for u in chosen]
        cache = AudioCache(paths, Path(config.output) / "cache")
        self._cache, kept = cache.readable(paths, on_failure)
        self._references = [chosen[k].transcript for k in kept]
        self._frontend = frontend
        self._tokens = tokens

    def __len__(self) -> int:
        return len(self._references)

    @torch.inference_mode()
    def score(self, model: AcousticModel) -> ErrorCounts:
        """Return the errors of ``model``, on the CPU, over the sample."""
        decoder = GreedyDecoder(self._tokens, self._frontend.config.step_seconds)
        texts: list[str] = []
        for start in range(0, len(self), _BATCH):
            items = []
            for index in range(start, min(start + _BATCH, len(self))):
                samples = torch.cat([torch.from_numpy(self._cache[index]), self._frontend.tail()])
                items.append(self._frontend.stack(self._frontend.log_mel(samples)))
            log_probs, _ = model(torch.nn.utils.rnn.pad_sequence(items))
            for row, frames in enumerate(items):
                characters = log_probs[: len(frames), row, : len(self._tokens)]
                words, state = decoder(characters, decoder.initial_state())
                last, _ = decoder.finish(state)
                texts.append(" ".join(w.text for w in [*words, *last]))
        return count_errors(self._references, texts)
