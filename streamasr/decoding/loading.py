"""Load the beam search of a model folder."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from pydantic import ValidationError

from ..acoustic import SecondPass
from ..errors import ModelError
from ..hotwords import Hotword
from ..language import OwnText, load_rescorer
from ..language.storage import WEIGHTS
from ..tokens import Tokens
from ..validated import first_problem
from .beam import BeamDecoder
from .graph import GRAPH, load_graph
from .letters import RULES, read_rules
from .settings import SETTINGS, BeamConfig

__all__ = ["BeamMissing", "check_beam", "has_beam", "load_beam"]


class BeamMissing(ModelError):
    """Numba, which compiles the search, is not installed."""


def has_beam(folder: Path) -> bool:
    """Whether a model folder has what a beam search needs."""
    return (folder / SETTINGS).is_file()


def check_beam(folder: Path) -> None:
    """Raise ModelError where there is no beam search to load, by a look at the folder only."""
    if find_spec("numba") is None:
        raise BeamMissing("the beam search needs Numba: pip install numba; or decode greedy")
    if not has_beam(folder):
        raise ModelError(
            f"{folder / SETTINGS}: missing, and with it the language model: decode greedy, "
            "without hotwords and nbest"
        )


def load_beam(
    folder: Path,
    tokens: Tokens,
    step_seconds: float,
    *,
    hotwords: Sequence[Hotword] = (),
    nbest: int = 1,
    second: SecondPass | None = None,
    own: OwnText | None = None,
) -> BeamDecoder:
    """Return the beam search of a model folder; raises ModelError if it has none that works."""
    check_beam(folder)
    path = folder / SETTINGS
    try:
        config = BeamConfig.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}): decode greedy") from error
    except ValidationError as error:
        raise ModelError(f"{path}: {first_problem(error)}") from error
    graph = load_graph(folder)
    if graph.tokens != tokens.symbols:
        raise ModelError(
            f"{folder / GRAPH}: its words are spelled in other tokens than the model's"
        )
    rules = read_rules(folder / RULES)
    rescorer = load_rescorer(folder) if config.rescoring_weight else None
    if config.rescoring_weight and not rescorer:
        raise ModelError(f"{folder / WEIGHTS}: missing, but {SETTINGS} has rescoring_weight for it")
    return BeamDecoder(
        tokens,
        step_seconds,
        graph,
        config,
        hotwords=hotwords,
        rules=rules,
        nbest=nbest,
        rescorer=rescorer,
        second=second,
        own=own,
    )
