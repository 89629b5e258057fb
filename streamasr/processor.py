"""What this machine's processor can do."""

from __future__ import annotations

import torch

__all__ = ["computes_in_bfloat16"]


def computes_in_bfloat16() -> bool:
    """Return whether this CPU has instructions for it; others would be slower than in float32."""
    supported: bool = torch.cpu._is_avx512_bf16_supported()
    return supported
