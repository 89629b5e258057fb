"""Loss of adaptation: CTC-CRF of the transcript, and the distance to the model's own outputs.

The second part is KL-regularised adaptation (Yu et al. 2013): the frames of a few minutes say
little of how others speak, and the model's own outputs hold it where they do not speak against it.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..decoding.graph import SearchGraph
from ..training.batches import Targets
from ..training.crf import log_denominator, phone_trigrams
from ..training.losses import ctc_loss_of_rows
from .network import Posteriors

__all__ = ["Objective", "Targets", "lexicon_trigrams"]

_CHARACTERS = 0.2
"""Weight of the characters beside the phones, which most decoding reads."""
_SAMPLED_WORDS, _WORDS_A_SENTENCE = 200_000, 10


def lexicon_trigrams(graph: SearchGraph) -> Tensor:
    """Return phone trigrams of a search graph's words, drawn as often as its unigrams say.

    The denominator of CTC-CRF needs to know which phones follow which; the corpus that the model
    was trained on is not at hand where it is adapted.
    """
    rng = np.random.default_rng(0)
    places = np.flatnonzero(graph.lm_words != graph.unknown)
    shares = 10 ** graph.lm.unigram[graph.lm_words[places]].astype(np.float64)
    drawn = rng.choice(places, _SAMPLED_WORDS, p=shares / shares.sum())
    kinds = np.unique(drawn)
    words = [graph.word(int(place)) for place in kinds]
    spellings = graph.spellings(words)
    first = {int(place): spellings[word][0] for place, word in zip(kinds, words, strict=True)}
    sentences = (
        [phone for place in part for phone in first[int(place)]]
        for part in np.array_split(drawn, _SAMPLED_WORDS // _WORDS_A_SENTENCE)
    )
    return phone_trigrams(sentences, len(graph.tokens))


class Objective:
    """The loss of a batch per token; ``trigrams`` (from a lexicon) are needed for phones."""

    def __init__(self, trigrams: Tensor | None, distillation: float = 0.0) -> None:
        self._trigrams = trigrams
        self._distillation = distillation

    def __call__(
        self,
        found: Posteriors,
        lengths: Tensor,
        characters: Targets,
        phones: Targets | None,
        teacher: Posteriors | None = None,
    ) -> Tensor:
        """Return the mean loss of a token, and of a timestep's distance to ``teacher``."""
        weights, losses = [], []
        sequences = self.of_rows(found, lengths, characters, phones)
        tokens = (phones or characters).lengths.sum().clamp(min=1)
        losses.append(sequences.sum() / tokens)
        weights.append(1 - self._distillation if teacher else 1.0)
        if teacher is not None:
            mask = torch.arange(len(found.characters))[:, None] < lengths
            mask = mask.to(found.characters.device)
            apart = [
                ((old.exp() * (old - new)).sum(-1) * mask).sum() / tokens
                for new, old in zip(found.heads, teacher.heads, strict=True)
            ]
            losses.append(torch.stack(apart).mean())
            weights.append(self._distillation)
        return sum((w * loss for w, loss in zip(weights, losses, strict=True)), torch.zeros(()))

    def of_rows(
        self, found: Posteriors, lengths: Tensor, characters: Targets, phones: Targets | None
    ) -> Tensor:
        """Return each row's loss ``(B,)``: CTC of characters, and CTC-CRF of phones by each pass.

        Without phones it is the former alone.
        """
        if phones is None or found.phones is None or self._trigrams is None:
            return ctc_loss_of_rows(found.characters, lengths, characters)
        heads = [head for head in (found.phones, found.second) if head is not None]
        each = [self.phones_of_rows(head, lengths, phones) for head in heads]
        spelled = ctc_loss_of_rows(found.characters, lengths, characters)
        return torch.stack(each).mean(0) + _CHARACTERS * spelled

    def phones_of_rows(self, head: Tensor, lengths: Tensor, phones: Targets) -> Tensor:
        """Return CTC-CRF of each row ``(B,)``: minus the log-probability of its phones."""
        assert self._trigrams is not None
        return ctc_loss_of_rows(head, lengths, phones) + log_denominator(
            head, lengths, self._trigrams
        )
