"""A language model with random weights, and one list of pieces."""

from __future__ import annotations

import pytest
import torch

from streamasr.language import LanguageModel, LanguageModelConfig, Pieces

PIECES = ("</s>", "▁", "▁the", "▁s", "ee", "ea", "a", "e", "s", "t", "'", "cat", "▁cat")


@pytest.fixture(scope="session")
def pieces() -> Pieces:
    return Pieces(PIECES)


@pytest.fixture(scope="session")
def model(pieces) -> LanguageModel:
    torch.manual_seed(0)
    config = LanguageModelConfig(vocab_size=len(pieces), embedding_size=11, hidden_size=17)
    model = LanguageModel(config)
    with torch.no_grad():
        for value in model.parameters():
            value.normal_(std=0.5)
    return model.eval().requires_grad_(False)
