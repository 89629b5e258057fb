"""Cross-validation of an adaptation: models of a part of the recordings, tested on the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ..wer import ErrorCounts, count_errors
from .collection import Recording
from .config import AdaptationConfig
from .examples import Example
from .loop import AdaptationLoop
from .material import Learner, Split
from .parameters import Adapter

__all__ = ["CrossValidation", "Report", "Transcribe", "best_epoch"]

Report = Callable[[str, int, int], None]
"""Called with a stage's name, what is done of it, and of how much."""

Transcribe = Callable[[Adapter | None, Sequence[Recording], str], list[str]]
"""Returns what the model, or an adapted one, hears in recordings; the last is a stage's name."""

_SHARES = (1.0, 0.5)
"""Of the change: all is tried first; half is nearly as good, and half as far from what was."""


def best_epoch(losses: Sequence[float]) -> int:
    """Return the epoch of the lowest loss; 0 is the model as it was, also where none is known."""
    return min(range(len(losses)), key=losses.__getitem__, default=0)


class CrossValidation:
    """Tells by held-out parts whether and how long to adapt, and then adapts to everything.

    The trainings of all splits take turns, an epoch each, so that their losses together decide when
    more does not help. Each leaves checkpoints in ``work``, from which a killed run goes on.

    Attributes:
        before, after: errors in all held-out parts, by the first model and by the adapted ones;
            None where nobody transcribed them.
        losses: of the held-out parts, in the mean, before the first epoch and after each.
        improved: whether the adapted models make no more errors, and their loss is lower.
    """

    def __init__(
        self,
        learner: Learner,
        splits: Sequence[Split],
        examples: dict[int, Example],
        config: AdaptationConfig,
        work: Path,
        report: Report,
    ) -> None:
        """``examples`` are those of the recordings, by their ``id``."""
        self.before: ErrorCounts | None = None
        self.after: ErrorCounts | None = None
        self.losses: list[float] = []
        self.improved = False
        self._learner, self._splits, self._examples = learner, splits, examples
        self._config, self._work, self._report = config, work, report
        self._share = 1.0
        self._all = [*splits[0].train, *splits[0].held_out]

    def run(self, transcribe: Transcribe) -> None:
        """Train on each split, and compare what is heard in the held-out parts."""
        loops = [
            self._loop(number, split.train, split.held_out)
            for number, split in enumerate(self._splits)
        ]
        self._train(loops)
        best = best_epoch(self.losses)
        self.improved = best > 0
        held_out = [recording for split in self._splits for recording in split.held_out]
        if not all(recording.labelled for recording in held_out):
            return
        texts = [recording.text for recording in held_out]
        self.before = self.after = count_errors(texts, transcribe(None, held_out, "before"))
        if not self.improved:
            return
        for share in _SHARES:
            self._share = share
            found: list[str] = []
            for loop, split in zip(loops, self._splits, strict=True):
                found += transcribe(self._adapter(loop, best), split.held_out, "after")
            self.after = count_errors(texts, found)
            self.improved = self.after.wer <= self.before.wer
            if self.improved:
                return

    def refit(self) -> Adapter:
        """Return an adapter that is trained on all recordings, in the way that was tested."""
        best = best_epoch(self.losses)
        loop = self._loop(len(self._splits), self._all, [])
        while loop.epoch < best:
            self._advance(loop, "training on all", loop.epoch, best)
        return self._adapter(loop, best)

    def _loop(
        self, number: int, train: Sequence[Recording], held_out: Sequence[Recording]
    ) -> AdaptationLoop:
        """Return a training as its checkpoint has it, or a new one."""
        learner = self._learner
        batches = [
            learner.batches([self._examples[id(recording)] for recording in part])
            for part in (train, held_out)
        ]
        loop = AdaptationLoop(
            learner.adapter(),
            learner.objective,
            batches[0],
            batches[1] if held_out else None,
            self._config,
            self._work / f"checkpoint-{number}.pt",
        )
        loop.load()
        return loop

    def _train(self, loops: Sequence[AdaptationLoop]) -> None:
        """Train an epoch of each, until more would not help or would take too long."""
        config = self._config
        weights = [_seconds(split.held_out) for split in self._splits]
        amounts = [_seconds(split.train) for split in self._splits]
        with_refit = 1 + _seconds(self._all) / sum(amounts)
        epoch = 0
        while epoch < config.epochs and epoch - best_epoch(self.losses) < config.patience:
            a_while = sum(loop.seconds / max(1, loop.epoch) for loop in loops)
            if (epoch + 1) * a_while * with_refit > 60 * config.minutes:
                break
            for number, loop in enumerate(loops):
                if loop.epoch == epoch:
                    done = epoch * len(loops) + number
                    self._advance(loop, "training", done, config.epochs * len(loops))
            epoch += 1
            rows = np.array([loop.losses[: epoch + 1] for loop in loops])
            self.losses = np.average(rows, axis=0, weights=weights).tolist()

    def _advance(self, loop: AdaptationLoop, name: str, done: int, total: int) -> None:
        """Train an epoch, the one behind ``done`` of ``total``, and save it."""
        of, batch = loop.updates, 0

        def count() -> None:
            nonlocal batch
            batch = min(batch + 1, of)  # an epoch may have a batch more
            self._report(name, done * of + batch, total * of)

        loop.advance(count)
        loop.save()

    def _adapter(self, loop: AdaptationLoop, epoch: int) -> Adapter:
        """Return what a training had made after an epoch, or the share of it that is tried."""
        adapter = self._learner.adapter()
        adapter.load_state_dict(loop.states[epoch])
        adapter.weaken(self._share)
        return adapter


def _seconds(recordings: Sequence[Recording]) -> float:
    return sum(recording.seconds for recording in recordings)
