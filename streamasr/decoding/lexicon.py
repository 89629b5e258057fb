"""Words, how they are spelled in tokens, and the language model that scores them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import ModelError
from ..model import Tokens
from .hotwords import Hotword, with_hotwords
from .letters import RULES, pronounce, read_rules

__all__ = ["LANGUAGE_MODEL", "NEVER", "WORDS", "Lexicon"]

LANGUAGE_MODEL, WORDS = "lm.bin", "lexicon.txt"
UNKNOWN = "<unk>"
NEVER = -1e4  # in place of minus infinity, which does not add up
_MOST_HOMOPHONES = 6  # flashlight's trie keeps no more, and drops the rest with a complaint each


class Lexicon:
    """A language model and a trie of the words it scores, ready for flashlight's search.

    Args:
        folder: holds ``lm.bin``, a KenLM model, and ``lexicon.txt``: a line is a word and its
            tokens, several lines for several pronunciations; a word alone is spelled in characters.
        tokens: what the spellings consist of.
        hotwords: phrases to be preferred; each becomes part of the trie, whether the lexicon has it
            or not.

    Raises:
        ModelError: a file is missing or damaged.
    """

    def __init__(self, folder: Path, tokens: Tokens, hotwords: Sequence[Hotword] = ()) -> None:
        from flashlight.lib.text.dictionary import Dictionary

        self._tokens = tokens
        entries = _read_entries(folder / WORDS)
        self.unusable: list[tuple[Hotword, str]] = []
        usable = []
        rules = read_rules(folder / RULES) if hotwords else {}
        for hotword in hotwords:
            if reason := _add(hotword, entries, rules, spelled=tokens.space is not None):
                self.unusable.append((hotword, reason))
            else:
                usable.append(hotword)
        self.words = [*entries]
        self.dictionary = Dictionary()
        for word in (*self.words, UNKNOWN):
            self.dictionary.add_entry(word)
        self.unknown: int = self.dictionary.get_index(UNKNOWN)
        self.dictionary.set_default_index(self.unknown)
        self._lm: Any = _language_model(folder / LANGUAGE_MODEL, self.dictionary)
        indices = {word: index for index, word in enumerate(self.words)}
        self._phrases = {tuple(indices[w] for w in h.words): h.weight for h in usable}
        # Phones have no separator, and flashlight's search leaves a word with the first timestep of
        # its last token. So every token has a twin that sounds alike, and a word may end with its
        # last token's twin after any time; the trie's root, where silence is heard, needs a token
        # of its own.
        self._twins = 0 if tokens.space is not None else len(tokens) - 1
        self.silence = len(tokens) + self._twins if tokens.space is None else tokens.space
        self.trie = self._trie(entries, folder / WORDS)

    def language_model(self) -> Any:
        """Return the language model of one search."""
        return with_hotwords(self._lm, self._phrases) if self._phrases else self._lm

    def emissions(self, log_probs: Tensor) -> Tensor:
        """Return ``log_probs (T, V)`` with the columns that the trie's other tokens need."""
        if not self._twins:
            return log_probs
        never = log_probs.new_full((len(log_probs), 1), NEVER)
        return torch.cat([log_probs, log_probs[:, 1:], never], dim=1)

    def most_columns(self, tokens: int) -> int:
        """Return how many columns of ``emissions`` hold the best ``tokens`` of each timestep."""
        return min(tokens, len(self._tokens)) * (2 if self._twins else 1)

    def token_of(self, token: int) -> int:
        """Return the token that the trie's ``token`` is, or is the twin of."""
        return token if token < len(self._tokens) else token - self._twins

    def _trie(self, entries: dict[str, list[tuple[str, ...]]], path: Path) -> Any:
        from flashlight.lib.text.decoder import SmearingMode, Trie

        lm = self.language_model()
        start = lm.start(False)
        scores = [lm.score(start, index)[1] for index in range(len(self.words))]
        trie = Trie(len(self._tokens) + self._twins + 1, self.silence)
        homophones: Counter[tuple[int, ...]] = Counter()
        # The likeliest first: of words that sound alike, these are the ones to keep.
        for index in sorted(range(len(self.words)), key=lambda i: -scores[i]):
            word = self.words[index]
            for spelling in entries[word]:
                encoded = self._encode(word, spelling, path)
                homophones[encoded] += 1
                if homophones[encoded] <= _MOST_HOMOPHONES:
                    trie.insert(encoded, index, scores[index])
                    if self._twins:
                        held = (*encoded, encoded[-1] + self._twins)
                        trie.insert(held, index, scores[index])
        # A prefix is worth the best word it can become (Collobert et al. 2016).
        trie.smear(SmearingMode.MAX)
        return trie

    def _encode(self, word: str, spelling: Sequence[str], path: Path) -> tuple[int, ...]:
        try:
            encoded = self._tokens.encode(spelling or word)
        except KeyError as error:
            raise ModelError(f"{path}: {word!r} has {error}, which is no token") from error
        space = self._tokens.space
        return (*encoded, space) if space is not None else tuple(encoded)


def _read_entries(path: Path) -> dict[str, list[tuple[str, ...]]]:
    entries: dict[str, list[tuple[str, ...]]] = {}
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise _missing(path, error) from error
    except UnicodeDecodeError as error:
        raise ModelError(f"{path}: not UTF-8 text") from error
    for line in text.splitlines():
        if line.strip():
            word, *spelling = line.split()
            entries.setdefault(word, []).append(tuple(spelling))
    return entries


def _missing(path: Path, error: OSError) -> ModelError:
    return ModelError(
        f"{path}: cannot be read ({error.strerror}); a beam search needs {LANGUAGE_MODEL}, "
        f"{WORDS} and beam.json in the model folder"
    )


def _language_model(path: Path, dictionary: Any) -> Any:
    from flashlight.lib.text.decoder.kenlm import KenLM

    try:
        with path.open("rb"):
            return KenLM(str(path), dictionary)
    except OSError as error:
        raise _missing(path, error) from error
    except RuntimeError as error:
        raise ModelError(f"{path}: not a KenLM model, or damaged") from error


def _add(
    hotword: Hotword,
    entries: dict[str, list[tuple[str, ...]]],
    rules: dict[str, tuple[str, ...]],
    *,
    spelled: bool,
) -> str | None:
    """Add the words that the lexicon lacks; return why it cannot be done, if so."""
    if not hotword.words:
        return "it has no letters a to z"
    new = [word for word in hotword.words if word not in entries]
    if spelled:
        entries.update({word: [()] for word in new})
        return None
    if hotword.phones and len(hotword.words) == 1:
        known = entries.setdefault(hotword.words[0], [])
        if hotword.phones not in known:
            known.append(hotword.phones)
        return None
    found = {word: pronounce(word.replace("'", ""), rules) for word in new}
    for word, phones in found.items():
        if not phones:
            return f"no pronunciation of {word!r} is known; add one behind a second tab"
    entries.update({word: [phones] for word, phones in found.items()})
    return None
