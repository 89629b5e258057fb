"""The acoustic stage: ``(samples, state) -> (output, state)``, for one stream or many at once."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice

import torch
from persistent_lstm import Int8LSTM, LSTMError, LSTMState, choose_backend
from torch import Tensor

from ..errors import ConfigError, ModelError
from ..timings import Timings
from .frontend import Frontend, FrontendState
from .model import AcousticModel, Bundle
from .rows import AcousticOutput, step
from .second_pass import SecondPass, SecondPassInput

__all__ = ["AcousticStage", "AcousticState", "usable_device"]


def _after_fork() -> None:
    # OpenMP's threads are not forked; a child that counts on them waits for ever.
    torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@dataclass(frozen=True, slots=True)
class AcousticState:
    """What the frontend and the model remember of a stream. A value.

    ``samples`` counts those received.
    """

    frontend: FrontendState
    lstm: LSTMState
    samples: int = 0


class AcousticStage:
    """A model on a device: samples to log-posteriors; any chunking gives the same. Immutable.

    ``second_pass`` is None for a model without one. ``backend`` is what runs the LSTM, and
    ``backend_reason`` why. Raises ModelError for a backend that cannot run this model here.
    """

    def __init__(self, bundle: Bundle, device: torch.device, backend: str = "auto") -> None:
        self.device = device
        self._model = _placed(bundle.model, device, backend)
        try:
            chosen = choose_backend(backend, self._model.lstm.weights, residual=True)
        except LSTMError as error:
            raise ModelError(str(error)) from error
        self.backend, self.backend_reason = chosen
        self.frontend = bundle.config.frontend
        self._frontend = Frontend(self.frontend)
        self._process = os.getpid()
        network = self._model.tdnn
        self.second_pass = None if network is None else SecondPass(network)

    @property
    def output_size(self) -> int:
        """Values of ``log_probs`` per timestep."""
        return self._model.config.output_size

    def initial_state(self) -> AcousticState:
        """Return the state before the first sample."""
        return AcousticState(self._frontend.initial_state(), self._model.initial_state())

    def closing_silence(self) -> Tensor:
        """Return the samples behind the last one that let the model finish its last word."""
        return self._frontend.tail()

    def __call__(
        self, samples: Tensor, state: AcousticState, timings: Timings | None = None
    ) -> tuple[AcousticOutput, AcousticState]:
        """Take ``samples (n,)``, 16 kHz float32; return the timesteps now complete."""
        return self.many([samples], [state], timings)[0]

    @torch.inference_mode()
    def many(
        self,
        samples: Sequence[Tensor],
        states: Sequence[AcousticState],
        timings: Timings | None = None,
    ) -> list[tuple[AcousticOutput, AcousticState]]:
        """Do as a call for each of several streams, in one pass through the model.

        Each stream gets what it would get alone, up to the rounding of float32.
        """
        if self.device.type != "cpu" and os.getpid() != self._process:
            raise ModelError(
                f"a recognizer on {self.device} does not survive a fork: load it in each process "
                "(Recognizer.from_options(recognizer.options)), or start processes by spawn"
            )
        timings = timings or Timings()
        with timings.stage("frontend"):
            made = [
                self._frontend(chunk, state.frontend)
                for chunk, state in zip(samples, states, strict=True)
            ]
        with timings.stage("lstm"):
            found = step(
                self._model,
                [features for features, _ in made],
                [state.lstm for state in states],
                backend=self.backend,
            )
        return [
            (output, AcousticState(frontend, lstm, state.samples + len(chunk)))
            for (output, lstm), (_, frontend), state, chunk in zip(
                found, made, states, samples, strict=True
            )
        ]

    def with_second_pass(
        self, outputs: Sequence[AcousticOutput], inputs: Sequence[Sequence[SecondPassInput]]
    ) -> list[AcousticOutput]:
        """Return ``outputs`` with what the second pass makes of the ``inputs`` of each.

        All are computed in one pass.
        """
        if self.second_pass is None:
            return [*outputs]
        found = iter(self.second_pass.many([*chain.from_iterable(inputs)]))
        return [
            replace(output, second=tuple(islice(found, len(own))))
            for output, own in zip(outputs, inputs, strict=True)
        ]


def usable_device(name: str | None) -> torch.device:
    """Return the device of this name, or the best there is; raises ConfigError."""
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    # torch built without CUDA fails an assertion, others miss the driver or the device.
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"device {name!r} cannot be used here ({reason}): leave it out, or say 'cpu'"
        ) from error
    return device


def _placed(model: AcousticModel, device: torch.device, backend: str) -> AcousticModel:
    """Return the model on ``device``; for the kernels with 16-bit LSTM weights if none is lost.

    Bundles store float16, so none usually is, and the whole stack then fits one launch.
    """
    if device.type == "cpu":
        return model
    model = copy.deepcopy(model).to(device)
    if isinstance(model.lstm, Int8LSTM):
        return model  # loaded as int8, it runs in float32 here
    exact = all(torch.equal(w.half().float(), w.float()) for w in model.lstm.parameters())
    if backend != "torch" and exact:
        model.lstm.half()
    return model
