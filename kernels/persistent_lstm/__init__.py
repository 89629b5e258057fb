"""A stacked LSTM with carried state, one call for every backend. No speech in it.

``lstm(x, weights, state) -> (y, state)`` and the module ``PersistentLSTM``.
"""

from .devices import DEVICES, Device
from .errors import raise_pending_error
from .functional import BACKENDS, choose_backend, lstm, plan_for
from .module import PersistentLSTM
from .plan import Launch, Plan, make_plan
from .reference import lstm_reference
from .types import NORM_EPSILON, LayerWeights, LSTMError, LSTMState, zero_state

__all__ = [
    "BACKENDS",
    "DEVICES",
    "NORM_EPSILON",
    "Device",
    "LSTMError",
    "LSTMState",
    "Launch",
    "LayerWeights",
    "PersistentLSTM",
    "Plan",
    "choose_backend",
    "lstm",
    "lstm_reference",
    "make_plan",
    "plan_for",
    "raise_pending_error",
    "zero_state",
]
