"""The denominator of CTC-CRF on a CPU, compiled by Numba: ``crf.py`` says what is computed."""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ["backward", "forward"]


def _compiled(function):
    return njit(nogil=True, cache=True, error_model="numpy")(function)


@_compiled
def forward(probs, lengths, follow, sounds, scales):
    """Fill ``sounds (B, T + 1, P, P)`` and ``scales (B, T)``, both up to the rows' lengths.

    ``probs`` are ``(B, T, P)``; ``follow[c, a, n]`` is the probability of ``n`` behind a, c.
    ``sounds[b, t, c, a]`` is that of the states in which ``c`` still sounds before timestep ``t``.
    """
    rows, _, phones = probs.shape
    zero = probs.dtype.type(0)
    blank = np.empty((phones, phones), probs.dtype)
    either, entered = np.empty_like(blank), np.empty_like(blank)
    for b in range(rows):
        blank[:] = 0
        blank[0, 0] = 1
        sounds[b, 0] = 0
        for step in range(lengths[b]):
            p, sound, following = probs[b, step], sounds[b, step], sounds[b, step + 1]
            for c in range(phones):
                repeated = zero
                for n in range(phones):
                    entered[c, n] = 0
                for a in range(phones):
                    either[c, a] = sound[c, a] + blank[c, a]
                    for n in range(phones):
                        entered[c, n] += either[c, a] * follow[c, a, n]
                    repeated += sound[c, a] * follow[c, a, c]
                entered[c, c] -= repeated
            total = zero
            for c in range(phones):
                for a in range(phones):
                    following[c, a] = (sound[c, a] + entered[a, c]) * p[c]
                    blank[c, a] = either[c, a] * p[0]
                    total += following[c, a] + blank[c, a]
            scales[b, step] = total
            scale = 1 / total
            for c in range(phones):
                for a in range(phones):
                    following[c, a] *= scale
                    blank[c, a] *= scale


@_compiled
def backward(probs, lengths, follow, behind, sounds, scales, occupied):
    """Fill ``occupied (B, T, P)`` up to the rows' lengths: the share of the paths in each phone.

    ``behind[c, n, a]`` is ``follow[c, a, n]``.
    """
    rows, _, phones = probs.shape
    zero, one = probs.dtype.type(0), probs.dtype.type(1)
    later_sound = np.empty((phones, phones), probs.dtype)
    later_blank, u, left = (
        np.empty_like(later_sound),
        np.empty_like(later_sound),
        np.empty_like(later_sound),
    )
    for b in range(rows):
        later_sound[:] = 1
        later_blank[:] = 1
        for step in range(lengths[b] - 1, -1, -1):
            p, sound, scale = probs[b, step], sounds[b, step + 1], one / scales[b, step]
            silent = one  # shares of a timestep sum up to 1
            for c in range(phones):
                share = zero
                for a in range(phones):
                    share += sound[c, a] * later_sound[c, a]
                    u[a, c] = later_sound[c, a] * (p[c] * scale)
                occupied[b, step, c] = share
                silent -= share
            occupied[b, step, 0] += silent
            for c in range(phones):
                for a in range(phones):
                    left[c, a] = later_blank[c, a] * (p[0] * scale)
                for n in range(phones):
                    for a in range(phones):
                        left[c, a] += u[c, n] * behind[c, n, a]
            for c in range(phones):
                for a in range(phones):
                    later_blank[c, a] = left[c, a]
                    later_sound[c, a] = u[a, c] + left[c, a] - u[c, c] * follow[c, a, c]
