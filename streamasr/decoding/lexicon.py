"""Words, how they are spelled in tokens, and the language model that scores them."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Sequence
from itertools import islice, product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import ModelError
from ..model import Tokens
from .hotwords import RARE, Hotword
from .letters import RULES, pronounce, read_rules

__all__ = ["LANGUAGE_MODEL", "NEVER", "WORDS", "Lexicon", "read_lexicon"]

LANGUAGE_MODEL, WORDS = "lm.bin", "lexicon.txt"
UNKNOWN = "<unk>"
NEVER = -1e4  # in place of minus infinity, which does not add up
_MOST_HOMOPHONES = 6  # flashlight's trie keeps no more, and drops the rest with a complaint each
_MOST_READINGS = 16  # of a phrase whose words have several pronunciations each


class Lexicon:
    """A language model and a trie of the words it scores, ready for flashlight's search.

    Args:
        folder: holds ``lm.bin``, a KenLM model, and ``lexicon.txt``, or the same as
            ``lexicon.txt.gz``: a line is a word and its tokens, several lines for several
            pronunciations; a word alone is spelled in characters.
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
        self.hotwords = frozenset(word for hotword in usable for word in hotword.words)
        self.words = [*entries]
        spelled = {
            word: [self._encode(word, spelling, folder / WORDS) for spelling in spellings]
            for word, spellings in entries.items()
        }
        phrases = [*_readings(usable, spelled)]
        self.dictionary = Dictionary()
        names = (f"{' '.join(h.words)} {number}" for number, (h, _) in enumerate(phrases))
        for word in (*self.words, *names, UNKNOWN):
            self.dictionary.add_entry(word)
        self.unknown: int = self.dictionary.get_index(UNKNOWN)
        self.dictionary.set_default_index(self.unknown)
        self.language_model: Any = _language_model(folder / LANGUAGE_MODEL, self.dictionary)
        # Phones have no separator, and flashlight's search leaves a word with the first timestep of
        # its last token. So every token has a twin that sounds alike, and a word may end with its
        # last token's twin after any time; the trie's root, where silence is heard, needs a token
        # of its own.
        self._twins = 0 if tokens.space is not None else len(tokens) - 1
        self.silence = len(tokens) + self._twins if tokens.space is None else tokens.space
        # A hotword ends with a twin, too, which sounds better by the hotword's bonus: so the search
        # stays in C++. By token and bonus, in powers of ten, in the order of their columns.
        self._boosted: dict[tuple[int, float], int] = {}
        self._parts: dict[int, list[tuple[str, int | None]]] = {}
        self.trie = self._trie(spelled, usable, phrases)

    @property
    def _first_boosted(self) -> int:
        return len(self._tokens) + (self._twins + 1 if self._twins else 0)

    def emissions(self, log_probs: Tensor, lm_weight: float) -> Tensor:
        """Return ``log_probs (T, V)`` with the columns that the trie's other tokens need."""
        columns = [log_probs]
        if self._twins:
            columns += [log_probs[:, 1:], log_probs.new_full((len(log_probs), 1), NEVER)]
        if self._boosted:
            tokens, bonuses = zip(*self._boosted, strict=True)
            columns.append(log_probs[:, tokens] + lm_weight * log_probs.new_tensor(bonuses))
        return torch.cat(columns, dim=1) if len(columns) > 1 else log_probs

    def most_columns(self, tokens: int) -> int:
        """Return how many columns of ``emissions`` hold the best ``tokens`` of each timestep."""
        return min(tokens, len(self._tokens)) * (2 if self._twins else 1) + len(self._boosted)

    def token_of(self, token: int) -> int | None:
        """Return the token that the trie's ``token`` is, or is a twin of; None for silence."""
        if token >= self._first_boosted:
            token, _ = [*self._boosted][token - self._first_boosted]
        if token == self.silence:
            return None
        return token if token < len(self._tokens) else token - self._twins

    def words_of(self, entry: int) -> list[tuple[str, int | None]]:
        """Return the words of the trie's ``entry``, and of how many tokens; None: of all."""
        return self._parts.get(entry) or [(self.words[entry], None)]

    def _trie(
        self,
        spelled: dict[str, list[tuple[int, ...]]],
        hotwords: Sequence[Hotword],
        phrases: Sequence[tuple[Hotword, tuple[tuple[int, ...], ...]]],
    ) -> Any:
        from flashlight.lib.text.decoder import SmearingMode, Trie

        lm = self.language_model
        start = lm.start(False)
        scores = {word: lm.score(start, index)[1] for index, word in enumerate(self.words)}
        unknown = lm.score(start, self.unknown)[1]
        weights = {h.words[0]: h.weight for h in hotwords if len(h.words) == 1}
        added: list[tuple[tuple[int, ...], int, float]] = []
        alike: dict[tuple[int, ...], list[float]] = {}
        indices = {word: index for index, word in enumerate(self.words)}
        # The likeliest first: of words that sound alike, these are the ones to keep, and of those
        # that the language model does not know only one, or rounding would choose.
        for word in sorted(self.words, key=lambda word: -scores[word]):
            score, index = scores[word], indices[word]
            for tokens in spelled[word]:
                if word in weights:
                    boosted = max(score, RARE) + weights[word]
                    added += self._boost(tokens, index, boosted, boosted - score)
                    continue
                known = alike.setdefault(tokens, [])
                tied = score == unknown and unknown in known
                if len(known) < _MOST_HOMOPHONES and not tied:
                    known.append(score)
                    added.append((tokens, index, score))
                    if self._twins:
                        added.append(((*tokens, tokens[-1] + self._twins), index, score))
        for entry, (hotword, reading) in enumerate(phrases, start=len(self.words)):
            score = sum(max(scores[word], RARE) + hotword.weight for word in hotword.words)
            sizes = [len([token for token in part if token != self.silence]) for part in reading]
            self._parts[entry] = [*zip(hotword.words, sizes, strict=True)]
            joined = tuple(token for part in reading for token in part)
            added += self._boost(joined, entry, score, score - unknown)
        trie = Trie(self._first_boosted + len(self._boosted), self.silence)
        for tokens, entry, score in added:
            trie.insert(tokens, entry, score)
        # A prefix is worth the best word it can become (Collobert et al. 2016).
        trie.smear(SmearingMode.MAX)
        return trie

    def _boost(
        self, tokens: tuple[int, ...], entry: int, score: float, bonus: float
    ) -> Iterator[tuple[tuple[int, ...], int, float]]:
        """Yield what to insert for a hotword whose last token earns ``bonus``, in powers of ten."""
        key = (tokens[-1], round(bonus, 1))
        last = self._first_boosted + self._boosted.setdefault(key, len(self._boosted))
        yield (*tokens[:-1], last), entry, score
        if self._twins:
            yield (*tokens, last), entry, score

    def _encode(self, word: str, spelling: Sequence[str], path: Path) -> tuple[int, ...]:
        try:
            encoded = self._tokens.encode(spelling or word)
        except KeyError as error:
            raise ModelError(f"{path}: {word!r} has {error}, which is no token") from error
        space = self._tokens.space
        return (*encoded, space) if space is not None else tuple(encoded)


def _readings(
    hotwords: Sequence[Hotword], spelled: dict[str, list[tuple[int, ...]]]
) -> Iterator[tuple[Hotword, tuple[tuple[int, ...], ...]]]:
    """Yield the phrases, of two words and more, with each way to say them, word by word."""
    for hotword in hotwords:
        if len(hotword.words) > 1:
            ways = product(*(spelled[word] for word in hotword.words))
            for reading in islice(ways, _MOST_READINGS):
                yield hotword, reading


def _lexicon_file(path: Path) -> Path:
    packed = path.with_name(path.name + ".gz")
    return packed if packed.exists() and not path.exists() else path


def read_lexicon(path: Path) -> str:
    """Return the text of a lexicon; where there is none, that of ``<path>.gz``.

    Raises OSError or ValueError for one that cannot be read.
    """
    found = _lexicon_file(path)
    if found == path:
        return path.read_text(encoding="utf-8")
    try:
        return gzip.decompress(found.read_bytes()).decode()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError("damaged") from error


def _read_entries(path: Path) -> dict[str, list[tuple[str, ...]]]:
    entries: dict[str, list[tuple[str, ...]]] = {}
    try:
        text = read_lexicon(path)
    except OSError as error:
        raise _missing(path, error) from error
    except ValueError as error:
        raise ModelError(f"{_lexicon_file(path)}: not UTF-8 text, or damaged") from error
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
