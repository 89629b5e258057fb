"""Words with the marks and capitals that a book gives them."""

import pytest

from streamasr.books import marked_words, sentences


def shown(paragraph: str) -> str:
    """Return words with marks; ``~``: the mark is not known, ``^``: the capital is not."""
    return " ".join(
        ("^" if word.capital is None else "")
        + (word.word.capitalize() if word.capital else word.word)
        + ("~" if word.mark is None else word.mark)
        for word in marked_words(paragraph)
    )


@pytest.mark.parametrize(
    ("paragraph", "right"),
    [
        ('"Yes," said he. "Come!"', "Yes, said he. Come!"),
        ("Mr. Hale paid; Dr. Lee did not.", "Mister Hale paid; Doctor Lee did not."),
        ("He -- I mean she -- left.", "He~ I mean she~ left."),
        ("In 1885, 20 men came.", "In ^eighteen ^eighty ^five, ^twenty men came."),
        ("She said: 'Go.' Why?", "She said: Go. Why?"),
        ("The U.S. army came.", "The U S army came."),
        ("It was VERY cold (and I\nknew it).", "It was ^very cold and I knew it."),
        ("an Anglo-Saxon word", "an Anglo Saxon word~"),
        ('"What?" he asked, etc., and left', "What? he asked, et cetera, and left~"),
    ],
)
def test_marks_and_capitals_are_the_books(paragraph: str, right: str) -> None:
    assert shown(paragraph) == right


def test_words_are_those_of_its_sentences() -> None:
    paragraph = (
        'Mr. Smith, of No. 12, cried: "Good heavens! It is 3 o\'clock -- and the 21st of May."\n'
        "He ran off; nobody (not even Capt. Brown) saw him go. Did they & theirs care?"
    )
    words = [word.word for word in marked_words(paragraph)]
    assert words == " ".join(sentences(paragraph)).split()
