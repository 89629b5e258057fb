"""Training of the recurrent language model on a text, in the order of its sentences."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

from ..errors import ConfigError
from ..language import LanguageModel, LanguageModelConfig, Pieces, Reader
from ..language.pieces import BOUNDARY
from .state import backward

__all__ = ["LanguageTraining", "Progress", "encode", "learn_pieces", "perplexity", "train"]


@dataclass(frozen=True, slots=True)
class LanguageTraining:
    """How to train: ``rows`` places of the text are read at once, ``length`` pieces an update.

    The text is read ``passes`` times. ``reset_probability``: share of rows that forget all before
    an update, so that the model also learns to begin in the middle, as a segment does.
    """

    passes: int = 1
    rows: int = 64
    length: int = 64
    peak_lr: float = 2e-3
    warmup: int = 200
    reset_probability: float = 0.3
    weight_decay: float = 0.01
    clip: float = 1.0
    seed: int = 0
    save_every: int = 500


@dataclass(frozen=True, slots=True)
class Progress:
    """Reported after each update; ``loss`` in nats a piece."""

    update: int
    updates: int
    loss: float
    pieces_per_second: float


def learn_pieces(sentences: Iterable[str], size: int) -> Pieces:
    """Return the ``size`` pieces that spell a text best, by sentencepiece's BPE."""
    try:
        import sentencepiece
    except ImportError as error:
        raise ConfigError("sentencepiece is missing: pip install 'streamasr[train]'") from error
    counts = Counter(word for sentence in sentences for word in sentence.split())
    # Words with their counts, as sentencepiece reads them: a hundredth of the text.
    lines = (f"{word}\t{count}" for word, count in sorted(counts.items()))
    model = BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=lines,
            input_format="tsv",
            model_writer=model,
            model_type="bpe",
            vocab_size=size,
            character_coverage=1.0,
            bos_id=-1,
            eos_id=0,
            unk_id=1,
            pad_id=-1,
            normalization_rule_name="identity",
            minloglevel=2,
        )
    except RuntimeError as error:
        # Its last sentence says what to change; the rest is where in its source.
        reason = str(error).strip().rsplit("] ", 1)[-1]
        raise ConfigError(f"no {size} pieces can be learned from this text: {reason}") from error
    found = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    names = [found.id_to_piece(place) for place in range(len(found))]
    return Pieces([BOUNDARY, *(name for name in names if not name.startswith("<"))])


def encode(sentences: Iterable[str], pieces: Pieces) -> NDArray[np.int16]:
    """Return a text as one row of pieces, ``</s>`` behind each sentence.

    Raises ConfigError for more than 32,768 pieces.
    """
    if len(pieces) > np.iinfo(np.int16).max + 1:
        raise ConfigError(f"{len(pieces)} pieces are too many: at most 32768")
    found = bytearray()
    for sentence in sentences:
        row = [place for word in sentence.split() for place in pieces.encode(word)]
        found += np.array([*row, 0], np.int16).tobytes()
    return np.frombuffer(bytes(found), np.int16)


def train(
    text: NDArray[np.int16],
    config: LanguageModelConfig,
    settings: LanguageTraining,
    checkpoint: Path,
    report: Callable[[Progress], None] = lambda _: None,
) -> LanguageModel:
    """Read ``text`` and return the model; go on from ``checkpoint`` where there is one.

    AdamW in bfloat16, its learning rate falling linearly to zero, on a GPU if there is one. Raises
    ConfigError for a text that is too short, or a checkpoint of another model, text or number of
    rows.
    """
    columns = (len(text) - 1) // settings.rows
    pass_updates = columns // settings.length
    updates = settings.passes * pass_updates
    if not pass_updates:
        least = settings.rows * settings.length
        raise ConfigError(f"the text has {len(text)} pieces; an update takes {least}")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(settings.seed)
    model = LanguageModel(config).to(device)
    optimizer = torch.optim.AdamW(
        model.parameters(), betas=(0.9, 0.99), weight_decay=settings.weight_decay, fused=True
    )
    state, update = model.initial_state(settings.rows), 0
    if checkpoint.exists():
        saved = torch.load(checkpoint, map_location=device, weights_only=True)
        known = saved["config"], saved["pieces"], saved["state"][0].shape[1]
        if known != (config.model_dump(), len(text), settings.rows):
            raise ConfigError(
                f"{checkpoint}: of another model, text or number of rows; remove it to begin anew"
            )
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        state, update = saved["state"], saved["update"]
    places = np.arange(settings.rows)[:, None] * columns
    while update < updates:
        began = time.perf_counter()
        start = update % pass_updates * settings.length
        span = places + start + np.arange(settings.length + 1)
        read = torch.from_numpy(text[span].astype(np.int64))
        inputs, targets = read[:, :-1].clone(), read[:, 1:].to(device)
        generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + update)
        reset = torch.rand(settings.rows, generator=generator) < settings.reset_probability
        inputs[reset, 0] = 0
        keep = (~reset)[None, :, None].to(device)
        lr = settings.peak_lr * min(1.0, (update + 1) / settings.warmup, 1 - update / updates)
        for group in optimizer.param_groups:
            group["lr"] = lr
        with torch.autocast(device.type, torch.bfloat16):
            logits, (h, c) = model(inputs.to(device), (state[0] * keep, state[1] * keep))
        loss = cross_entropy(logits.flatten(0, 1).float(), targets.flatten())
        optimizer.zero_grad(set_to_none=True)
        backward(loss, model)
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
        optimizer.step()
        state = (h.detach().float(), c.detach().float())
        update += 1
        rate = targets.numel() / (time.perf_counter() - began)
        report(Progress(update, updates, float(loss.detach()), rate))
        if update % settings.save_every == 0:
            _save(
                checkpoint,
                config=config.model_dump(),
                pieces=len(text),
                model=model.state_dict(),
                optimizer=optimizer.state_dict(),
                state=state,
                update=update,
            )
    return model.cpu().eval()


def _save(path: Path, **values: object) -> None:
    """Write a checkpoint; a reader sees the old file or the whole new one."""
    partial = path.with_suffix(".partial")
    torch.save(values, partial)
    partial.replace(path)


def perplexity(reader: Reader, sentences: Iterable[str]) -> float:
    """Return the perplexity a word of ``sentences``, each by itself, their ends not counted."""
    scores = [
        score
        for sentence in sentences
        for score in reader.score([sentence.split()], reader.initial_state())[0]
    ]
    return math.exp(-sum(scores) / max(1, len(scores)))
