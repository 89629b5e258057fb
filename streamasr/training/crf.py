"""CTC-CRF: CTC normalised over all phone sequences (Xiang and Ou 2019).

Xiang and Ou 2019 (arXiv:1911.08747): the loss of an utterance is its CTC loss plus the logarithm of
what all phone sequences score together, each weighted by an n-gram model over phones.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import crf_kernels as kernels

__all__ = ["log_denominator", "phone_trigrams"]

_DISCOUNT = 0.7


def phone_trigrams(sequences: Iterable[Sequence[int]], phones: int) -> Tensor:
    """Return ``P(c | a, b)`` as ``(phones, phones, phones)``; index 0 stands for the start.

    Absolute discounting, interpolated with bigrams and these with unigrams (Kneser and Ney 1995,
    without their lower-order counts).
    """
    joined = np.concatenate([np.zeros(2, int), *([*sequence, 0, 0] for sequence in sequences)])
    a, b, c = joined[:-2], joined[1:-1], joined[2:]
    places = ((a * phones + b) * phones + c)[c > 0]
    shape = (phones, phones, phones)
    counts = torch.from_numpy(np.bincount(places, minlength=phones**3)).double().reshape(shape)
    unigram = counts.sum((0, 1)) + 1
    unigram[0] = 0
    lower = unigram / unigram.sum()
    for level in (counts.sum(0), counts):
        total = level.sum(-1, keepdim=True).clamp(min=1)
        kept = (level - _DISCOUNT).clamp(min=0) / total
        lower = kept + (1 - kept.sum(-1, keepdim=True)) * lower
    return lower.float()


def log_denominator(log_probs: Tensor, lengths: Tensor, trigrams: Tensor) -> Tensor:
    """Return the log-sum of all phone sequences' scores, per row, differentiable by ``log_probs``.

    Args:
        log_probs: ``(T, B, P)``, blank first.
        lengths: timesteps of each row, ``(B,)``.
        trigrams: from ``phone_trigrams``.
    """
    way = _OnCPU if log_probs.device.type == "cpu" else _LogDenominator
    total: Tensor = way.apply(  # type: ignore[no-untyped-call]
        log_probs, lengths.to(log_probs.device), trigrams.to(log_probs.device)
    )
    return total


class _OnCPU(torch.autograd.Function):
    """``_LogDenominator``, row by row: a row's states then stay in the nearest cache."""

    @staticmethod
    def forward(ctx: Any, log_probs: Tensor, lengths: Tensor, trigrams: Tensor) -> Tensor:
        steps, rows, phones = log_probs.shape
        probs = log_probs.detach().transpose(0, 1).exp().contiguous()
        follow = trigrams.to(probs.dtype).transpose(0, 1).contiguous()  # (c, a, n)
        sounds = probs.new_empty(rows, steps + 1, phones, phones)
        scales = probs.new_ones(rows, steps)
        ctx.known = [x.numpy() for x in (probs, lengths, follow)]
        ctx.found = [x.numpy() for x in (sounds, scales)]
        kernels.forward(*ctx.known, *ctx.found)
        return scales.log().sum(1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        probs, lengths, follow = ctx.known
        behind = np.ascontiguousarray(follow.transpose(0, 2, 1))
        occupied = np.zeros_like(probs)
        kernels.backward(probs, lengths, follow, behind, *ctx.found, occupied)
        return torch.from_numpy(occupied).transpose(0, 1) * grads[0][:, None], None, None


class _LogDenominator(torch.autograd.Function):
    """Forward-backward in probabilities, scaled at each timestep (Rabiner 1989, section V.A).

    A state is the last two phones ``(a, c)``, and whether ``c`` still sounds or a blank followed.
    States are laid out ``(c, B, a)``, so that a step is one batched product over ``c``.
    """

    @staticmethod
    def forward(ctx: Any, log_probs: Tensor, lengths: Tensor, trigrams: Tensor) -> Tensor:
        steps, rows, phones = log_probs.shape
        probs = log_probs.exp()
        follow = trigrams.transpose(0, 1).contiguous()  # (c, a, n)
        again = follow.diagonal(dim1=0, dim2=2).t()[:, None]  # P(c | a, c) as (c, 1, a)
        sounds = probs.new_zeros(steps + 1, phones, rows, phones)
        blanks = torch.zeros_like(sounds)
        scales = probs.new_ones(steps, rows)
        active = torch.arange(steps, device=probs.device)[:, None] < lengths
        blanks[0, 0, :, 0] = 1
        for step in range(steps):
            sound, blank, p = sounds[step], blanks[step], probs[step]
            either = sound + blank
            entered = torch.bmm(either, follow)  # (c, B, n)
            entered.diagonal(dim1=0, dim2=2).sub_((sound * again).sum(-1).t())
            sound = (sound + entered.transpose(0, 2)) * p.t()[:, :, None]
            blank = either * p[:, 0, None]
            scale = torch.where(active[step], (sound + blank).sum((0, 2)), scales[step])
            mask = active[step, :, None]
            sounds[step + 1] = torch.where(mask, sound / scale[:, None], sounds[step])
            blanks[step + 1] = torch.where(mask, blank / scale[:, None], blanks[step])
            scales[step] = scale
        ctx.save_for_backward(probs, active, follow, again, sounds, blanks, scales)
        return scales.log().sum(0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        probs, active, follow, again, sounds, blanks, scales = ctx.saved_tensors
        occupied = torch.zeros_like(probs)
        later_sound, later_blank = torch.ones_like(sounds[0]), torch.ones_like(sounds[0])
        for step in range(len(probs) - 1, -1, -1):
            p, mask = probs[step], active[step, :, None]
            share = sounds[step + 1] * later_sound
            occupied[step] = share.sum(-1).t()
            occupied[step, :, 0] += (blanks[step + 1] * later_blank).sum((0, 2))
            occupied[step] *= mask
            u = later_sound * (p / scales[step, :, None]).t()[:, :, None]
            v = later_blank * (p[:, 0] / scales[step])[:, None]
            left = torch.bmm(u.transpose(0, 2), follow.transpose(1, 2))  # (c, B, a)
            repeated = u.diagonal(dim1=0, dim2=2).t()[:, :, None] * again
            later_blank = torch.where(mask, v + left, later_blank)
            later_sound = torch.where(mask, u + v + left - repeated, later_sound)
        return occupied * grads[0][:, None], None, None
