"""What adaptation learns from: recordings with their tokens, those that do not fit left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ..acoustic.frontend import Frontend
from ..acoustic.model import Bundle
from ..decoding.loading import has_beam
from ..errors import ConfigError
from ..manifest import normalise
from .collection import Recording, Rejected
from .config import AdaptationConfig
from .examples import Batches, Example
from .loop import outputs
from .objective import Objective, lexicon_trigrams
from .parameters import Adapter
from .spelling import Speller, misfit

__all__ = ["Learner", "Split", "folds"]

FEWEST = 5


@dataclass(frozen=True)
class Split:
    """Recordings to train on, and those that the result is tested on."""

    train: list[Recording]
    held_out: list[Recording]


def folds(
    recordings: Sequence[Recording], count: int, enough_seconds: float, seed: int
) -> list[Split]:
    """Split ``recordings`` into ``count`` parts; return those splits that hold one of them out.

    They are as few as hold ``enough_seconds`` out together. Only what a person transcribed is held
    out, where that is enough to be split.

    Raises ConfigError for too few recordings.
    """
    if len(recordings) < FEWEST:
        raise ConfigError(
            f"{len(recordings)} recordings can be used: adaptation needs {FEWEST} at least, and a "
            "minute of speech to help; streamasr enroll records some"
        )
    labelled = [k for k, recording in enumerate(recordings) if recording.labelled]
    # A handful would decide nothing.
    candidates = labelled if len(labelled) >= FEWEST else [*range(len(recordings))]
    order = np.random.default_rng(seed).permutation(candidates)
    found: list[Split] = []
    held_out_seconds = 0.0
    for part in np.array_split(order, min(count, len(order))):
        if held_out_seconds >= enough_seconds:
            break
        chosen = {*part.tolist()}
        held_out = [recording for k, recording in enumerate(recordings) if k in chosen]
        train = [recording for k, recording in enumerate(recordings) if k not in chosen]
        found.append(Split(train, held_out))
        held_out_seconds += sum(recording.seconds for recording in held_out)
    return found


class Learner:
    """A model to be adapted: its adapter, its objective, and recordings as it reads them.

    A model without phones, or without the lexicon that knows them, learns by its characters alone.
    """

    def __init__(self, bundle: Bundle, config: AdaptationConfig, device: torch.device) -> None:
        self.bundle = bundle
        self.frontend = Frontend(bundle.config.frontend)
        self._config = config
        self._device = device
        self._speller: Speller | None = None
        trigrams = None
        if bundle.phones is not None and has_beam(bundle.folder):
            self._speller = Speller.of_folder(bundle.folder, bundle.phones)
            trigrams = lexicon_trigrams(self._speller.graph).to(device)
        self.objective = Objective(trigrams, config.distillation)

    def adapter(self) -> Adapter:
        """Return a new adapter, which changes nothing yet; each call returns the same."""
        torch.manual_seed(self._config.seed)
        method, rank = self._config.method, self._config.rank
        n_mels = self.bundle.config.frontend.n_mels
        return Adapter(self.bundle.model, n_mels, method, rank).to(self._device)

    def examples(
        self, recordings: Sequence[Recording], most_misfit: float
    ) -> tuple[list[Example], list[Recording], list[Rejected]]:
        """Return recordings as examples, those recordings, and the ones that do not fit their text.

        A text does not fit if another hypothesis of the model is likelier by more than
        ``most_misfit``, in nats a token.
        """
        spoken = [
            Example(r.samples, tuple(self.bundle.tokens.encode(normalise(r.text))))
            for r in recordings
        ]
        all_log_probs = self._log_probs(spoken)
        texts = [recording.text for recording in recordings]
        if self._speller is None:
            targets = [example.characters for example in spoken]
        else:
            targets = self._speller.likeliest(texts, all_log_probs)
        examples, kept, rejected = [], [], []
        for recording, example, tokens, log_probs in zip(
            recordings, spoken, targets, all_log_probs, strict=True
        ):
            apart = misfit(log_probs, tokens)
            if apart > most_misfit:
                reason = "the transcript does not fit the recording"
                rejected.append(Rejected(recording.path, reason, recording.text))
                continue
            phones = tokens if self._speller is not None else ()
            examples.append(Example(example.samples, example.characters, phones))
            kept.append(recording)
        return examples, kept, rejected

    def batches(self, examples: Sequence[Example]) -> Batches:
        """Return ``examples`` as batches."""
        return Batches(
            examples,
            self.frontend,
            self._config.augment,
            seconds=self._config.batch_seconds,
            seed=self._config.seed,
            with_phones=self._speller is not None,
        )

    @torch.no_grad()
    def _log_probs(self, spoken: Sequence[Example]) -> list[NDArray[np.float32]]:
        """Return the first model's log-posteriors ``(T, P)`` of each: of its best head."""
        found: dict[int, NDArray[np.float32]] = {}
        adapter = self.adapter()
        original = adapter.original()
        for batch in self.batches(spoken).plain():
            heads = outputs(adapter, original, batch).heads
            best = (heads[-1] if self._speller is not None else heads[0]).cpu()
            for row, place in enumerate(batch.places):
                found[place] = best[: batch.lengths[row], row].numpy()
        return [found[place] for place in range(len(spoken))]
