"""Transcripts as they are said."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamasr.manifest import normalise
from streamasr.preparation import as_said
from streamasr.preparation.spelling import Unsayable


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("'TIS THE DOGS' OWN", "'TIS THE DOGS' OWN"),
        ("she had your  dark suit\n", "SHE HAD YOUR DARK SUIT"),
        ("“It’s late,” he said — ‘very late’…", "IT'S LATE HE SAID VERY LATE"),
        ("Yes.", "YES"),
        ("Mr. Smith met Dr. Who.", "MISTER SMITH MET DOCTOR WHO"),
        ("Born in 1984, the 3rd of 12.", "BORN IN NINETEEN EIGHTY FOUR THE THIRD OF TWELVE"),
        ("In the 1990's", "IN THE NINETEEN NINETIES"),
        ("50% & $2.50", "FIFTY PERCENT AND TWO DOLLARS AND FIFTY CENTS"),
        ("AT&T at 10:30", "AT AND T AT TEN THIRTY"),
        ("The café of Łukasz, naïve", "THE CAFE OF LUKASZ NAIVE"),
        ("cafe\u0301", "CAFE"),
        ("soft\u00adhyphen and\u00a0space", "SOFTHYPHEN AND SPACE"),
        ("The part I like (best)", "THE PART I LIKE BEST"),
    ],
)
def test_what_is_said(text, said):
    assert as_said(text) == said


@pytest.mark.parametrize(
    ("text", "sign"),
    [
        ("[laughter] yes", "["),
        ("well <unk>", "<"),
        ("a@b.example", "@"),
        ("no. #1", "#"),
        ("3/4 of it", "/"),
        ("日本 is Japan", "日"),
        ("it is -5 degrees", "-"),
        ("5'10 tall", "'"),
        ("a $ sign", "$"),
        ("€5", "€"),
        ("e = mc²", "="),
        ("", ""),
        (" . . . ", ""),
        ("''", ""),
    ],
)
def test_what_nobody_knows_how_to_say(text, sign):
    with pytest.raises(Unsayable) as caught:
        as_said(text)
    assert caught.value.sign == sign


@given(st.text(max_size=40))
def test_any_text_gives_words_or_is_refused(text):
    try:
        said = as_said(text)
    except Unsayable:
        return
    assert re.fullmatch(r"[A-Z']+( [A-Z']+)*", said)
    assert as_said(said) == said
    assert normalise(said).upper() == said


@given(st.text(alphabet="abcXYZ' .,!?—", max_size=30))
def test_letters_stay_in_their_order(text):
    try:
        said = as_said(text)
    except Unsayable:
        return
    assert re.sub("[^A-Z]", "", said) == re.sub("[^A-Z]", "", text.upper())
