"""The training run: updates, checkpoints, validation, and the model folder it leaves behind."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..acoustic.frontend import Frontend
from ..acoustic.model import save_bundle
from ..acoustic.model.bundle import BundleConfig
from ..failures import Failure, warn_of_failure
from ..tokens import Tokens
from .batches import Batch, batches_of_epoch
from .beginning import features_of_run, starting_model
from .config import OptimizerConfig, TrainingConfig
from .corpus import Corpus, load_corpus
from .crf import phone_trigrams
from .cuts import cut_corpus
from .distributed import World, joined
from .graphs import ShapedNetwork
from .labels import Head, Labels, Pronunciations, align_corpus
from .log import RunLog, plot_curves
from .losses import Losses
from .memory import give_freed_memory_back, keep_freed_memory
from .network import TrainingNetwork
from .plan import rows_of_shapes
from .state import TrainingState, autocast
from .update import make_update
from .validation import DevSet

__all__ = ["Progress", "learning_rate", "train"]


@dataclass(frozen=True, slots=True)
class Progress:
    """Reported after each update."""

    update: int
    updates: int
    epoch: int
    loss: float
    lr: float
    audio_per_second: float
    dev_wer: float | None = None


def train(
    config: TrainingConfig,
    report: Callable[[Progress], None] = lambda _: None,
    on_failure: Callable[[Failure], None] = warn_of_failure,
) -> Path:
    """Train, or go on from the last checkpoint, and return the folder of the finished model.

    Recordings that cannot be decoded are left out and passed to ``on_failure``, before the first
    update; those that are not there are a MissingError.

    ``output`` receives ``checkpoint.pt``, ``log.csv``, ``curves.png`` and the model folders
    ``model`` (averaged weights) and ``best`` (the same, where the dev WER was lowest).

    In processes that ``torchrun`` started this is one training of them all (see ``distributed``):
    each reads a share of the batches, the first one alone writes and reports. A checkpoint may be
    continued by another number of processes; each update is then made of as many batches.
    """
    keep_freed_memory()
    with joined() as world:
        run = _Run(config, on_failure, world)
        try:
            while run.state.update < config.optimizer.updates:
                progress = run.advance()
                if world.leads:
                    report(progress)
        finally:
            run.close()
        return run.finish()


def learning_rate(config: OptimizerConfig, update: int) -> float:
    """Warm up linearly, hold, then decay linearly to zero over the last ``decay`` updates."""
    up = (update + 1) / max(1, config.warmup)
    down = (config.updates - update) / max(1, config.decay)
    return config.peak_lr * min(1.0, up, down)


class _Run:
    """What a run works with: data, dev set, state, log, and the folder of its results."""

    def __init__(
        self, config: TrainingConfig, on_failure: Callable[[Failure], None], world: World
    ) -> None:
        self.config = config
        self.world = world
        self.output = Path(config.output)
        self.output.mkdir(parents=True, exist_ok=True)
        self.tokens = Tokens.characters()
        self.phones = Tokens.phones() if config.phones.lexicon else None
        start = starting_model(config, self.tokens)
        with world.first_alone():
            told = on_failure if world.leads else _keep_quiet
            self.corpus = load_corpus(config, self.tokens, told)
        self.features = features_of_run(config, start, self.corpus)
        self.frontend = Frontend(self.features)
        self.dev: DevSet | None = None
        if world.leads:
            self.dev = DevSet(config, self.frontend, self.tokens, on_failure)
        torch.manual_seed(config.seed)
        network = self._network()
        # Made now, so that sizes which do not fit are refused before training.
        self._bundle = BundleConfig(
            delay_seconds=config.phones.delay_seconds if self.phones else 0.0,
            frontend=self.features,
            model=network.sizes,
        )
        if start:
            network.load_exported(start.model)
        self._first_head: Head = "phones" if start and start.phones else "characters"
        self.state = TrainingState(config, network)
        self._first_aligner = self.state.average
        if start and config.network.tdnn:  # which knows nothing yet, unlike the stack beside it
            self._first_aligner = self._network(tdnn=None)
            self._first_aligner.load_exported(start.model)
            self._first_aligner.to(self.state.device).eval()
        self.checkpoint = self.output / "checkpoint.pt"
        if self.checkpoint.exists():
            self.state.load(self.checkpoint)
        world.copy_from_first(self.state.network, self.state.average)
        self.log: RunLog | None = None
        if world.leads:
            self.log = RunLog(self.output / "log.csv", self.state.update)
        self._shaped: ShapedNetwork | None = None
        self._batches = self._endless()

    def _network(self, **changes: object) -> TrainingNetwork:
        """Return a new network, as it is configured but for ``changes``."""
        return TrainingNetwork(
            self.config.network.model_copy(update=changes),
            self.features.feature_size,
            len(self.tokens),
            len(self.phones) if self.phones else 0,
            self.features.n_mels,
        )

    def advance(self) -> Progress:
        """Make one update, with what is due after it: validation, log, checkpoint."""
        state, config = self.state, self.config
        began = time.perf_counter()
        batch = next(self._batches)
        lr = learning_rate(config.optimizer, state.update)
        update = make_update(state, batch, config, lr, self.losses, self._shaped, self.world)
        loss = sum(update.losses.values())
        state.update += 1
        elapsed = time.perf_counter() - began
        state.seconds += elapsed
        state.hours += update.seconds / 3600
        last = state.update == config.optimizer.updates
        # Characters are what is scored, and those beside a second pass stay as they are.
        scored = not config.network.tdnn
        due = scored and (last or state.update % config.evaluate_every == 0)
        scores = self._validate(self.dev) if self.dev and due else {}
        if self.log:
            self.log.write(
                update=state.update,
                epoch=state.epoch,
                hours=round(state.hours, 4),
                seconds=round(state.seconds, 2),
                lr=lr,
                loss=loss,
                grad_norm=update.norm,
                **{f"loss_{name}": value for name, value in update.losses.items()},
                **scores,
            )
        if self.world.leads and (last or state.update % config.save_every == 0):
            state.save(self.checkpoint)
        return Progress(
            state.update,
            config.optimizer.updates,
            state.epoch,
            loss,
            lr,
            update.seconds / elapsed,
            scores.get("dev_wer"),
        )

    def close(self) -> None:
        """Close the log."""
        if self.log:
            self.log.close()

    def finish(self) -> Path:
        """Write the last model and the curves; return the model's folder."""
        with self.world.first_alone():
            if self.world.leads:
                plot_curves(self.output / "log.csv", self.output / "curves.png")
                self._export("model")
        return self.output / "model"

    def _validate(self, dev: DevSet) -> dict[str, float]:
        counts = dev.score(self.state.average.export())
        record = self.output / "best.json"
        if not record.exists() or counts.wer <= json.loads(record.read_text())["wer"]:
            self._export("best")
            record.write_text(json.dumps({"wer": counts.wer, "update": self.state.update}))
        return {"dev_wer": counts.wer, "dev_cer": counts.cer}

    def _export(self, name: str) -> Path:
        model = self.state.average.export()
        save_bundle(self.output / name, self._bundle, model, self.tokens, phones=self.phones)
        return self.output / name

    def _labels(self, epoch: int) -> Labels | None:
        """Return the phones of the training set for ``epoch``, aligned anew if it is due."""
        if self.phones is None:
            return None
        due = max((e for e in self.config.phones.align if e <= epoch), default=0)
        path = self.output / f"labels-{due}.npz"
        with self.world.first_alone():
            if not path.exists():
                self._align(path, self.phones)
        return Labels.load(path)

    def _align(self, path: Path, phones: Tokens) -> None:
        config = self.config.phones
        earlier = sorted(self.output.glob("labels-*.npz"), key=lambda p: p.stat().st_mtime)
        network = self.state.average if earlier else self._first_aligner
        with autocast(self.config, self.state.device):
            labels = align_corpus(
                network,
                self.frontend,
                self.corpus.cache,
                self.corpus.texts,
                self.tokens,
                Pronunciations(config.lexicon, phones),
                by="frames" if earlier else self._first_head,
                before=Labels.load(earlier[-1]) if earlier else None,
                delay_seconds=config.delay_seconds,
            )
        labels.save(path)

    def _pieces(self, labels: Labels | None, epoch: int) -> tuple[Corpus, Labels | None]:
        """Return what ``epoch`` reads: the corpus, or pieces of it."""
        data = self.config.data
        if not data.cut_seconds or labels is None or self.phones is None:
            return self.corpus, labels
        pronunciations = Pronunciations(self.config.phones.lexicon, self.phones)
        rng = np.random.default_rng((self.config.seed, epoch, 1))
        return cut_corpus(
            self.corpus,
            labels,
            self.tokens,
            pronunciations,
            data.cut_seconds,
            data.whole,
            rng,
        )

    def _losses(self, labels: Labels | None) -> Losses:
        trigrams = None
        if self.config.loss.denominator and self.phones and labels:
            spoken = (labels.phones(index) for index in range(len(labels.rows)))
            trigrams = phone_trigrams(spoken, len(self.phones))
        phone_size = len(self.phones) if self.phones else 0
        return Losses(self.config.loss, len(self.tokens), phone_size, trigrams)

    def _follow(self, losses: Losses) -> None:
        """Capture the graphs of ``data.shapes``, or update their trigrams from ``losses``."""
        if self._shaped:
            self._shaped.follow(losses.trigrams)
        elif self.config.data.shapes:
            rows = rows_of_shapes(self.frontend, self.config)
            network = self.state.network
            self._shaped = ShapedNetwork(network, self.config, rows, losses.trigrams)

    def _endless(self) -> Iterator[Batch]:
        """Yield batches from where the state stands, epoch after epoch."""
        state = self.state
        while True:
            labels = self._labels(state.epoch)
            self.losses = self._losses(labels)
            self._follow(self.losses)
            corpus, labels = self._pieces(labels, state.epoch)
            give_freed_memory_back()
            for batch in batches_of_epoch(
                corpus, self.config, self.frontend, state.epoch, state.position, labels, self.world
            ):
                state.position += self.world.size
                yield batch
            state.epoch, state.position = state.epoch + 1, 0


def _keep_quiet(_: Failure) -> None:
    """Report nothing: the process of rank 0 does."""
