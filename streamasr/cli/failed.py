"""Report the recordings that a command had to leave out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from . import console

if TYPE_CHECKING:
    from ..evaluation import Evaluation
    from ..failures import Failure
    from ..live_evaluation import LiveEvaluation

__all__ = ["Collected", "as_json", "end_with", "not_measured"]


def end_with(failed: Sequence[Failure]) -> None:
    """Print an error line for each recording that failed; exit with 1 if there is any."""
    for failure in failed:
        console.error(failure.problem)
    if failed:
        raise typer.Exit(1)


class Collected:
    """Prints each recording that fails as it does so, and ends the command with 1 for them."""

    def __init__(self) -> None:
        self._count = 0

    def __call__(self, failure: Failure) -> None:
        """Print a recording's error line."""
        self._count += 1
        console.error(failure.problem)

    def end(self) -> None:
        """Say how many were left out; exit with 1 if there is any."""
        if self._count:
            console.note(f"{self._count} recordings were left out")
            raise typer.Exit(1)


def not_measured(evaluation: Evaluation | LiveEvaluation) -> str:
    """Return the end of a summary: how many of how many failed; nothing if none did."""
    count = len(evaluation.failed)
    return f"; {count} of {count + len(evaluation.results)} not measured" if count else ""


def as_json(failed: Sequence[Failure]) -> list[dict[str, str]]:
    """Return the recordings that failed as they stand in JSON."""
    return [{"path": str(failure.path), "error": failure.problem} for failure in failed]
