"""A stacked LSTM with carried state, one call for every backend. No speech in it.

``lstm(x, weights, state) -> (y, state)`` and the module ``PersistentLSTM``.
"""

from .functional import BACKENDS, choose_backend, lstm
from .module import PersistentLSTM
from .reference import lstm_reference
from .types import NORM_EPSILON, LayerWeights, LSTMError, LSTMState, zero_state

__all__ = [
    "BACKENDS",
    "NORM_EPSILON",
    "LSTMError",
    "LSTMState",
    "LayerWeights",
    "PersistentLSTM",
    "choose_backend",
    "lstm",
    "lstm_reference",
    "zero_state",
]
