"""A stacked LSTM with carried state, one call for every backend. No speech in it.

``lstm(x, weights, state) -> (y, state)`` and the module ``PersistentLSTM``.
"""

from .devices import DEVICES, Device
from .errors import raise_pending_error
from .functional import BACKENDS, choose_backend, lstm, plan_for
from .module import PersistentLSTM
from .plan import Launch, Plan, make_plan
from .reference import lstm_reference
from .types import (
    NORM_EPSILON,
    Int8LayerWeights,
    Int8Matrix,
    LayerWeights,
    LSTMError,
    LSTMState,
    Weights,
    zero_state,
)

__all__ = [
    "BACKENDS",
    "DEVICES",
    "NORM_EPSILON",
    "Device",
    "Int8LayerWeights",
    "Int8Matrix",
    "LSTMError",
    "LSTMState",
    "Launch",
    "LayerWeights",
    "PersistentLSTM",
    "Plan",
    "Weights",
    "choose_backend",
    "lstm",
    "lstm_reference",
    "make_plan",
    "plan_for",
    "raise_pending_error",
    "zero_state",
]
