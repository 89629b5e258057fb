"""Training losses: CTC over characters, and what a lexicon adds for phones."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .batches import Batch, Targets
from .config import LossConfig
from .crf import log_denominator
from .labels import IGNORED

__all__ = ["Losses", "ctc_loss_of_rows", "token_counts"]

_NAMES = ("characters", "frames", "phones")


class Losses:
    """The losses of a batch; ``trigrams`` of phones are needed for CTC-CRF alone."""

    def __init__(
        self,
        config: LossConfig,
        vocab_size: int,
        phone_size: int = 0,
        trigrams: Tensor | None = None,
    ) -> None:
        self._config = config
        self._sizes = [vocab_size, phone_size, phone_size]
        self._trigrams = trigrams

    @property
    def trigrams(self) -> Tensor | None:
        """Those of CTC-CRF's denominator, None without it."""
        return self._trigrams

    def __call__(
        self,
        log_probs: Tensor,
        batch: Batch,
        update: int,
        denominators: Tensor | None = None,
        counts: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return each weighted loss of ``log_probs (T, B, V + P + P)`` by its name.

        ``denominators (B,)`` of the phones are computed unless they are given. Losses are sums over
        the rows, divided by ``counts``: by default those of ``batch``.
        """
        counts = token_counts(batch) if counts is None else counts
        count = dict(zip(_NAMES, counts.clamp(min=1), strict=True))
        weights, found = self._config, {}
        characters, phones, frames = torch.split(log_probs, self._sizes, dim=-1)
        if weights.characters:
            loss = ctc_loss_of_rows(characters, batch.lengths, batch.characters).sum()
            found["characters"] = weights.characters * loss / count["characters"]
        if batch.phones is None or batch.labels is None:
            return found
        if weights.frames:
            labels = batch.labels.to(frames.device).flatten()
            loss = nn.functional.nll_loss(
                frames.flatten(0, 1), labels, ignore_index=IGNORED, reduction="sum"
            )
            found["frames"] = weights.frames * loss / count["frames"]
        if weights.phones:
            loss = ctc_loss_of_rows(phones, batch.lengths, batch.phones)
            if self._trigrams is not None and update >= weights.denominator_from:
                if denominators is None:
                    denominators = log_denominator(phones, batch.lengths, self._trigrams)
                loss = loss + denominators
            found["phones"] = weights.phones * loss.sum() / count["phones"]
        return found


def token_counts(batch: Batch) -> Tensor:
    """Return what the losses are per: characters, labelled timesteps and phones, ``(3,)``."""
    none = torch.tensor(0)
    return torch.stack(
        [
            batch.characters.lengths.sum(),
            none if batch.labels is None else (batch.labels != IGNORED).sum(),
            none if batch.phones is None else batch.phones.lengths.sum(),
        ]
    )


def ctc_loss_of_rows(log_probs: Tensor, lengths: Tensor, targets: Targets) -> Tensor:
    """Return the CTC loss of each row of ``log_probs (T, B, V)``, in nats: ``(B,)``."""
    loss: Tensor = nn.functional.ctc_loss(
        log_probs,
        targets.tokens.to(log_probs.device),
        lengths,
        targets.lengths,
        blank=0,
        reduction="none",
        zero_infinity=True,
    )
    return loss
