"""Columns of the beam search's arrays: rows of 32-bit integers, some of them float32.

A **code** says where in the lexicon tree a hypothesis stands:

* ``2 * node``: the node's token sounds; ``2 * node + 1``: a blank has followed it. At a child of
  the root of a model with units in context, the token before stands in the upper bits: ``left <<
  24``;
* ``-2 * unit``: a word has ended and its last unit sounds; ``-2 * token - 1``: a blank has followed
  it. ``token`` is 0 where units do not depend on the token before.

A **history** is a sequence of words, a node of a tree whose parents have lower indices; 0 is that
without words. A **trace** is a hypothesis' finished words with their times, likewise.
"""

from __future__ import annotations

from enum import IntEnum

__all__ = ["FRESH", "LEFT_SHIFT", "NODE_MASK", "NO_TRACE", "History", "Hypothesis", "Trace"]

FRESH = -1
"""Code of a hypothesis before the first timestep."""
LEFT_SHIFT = 24
NODE_MASK = (1 << LEFT_SHIFT) - 1
NO_TRACE = -1


class Hypothesis(IntEnum):
    """``POSTERIORS``: sum over the ``COUNT`` timesteps from ``START`` to ``LAST`` of its word."""

    CODE, HISTORY, SCORE, TRACE, START, LAST, POSTERIORS, COUNT = range(8)


class History(IntEnum):
    """``LM_SCORE``: the n-gram model's of ``WORD``; ``BIAS``: state of the hotword automaton."""

    PARENT, WORD, LM_STATE, LM_SCORE, BIAS = range(5)


class Trace(IntEnum):
    """A word that another has followed: as the columns of ``Hypothesis``."""

    PARENT, START, LAST, POSTERIORS, COUNT = range(5)
