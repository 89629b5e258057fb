"""A stacked LSTM with carried state, one call for every backend. No speech in it.

``lstm(x, weights, state) -> (y, state)`` and the modules ``PersistentLSTM`` and ``Int8LSTM``;
``linear`` and ``convolve`` for what stands around a stack on a CPU.
"""

from .devices import DEVICES, Device
from .errors import raise_pending_error
from .functional import BACKENDS, choose_backend, lstm, plan_for
from .layers import convolve, cpu_unavailable, linear
from .memory import LaunchMemory
from .module import Int8LSTM, PersistentLSTM
from .plan import Launch, Plan
from .planning import make_plan
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
    "Int8LSTM",
    "Int8LayerWeights",
    "Int8Matrix",
    "LSTMError",
    "LSTMState",
    "Launch",
    "LaunchMemory",
    "LayerWeights",
    "PersistentLSTM",
    "Plan",
    "Weights",
    "choose_backend",
    "convolve",
    "cpu_unavailable",
    "linear",
    "lstm",
    "lstm_reference",
    "make_plan",
    "plan_for",
    "raise_pending_error",
    "zero_state",
]
