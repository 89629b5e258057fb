"""Hotwords: phrases that the search shall prefer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..manifest import normalise

__all__ = ["DEFAULT_WEIGHT", "Hotword", "read_hotwords", "with_hotwords"]

DEFAULT_WEIGHT = 2.0
# What a hotword scores at least, in powers of ten: one that the language model has never seen is
# taken for a rare one.
_RARE = -5.5


@dataclass(frozen=True)
class Hotword:
    """A phrase as it was written, and perhaps its phones.

    ``weight`` is a power of ten: with 2, each of its words counts as a hundred times as likely as
    the language model thinks.
    """

    text: str
    weight: float = DEFAULT_WEIGHT
    phones: tuple[str, ...] = ()

    @property
    def words(self) -> tuple[str, ...]:
        """The words of the phrase, as transcripts have them."""
        return tuple(normalise(self.text).split())


def read_hotwords(path: str | Path) -> list[Hotword]:
    """Read a phrase a line: ``phrase``, or ``phrase<TAB>weight``, or with ``<TAB>phones`` behind.

    Empty lines and those that begin with ``#`` are skipped. Raises ConfigError naming the line.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text") from error
    found = []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        text, weight, phones, *more = [*(part.strip() for part in line.split("\t")), "", ""]
        try:
            value = float(weight) if weight else DEFAULT_WEIGHT
        except ValueError as error:
            raise ConfigError(
                f"{path}:{number}: the weight {weight!r} is no number; a line is a phrase, and "
                "after a tab its weight"
            ) from error
        if any(more):
            raise ConfigError(f"{path}:{number}: a line is a phrase, its weight and its phones")
        found.append(Hotword(text, value, tuple(phones.lower().split())))
    return found


def with_hotwords(inner: Any, phrases: Mapping[tuple[int, ...], float]) -> Any:
    """Return ``inner``, a language model of flashlight's, with a bonus for ``phrases``.

    Every word that carries a phrase on earns the phrase's weight at once, so that the search keeps
    it; where the phrase breaks off, what its beginning had earned is taken back. The model serves
    one search, whose states it remembers.
    """
    from flashlight.lib.text.decoder import LM, LMState

    tree = _tree(phrases)

    class Biased(LM):  # type: ignore[misc]
        def __init__(self) -> None:
            LM.__init__(self)
            # By state: the state of the model inside, the place in the tree, and what is owed.
            self.known: dict[Any, tuple[Any, _Node, float]] = {}

        def start(self, start_with_nothing: bool) -> Any:
            state = LMState()
            self.known[state] = (inner.start(start_with_nothing), tree, 0.0)
            return state

        def score(self, state: Any, index: int) -> tuple[Any, float]:
            behind, node, owed = self.known[state]
            following, score = inner.score(behind, index)
            node, owed, bonus = _advance(tree, node, owed, index)
            if bonus > 0:
                score = max(score, _RARE)
            after = state.child(index)
            self.known[after] = (following, node, owed)
            return after, score + bonus

        def finish(self, state: Any) -> tuple[Any, float]:
            behind, _, owed = self.known[state]
            return state, inner.finish(behind)[1] - owed

    return Biased()


class _Node:
    """A place in the tree of phrases: what may follow, and whether a phrase ends here."""

    def __init__(self) -> None:
        self.next: dict[int, _Node] = {}
        self.weight = 0.0
        self.ends = False


def _tree(phrases: Mapping[tuple[int, ...], float]) -> _Node:
    root = _Node()
    for phrase, weight in phrases.items():
        node = root
        for word in phrase:
            node = node.next.setdefault(word, _Node())
            node.weight = max(node.weight, weight)
        node.ends = True
    return root


def _advance(root: _Node, node: _Node, owed: float, word: int) -> tuple[_Node, float, float]:
    """Return the node after ``word``, what is owed if the phrase breaks off there, and the bonus.

    A phrase that breaks off may begin another one with the same word.
    """
    bonus = 0.0
    if word not in node.next:
        bonus, owed, node = -owed, 0.0, root
    if word not in node.next:
        return root, 0.0, bonus
    node = node.next[word]
    return node, 0.0 if node.ends else owed + node.weight, bonus + node.weight
