"""Error rates, corpus-level, by jiwer; texts are compared after ``manifest.normalise``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import jiwer

from .manifest import normalise

__all__ = ["ErrorCounts", "aligned_words", "count_errors"]


@dataclass(frozen=True, slots=True)
class ErrorCounts:
    """Word edits, summed over utterances, and the character error rate.

    ``wer = (substitutions + deletions + insertions) / words``.
    """

    words: int
    substitutions: int
    deletions: int
    insertions: int
    cer: float

    @property
    def wer(self) -> float:
        """Word error rate; 0 when nothing was said and nothing was recognised."""
        errors = self.substitutions + self.deletions + self.insertions
        return errors / self.words if self.words else float(errors > 0)


def count_errors(references: Sequence[str], hypotheses: Sequence[str]) -> ErrorCounts:
    """Compare texts pair by pair and add the counts up."""
    pairs = [(normalise(r), normalise(h)) for r, h in zip(references, hypotheses, strict=True)]
    spoken = [(r, h) for r, h in pairs if r]
    # jiwer refuses empty references: all words of their hypotheses are insertions.
    extra = sum(len(h.split()) for r, h in pairs if not r)
    if not spoken:
        return ErrorCounts(0, 0, 0, extra, float(extra > 0))
    refs, hyps = [r for r, _ in spoken], [h for _, h in spoken]
    counts = jiwer.process_words(refs, hyps)
    return ErrorCounts(
        words=counts.hits + counts.substitutions + counts.deletions,
        substitutions=counts.substitutions,
        deletions=counts.deletions,
        insertions=counts.insertions + extra,
        cer=float(jiwer.process_characters(refs, hyps).cer),
    )


def aligned_words(reference: str, words: Sequence[str]) -> Iterator[tuple[str, int, int]]:
    """Yield ``(kind, index in reference, index in words)`` of matched and substituted words.

    ``kind`` is ``"equal"`` or ``"substitute"``.
    """
    said = normalise(reference)
    if not said or not words:
        return
    for part in jiwer.process_words(said, " ".join(words)).alignments[0]:
        if part.type in ("equal", "substitute"):
            for k in range(part.ref_end_idx - part.ref_start_idx):
                yield part.type, part.ref_start_idx + k, part.hyp_start_idx + k
