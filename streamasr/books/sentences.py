"""Split a paragraph into sentences of spoken words."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from .numerals import cardinal, ordinal, roman, spoken_number

__all__ = ["SPREAD", "TOKEN", "Reading", "opens_sentence", "sentences"]

_LONGEST, _SHORTEST_PART = 45, 12  # words: what is longer is cut at a pause, if it has one
_LIMIT = 60  # words of a sentence without a pause that is still kept

_ABBREVIATED = """
Mr=mister Mrs=missus MR=mister MRS=missus Messrs=messieurs Mme=madame Mlle=mademoiselle Dr=doctor
DR=doctor Drs=doctors Ste=sainte Prof=professor Capt=captain Col=colonel Gen=general Gens=generals
Lieut=lieutenant Lt=lieutenant Sergt=sergeant Sgt=sergeant Serjt=serjeant Maj=major Adm=admiral
Rev=reverend Hon=honorable Esq=esquire Gov=governor Sen=senator Pres=president Supt=superintendent
Ald=alderman Jr=junior Sr=senior jr=junior sr=senior Co=company Bros=brothers Dept=department
Ave=avenue Mt=mount Ft=fort vol=volume Vol=volume vols=volumes chap=chapter Chap=chapter ch=chapter
fig=figure Fig=figure Figs=figures sect=section viz=namely ibid=ibid Ibid=ibid cf=compare Cf=compare
vs=versus Jan=january Feb=february Aug=august Sept=september Oct=october Nov=november Dec=december
lbs=pounds oz=ounces inst=instant ult=ultimo
"""
_ABBREVIATIONS = dict(pair.split("=") for pair in _ABBREVIATED.split())
_WITHOUT_DOT = {"Mr", "Mrs", "Dr", "Messrs", "Mme", "Mlle", "MR", "MRS", "DR"}
_MAY_END = {"Co", "Jr", "Sr", "Bros", "Esq", "inst", "ult"}  # a sentence, in spite of their dot
_NAMES_OF_MONARCHS = """
Louis Henry Charles Edward George William James Richard Philip Francis Frederick Frederic Ferdinand
Gregory Innocent Boniface Clement Leo Pius Paul Urban Benedict Alexander Napoleon Ptolemy Robert
Alfonso Alphonso Gustavus Otto Rudolph Leopold Maximilian Joseph Catherine Peter Ivan Nicholas
Christian Julius Sixtus Adrian Eugenius Celestine Honorius Emmanuel Rameses Elizabeth Mary John
Malcolm David Albert Amenhotep Thothmes Antiochus
"""
_BEFORE_NUMBERS = {"No": "number", "no": "number", "Nos": "numbers"}
_BEFORE_NUMBERS |= {"p": "page", "P": "page", "pp": "pages"}
_MONARCHS = set(_NAMES_OF_MONARCHS.split())
_PARTS = "chapter book volume part act scene section number psalm canto page letter vol no"
_NUMBERED = set(_PARTS.split())

SPREAD = (
    (re.compile(r"-{2,}"), " -- "),
    (re.compile(r"[\n*]"), " "),
    (re.compile(r"([,;:!?])(?=[A-Za-z])"), r"\1 "),
    (re.compile(r"\.{2,}(?=.)"), " -- "),
    (re.compile(r"(?<=\d)-(?=[ ,]|$)"), " "),
)
TOKEN = re.compile(
    r"(?P<lead>[\"'(\[{<.,;:!?‘-]*)(?P<core>.*?)(?P<tail>[\"')\]}>.,;:!?-]*)", re.DOTALL
)
_ALONE = {"--": "", "&": "and", "%": "percent"}
_FIRST = re.compile(r"[A-Za-z0-9$£]")
_WORD = re.compile(r"[a-z]+(?:'[a-z]*)*")
_DIGITS = re.compile(r"\d+")


@dataclass(slots=True)
class _Draft:
    """Words of a sentence so far, and where it may be cut: a place and how well."""

    words: list[str] = field(default_factory=list)
    pauses: list[tuple[int, int]] = field(default_factory=list)

    def add(self, text: str) -> None:
        """Add all words of a text, without apostrophes around them."""
        for found in _WORD.findall(text.lower()):
            if word := re.sub("'{2,}", "'", found).strip("'"):
                self.words.append(word)

    def pause(self, strength: int) -> None:
        self.pauses.append((len(self.words), strength))

    def finish(self) -> list[str]:
        """Return the sentence, in parts if it is long, and begin anew."""
        words, start, found = self.words, 0, []
        while len(words) - start > _LONGEST:
            cut = self._last_pause(start)
            if cut is None:
                break
            found.append(" ".join(words[start:cut]))
            start = cut
        if 2 <= len(words) - start <= _LIMIT:
            found.append(" ".join(words[start:]))
        self.words, self.pauses = [], []
        return found

    def _last_pause(self, start: int) -> int | None:
        for wanted in (2, 1):
            cuts = [
                place
                for place, strength in self.pauses
                if strength == wanted and start + _SHORTEST_PART <= place <= start + _LONGEST
            ]
            if cuts:
                return max(cuts)
        return None


def sentences(paragraph: str) -> list[str]:
    """Return a paragraph's sentences: ``[a-z' ]``, numbers and abbreviations in words.

    Sentences end at a full stop, question or exclamation mark with a capital behind; of more than
    45 words they are cut at semicolons, dashes or commas. Single words are left out.
    """
    for pattern, replacement in SPREAD:
        paragraph = pattern.sub(replacement, paragraph)
    tokens = paragraph.split()
    draft, found = _Draft(), []
    previous, after_monarch, after_numbered = "", False, False
    for place, token in enumerate(tokens):
        if token in _ALONE or token.startswith("&c"):
            draft.add(_ALONE.get(token, "et cetera"))
            if token == "--":
                draft.pause(2)
                after_monarch = after_numbered = False
            elif "." in token and place + 1 < len(tokens) and opens_sentence(tokens, place):
                found += draft.finish()
            continue
        match = TOKEN.fullmatch(token)
        assert match is not None
        lead, core, tail = match.group("lead", "core", "tail")
        if "(" in lead or "[" in lead:
            draft.pause(2)
        abbreviated = is_monarch = is_numbered = False
        if core:
            read = Reading(core, tail, tokens, place, previous, after_monarch, after_numbered)
            spoken, abbreviated = read.spoken()
            draft.add(spoken)
            is_monarch = core in _MONARCHS and not tail
            is_numbered = spoken in ("chapter", "volume", "section") and core != spoken
            is_numbered |= core.lower() in _NUMBERED and (not tail or abbreviated)
            previous = core
        after_monarch, after_numbered = is_monarch, is_numbered
        certain = "!" in tail or "?" in tail
        if (certain or "." in tail) and (certain or not abbreviated):
            if place + 1 >= len(tokens) or opens_sentence(tokens, place):
                found += draft.finish()
                after_monarch = after_numbered = False
            else:
                draft.pause(2)
        elif any(mark in tail for mark in ";:)]"):
            draft.pause(2)
        elif "," in tail:
            draft.pause(1)
    return found + draft.finish()


def opens_sentence(tokens: list[str], place: int) -> bool:
    """Say whether what follows a token begins as a sentence does: capital, digit or nothing."""
    for token in tokens[place + 1 :]:
        if first := _FIRST.search(token):
            return not first.group().islower()
        if token == "--":
            return False
    return True


@dataclass(slots=True)
class Reading:
    """A token without the marks around it, in its context."""

    core: str
    tail: str
    tokens: list[str]
    place: int
    previous: str
    after_monarch: bool
    after_numbered: bool

    def spoken(self) -> tuple[str, bool]:
        """Return the spoken form, and whether the full stop is an abbreviation's."""
        found = self._abbreviation() or self._before_number() or self._initial()
        if found:
            return found
        if number := self._roman() or spoken_number(self.core):
            return number, False
        text = _DIGITS.sub(lambda digits: f" {spoken_number(digits.group())} ", self.core)
        # U.S.A. and the like end a sentence where one seems to begin.
        letters = len(self.core) >= 3 and self.core[0].isupper() and self.core[1] == "."
        return text, letters and self._dot and not opens_sentence(self.tokens, self.place)

    @property
    def _dot(self) -> bool:
        return self.tail.startswith(".")

    def _abbreviation(self) -> tuple[str, bool] | None:
        core, dot = self.core, self._dot
        if core in _ABBREVIATIONS and (dot or core in _WITHOUT_DOT):
            return _ABBREVIATIONS[core], dot and core not in _MAY_END
        if core in ("St", "ST"):
            saint = self._next_letter().isupper()
            return ("saint" if saint or not dot else "street"), saint
        if core == "etc":
            return "et cetera", dot and not opens_sentence(self.tokens, self.place)
        if core == "i.e" or (core == "ie" and dot):
            return "that is", True
        return ("for example", True) if core == "e.g" else None

    def _before_number(self) -> tuple[str, bool] | None:
        """Return what is an abbreviation before a number only."""
        spoken = _BEFORE_NUMBERS.get(self.core)
        return (spoken, True) if spoken and self._dot and self._next_letter().isdigit() else None

    def _next_letter(self) -> str:
        """Return the next token's first letter or digit, "" if it has none."""
        if self.place + 1 < len(self.tokens):
            for letter in self.tokens[self.place + 1]:
                if letter.isalnum():
                    return letter
        return ""

    def _initial(self) -> tuple[str, bool] | None:
        """Return an initial as a letter, behind a monarch's name as a number."""
        core = self.core
        if not (len(core) == 1 and core.isupper() and self._dot):
            return None
        if core == "I" and len(self.tail) > 1:
            return None
        value = roman(core)
        if self.after_monarch and value:
            return f"the {ordinal(value)}", False
        return core, not (core == "I" and self.previous[:1].islower())

    def _roman(self) -> str | None:
        """Return a Roman numeral behind "chapter" or a monarch's name in words."""
        core, value = self.core, roman(self.core)
        if not value:
            return None
        if core.isupper() and (self.after_monarch or self.after_numbered):
            if core == "I" and not self.after_numbered and not self.tail:
                return None
            behind_name = self.after_monarch and not self.after_numbered
            return f"the {ordinal(value)}" if behind_name else cardinal(value)
        if core.islower() and self.after_numbered and core != "i" and "c" not in core:
            return cardinal(value)
        return None
