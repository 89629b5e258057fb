"""The training run: updates, checkpoints, validation, and the model folder it leaves behind."""

from __future__ import annotations

import copy
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import ConfigError
from ..frontend import Frontend, FrontendConfig
from ..model import Tokens, save_bundle
from ..model.bundle import BundleConfig
from .batches import Batch, Corpus, batches_of_epoch, epoch_plan, load_corpus
from .config import OptimizerConfig, TrainingConfig
from .log import RunLog, plot_curves
from .memory import keep_freed_memory
from .network import TrainingNetwork
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


def learning_rate(config: OptimizerConfig, update: int) -> float:
    """Warm up linearly, hold, then decay linearly to zero over the last ``decay`` updates."""
    up = (update + 1) / max(1, config.warmup)
    down = (config.updates - update) / max(1, config.decay)
    return config.peak_lr * min(1.0, up, down)


def statistics(corpus: Corpus, config: FrontendConfig, seed: int) -> FrontendConfig:
    """Return ``config`` with mean and std per mel bin over a sample of the training set."""
    plain = Frontend(config.model_copy(update={"mean": (), "std": ()}))
    chosen = np.random.default_rng(seed).permutation(len(corpus.cache))[:1000]
    frames = torch.cat([plain.log_mel(torch.from_numpy(corpus.cache[int(i)])) for i in chosen])
    mean, std = frames.double().mean(0), frames.double().std(0)
    rounded = {"mean": mean.tolist(), "std": std.tolist()}
    return config.model_copy(
        update={name: tuple(round(v, 5) for v in values) for name, values in rounded.items()}
    )


class _Run:
    """Everything that changes from update to update, as one value to save and to load."""

    def __init__(self, config: TrainingConfig, frontend: FrontendConfig, tokens: Tokens) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.manual_seed(config.seed)
        network = TrainingNetwork(config.network, frontend.feature_size, len(tokens))
        self.network = network.to(self.device)
        self.average = copy.deepcopy(self.network).requires_grad_(False).eval()
        decayed = [p for p in self.network.parameters() if p.dim() > 1]
        others = [p for p in self.network.parameters() if p.dim() <= 1]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": config.optimizer.weight_decay},
                {"params": others, "weight_decay": 0.0},
            ],
            betas=(0.9, 0.98),
            fused=True,
        )
        self.update = 0
        self.epoch = 0
        self.position = 0
        self.hours = 0.0
        self.seconds = 0.0

    def save(self, path: Path, identity: str) -> None:
        state = {
            "identity": identity,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            **{name: getattr(self, name) for name in _COUNTERS},
        }
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(path)

    def load(self, path: Path, identity: str) -> None:
        state: dict[str, Any] = torch.load(path, map_location=self.device, weights_only=True)
        if state["identity"] != identity:
            raise ConfigError(
                f"{path}: made with other data, network or frontend settings; "
                "give the configuration a new output folder"
            )
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        for name in _COUNTERS:
            setattr(self, name, state[name])

    @torch.no_grad()
    def follow(self, decay: float) -> None:
        """Move the averaged weights and statistics towards the current ones."""
        weight = 1 - min(decay, (1 + self.update) / (10 + self.update))
        own, others = self.average.state_dict(), self.network.state_dict()
        torch._foreach_lerp_([*own.values()], [*others.values()], weight)


_COUNTERS = ("update", "epoch", "position", "hours", "seconds")


def _identity(config: TrainingConfig) -> str:
    """Digest of the settings that a checkpoint cannot outlive."""
    parts = config.model_dump(include={"seed", "frontend", "network", "data"}, mode="json")
    for name in ("root", "workers", "dev"):
        del parts["data"][name]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _autocast(config: TrainingConfig, device: torch.device) -> Any:
    half = config.precision == "bfloat16" or (config.precision == "auto" and device.type == "cuda")
    return torch.autocast(device.type, torch.bfloat16) if half else nullcontext()


def _loss(log_probs: Tensor, batch: Batch, blank: int) -> Tensor:
    total: Tensor = nn.functional.ctc_loss(
        log_probs,
        batch.targets,
        batch.lengths,
        batch.target_lengths,
        blank=blank,
        reduction="sum",
        zero_infinity=True,
    )
    return total / batch.target_lengths.sum().clamp(min=1)


def _step(run: _Run, batch: Batch, config: TrainingConfig, blank: int) -> tuple[float, float]:
    """Make one update; return its loss per token and the gradient's norm before clipping."""
    # Dropout is a function of the update's number, so a resumed run needs no generator state.
    torch.manual_seed(config.seed * 1_000_003 + run.update)
    for group in run.optimizer.param_groups:
        group["lr"] = learning_rate(config.optimizer, run.update)
    with _autocast(config, run.device):
        log_probs = run.network(batch.frames.to(run.device))
    loss = _loss(log_probs, batch, blank)
    run.optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    norm = nn.utils.clip_grad_norm_(run.network.parameters(), config.optimizer.clip_norm)
    if torch.isfinite(norm):
        run.optimizer.step()
        run.follow(config.optimizer.average)
    return loss.item(), norm.item()


def _endless(
    run: _Run, corpus: Corpus, config: TrainingConfig, frontend: Frontend
) -> Iterator[Batch]:
    """Yield batches from where ``run`` stands, epoch after epoch."""
    while True:
        for batch in batches_of_epoch(corpus, config, frontend, run.epoch, run.position):
            run.position += 1
            yield batch
        if run.position == 0 and not epoch_plan(corpus, config, run.epoch):
            raise ConfigError("no training utterance is within min_seconds and max_seconds")
        run.epoch, run.position = run.epoch + 1, 0


def train(config: TrainingConfig, report: Callable[[Progress], None] = lambda _: None) -> Path:
    """Train, or go on from the last checkpoint, and return the folder of the finished model.

    ``output`` receives ``checkpoint.pt``, ``log.csv``, ``curves.png`` and the model folders
    ``model`` (averaged weights) and ``best`` (the same, where the dev WER was lowest).
    """
    keep_freed_memory()
    output = Path(config.output)
    output.mkdir(parents=True, exist_ok=True)
    tokens = Tokens.characters()
    corpus = load_corpus(config, tokens)
    features = statistics(corpus, config.frontend, config.seed)
    frontend = Frontend(features)
    dev = DevSet(config, frontend, tokens)
    run = _Run(config, features, tokens)
    identity = _identity(config)
    checkpoint = output / "checkpoint.pt"
    if checkpoint.exists():
        run.load(checkpoint, identity)
    log = RunLog(output / "log.csv", run.update)
    best_file = output / "best.json"

    def export(folder: Path) -> None:
        model = run.average.export()
        bundle = BundleConfig(frontend=features, model=model.config)
        save_bundle(folder, bundle, model, tokens)

    stream = _endless(run, corpus, config, frontend)
    try:
        while run.update < config.optimizer.updates:
            began = time.perf_counter()
            batch = next(stream)
            lr = learning_rate(config.optimizer, run.update)
            loss, norm = _step(run, batch, config, tokens.blank)
            run.update += 1
            elapsed = time.perf_counter() - began
            run.seconds += elapsed
            run.hours += batch.seconds / 3600
            last = run.update == config.optimizer.updates
            scores: dict[str, float] = {}
            if dev and (last or run.update % config.evaluate_every == 0):
                counts = dev.score(run.average.export())
                scores = {"dev_wer": counts.wer, "dev_cer": counts.cer}
                best = json.loads(best_file.read_text())["wer"] if best_file.exists() else 9.0
                if counts.wer <= best:
                    export(output / "best")
                    best_file.write_text(json.dumps({"wer": counts.wer, "update": run.update}))
            log.write(
                update=run.update,
                epoch=run.epoch,
                hours=round(run.hours, 4),
                seconds=round(run.seconds, 2),
                lr=lr,
                loss=loss,
                grad_norm=norm,
                **scores,
            )
            if last or run.update % config.save_every == 0:
                run.save(checkpoint, identity)
            speed = batch.seconds / elapsed
            report(
                Progress(
                    run.update,
                    config.optimizer.updates,
                    run.epoch,
                    loss,
                    lr,
                    speed,
                    scores.get("dev_wer"),
                )
            )
    finally:
        log.close()
    export(output / "model")
    plot_curves(output / "log.csv", output / "curves.png")
    return output / "model"
