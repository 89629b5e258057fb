"""Weights in the form that a backend wants them, made once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, MutableMapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

__all__ = ["packed_once"]

_Packed = TypeVar("_Packed")

# Weak: what is packed goes with the weights that it was packed from.
_cache: MutableMapping[Tensor, dict[Hashable, Any]] = WeakIdKeyDictionary()


def packed_once(tensors: Sequence[Tensor], key: Hashable, pack: Callable[[], _Packed]) -> _Packed:
    """Return what ``pack`` made of ``tensors`` for ``key``; it runs again when one has changed.

    It is kept for as long as the first of them lives.
    """
    state = [(t.data_ptr(), 0 if t.is_inference() else t._version) for t in tensors]
    of_weights = _cache.setdefault(tensors[0], {})
    if key not in of_weights or of_weights[key][0] != state:
        with torch.no_grad():
            of_weights[key] = (state, pack())
    packed: _Packed = of_weights[key][1]
    return packed
