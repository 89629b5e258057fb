"""Lines for language models from plain books."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamasr.books import Passages, book_text, new_lines, sentences, sentences_of_book
from streamasr.books.numerals import cardinal, ordinal, roman, spoken_number, year
from streamasr.books.prose import is_prose

SCRIPT = Path(__file__).parents[2] / "scripts/build_corpus"


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "zero"),
        (13, "thirteen"),
        (40, "forty"),
        (21, "twenty one"),
        (100, "one hundred"),
        (342, "three hundred and forty two"),
        (1001, "one thousand and one"),
        (12_345, "twelve thousand three hundred and forty five"),
        (1_000_000, "one million"),
        (2_000_016_000, "two billion sixteen thousand"),
    ],
)
def test_cardinals(number, words):
    assert cardinal(number) == words


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (1800, "eighteen hundred"),
        (1805, "eighteen o five"),
        (1914, "nineteen fourteen"),
        (2000, "two thousand"),
        (2007, "two thousand and seven"),
        (2016, "twenty sixteen"),
    ],
)
def test_years(number, words):
    assert year(number) == words


@pytest.mark.parametrize(
    ("number", "words"),
    [(1, "first"), (12, "twelfth"), (20, "twentieth"), (103, "one hundred and third")],
)
def test_ordinals(number, words):
    assert ordinal(number) == words


@pytest.mark.parametrize(
    ("numeral", "value"),
    [
        ("I", 1),
        ("IV", 4),
        ("IIII", 4),
        ("xiv", 14),
        ("XLIX", 49),
        ("CCCXC", 390),
        ("IC", None),
        ("VX", None),
        ("Ix", None),
        ("", None),
        ("MIX", None),
        ("IIIII", None),
    ],
)
def test_roman_numerals(numeral, value):
    assert roman(numeral) == value


@pytest.mark.parametrize(
    ("token", "words"),
    [
        ("3rd", "third"),
        ("22d", "twenty second"),
        ("1870s", "eighteen seventies"),
        ("5s", "five shillings"),
        ("6d", "six pence"),
        ("$1", "one dollar"),
        ("$2.50", "two dollars and fifty cents"),
        ("£300", "three hundred pounds"),
        ("1,914", "one thousand nine hundred and fourteen"),
        ("3.14", "three point one four"),
        ("12-15", "twelve fifteen"),
        ("5%", "five percent"),
        ("007", "zero zero seven"),
        ("10th-century", "ten th century"),
        ("word", None),
    ],
)
def test_numbers_as_they_are_written(token, words):
    assert spoken_number(token) == words


@pytest.mark.parametrize(
    ("paragraph", "lines"),
    [
        ("Mr. Jones met Dr. Low. He ran!", ["mister jones met doctor low", "he ran"]),
        ("In Main St. now; St. John came.", ["in main street now saint john came"]),
        ("King Henry VIII. died, said J. B. Smith.", ["king henry the eighth died said j b smith"]),
        ("See chap. iv. of Vol. II", ["see chapter four of volume two"]),
        ("It is I. You know me.", ["it is i", "you know me"]),
        ("“Don't—please!” she said.", ["don't please she said"]),
        ("To the U.S.A. He\nran, etc., in May.", ["to the u s a", "he ran et cetera in may"]),
        ("'Twas the boys' idea", ["twas the boys idea"]),
        ("tea & milk, &c. Then 50 % of it", ["tea and milk et cetera", "then fifty percent of it"]),
        ("No. 5 costs $3 (or £2).", ["number five costs three dollars or two pounds"]),
        ("One.", []),
        ("Wait... what? no", ["wait what no"]),
    ],
)  # fmt: skip
def test_sentences_of_a_paragraph(paragraph, lines, tmp_path):
    (tmp_path / "book.txt").write_text(paragraph, encoding="utf-8")
    assert sentences(book_text(tmp_path / "book.txt")) == lines


def test_long_sentences_are_cut_at_the_strongest_pause_that_fits():
    words = [f"w{'abcdefghij'[k % 10]}" for k in range(80)]
    words[20] += ","
    words[30] += ";"
    words[41] += ","
    lines = sentences(" ".join(words) + ".")
    assert [len(line.split()) for line in lines] == [31, 49]
    lines = sentences(" ".join(words).replace(";", "") + ".")
    assert [len(line.split()) for line in lines] == [42, 38]
    assert sentences(" ".join(["word"] * 61)) == []
    assert len(sentences(" ".join(["word"] * 60))) == 1


@given(st.text(st.sampled_from("aAbB.,;:!?'\"()[]-‘£$&% \n0123456789éœ—XIV"), max_size=120))
def test_lines_have_letters_apostrophes_and_single_spaces_only(text):
    for line in sentences(text):
        assert set(line) <= set("abcdefghijklmnopqrstuvwxyz' ")
        assert line.split(" ") == line.split()
        assert all(word.strip("'") == word for word in line.split())
        assert 2 <= len(line.split()) <= 60


PROSE = "It was late, and the two of them had to go to the end of the road before dark."


@pytest.mark.parametrize(
    ("paragraph", "kept"),
    [
        (PROSE, True),
        ("CHAPTER THE FIRST OF THIS BOOK", False),
        ("A heading without a full stop", False),
        ("The beginning of it all ....... 12", False),
        ("Of the great road, page 12", False),
        ("This eBook was produced by volunteers of the project.", False),
        ("The mice ran up the clock,\nThe clock struck one,\nThe mice ran down.", False),
        ("Tea      12    pounds of it\nand so      on here    for tea\nmilk and tea", False),
        ("12 14 16 18 20 22 and then", False),
        ("Too few", False),
    ],
)
def test_prose_is_told_from_all_else(paragraph, kept):
    assert is_prose(paragraph) is kept


def gutenberg(body: str) -> str:
    return (
        "The Project Gutenberg eBook of Tests, by Nobody\n\nThis is for use of anyone to read.\n\n"
        f"*** START OF THE PROJECT GUTENBERG EBOOK TESTS ***\n\n{body}\n\n"
        "*** END OF THE PROJECT GUTENBERG EBOOK TESTS ***\n\nAll the donations are of use to us.\n"
    )


def test_a_book_is_read_without_what_surrounds_it(tmp_path):
    body = (
        f"CHAPTER I\n\n{PROSE}\n\n{PROSE}\n\n{PROSE} [Illustration: of the road [2] to the end] "
        "The café was shut to\nall.[3]\n\n[Footnote 3: and of the others, to be sure.]\n\n"
        "THE END\n\nTo the last."
    )
    (tmp_path / "book.txt").write_text(gutenberg(body), encoding="utf-8")
    expected = [
        *["it was late and the two of them had to go to the end of the road before dark"] * 3,
        "the cafe was shut to all",
    ]
    assert sentences_of_book(book_text(tmp_path / "book.txt")) == expected
    (tmp_path / "old.txt").write_bytes(gutenberg(body).replace("\n", "\r\n").encode("cp1252"))
    assert sentences_of_book(book_text(tmp_path / "old.txt")) == expected


def test_of_tei_only_the_running_text_is_read(tmp_path):
    document = (
        "<TEI><teiHeader>to the head of it</teiHeader><text><front><p>Of the front.</p></front>"
        f"<body><div><head>The Road</head><p>{PROSE}<note>of the notes</note></p>"
        "<lg><l>Of verse</l></lg><p>Tom &amp; the <hi>cats</hi> of<lb/> Rome went.</p></div></body>"
        "<back><p>And of the back.</p></back></text></TEI>"
    )
    (tmp_path / "book.xml").write_text(document, encoding="utf-8")
    assert sentences_of_book(book_text(tmp_path / "book.xml")) == [
        "it was late and the two of them had to go to the end of the road before dark",
        "tom and the cats of rome went",
    ]


def test_a_book_in_another_language_has_no_lines():
    text = "Es war spaet, und die beiden gingen noch vor der Dunkelheit nach Hause zurueck."
    assert sentences_of_book(text) == []


def test_passages_are_found_wherever_they_stand():
    passages = Passages(["one two three four five six seven eight", "too short"])
    assert len(passages) == 2
    assert passages.shared("and two three four five six seven eight nine")
    assert not passages.shared("two three four five six seven")
    assert not passages.shared("one two three four six seven eight nine")


def test_lines_are_new_once():
    seen = {hash("a b")}
    assert list(new_lines(["a b", "c d", "c d"], seen)) == ["c d"]
    assert list(new_lines(["c d", "e f"], seen)) == ["e f"]


def build(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, SCRIPT, "--processes", "1", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_folder_of_books_becomes_lines(tmp_path):
    folder = tmp_path / "books"
    (folder / "more").mkdir(parents=True)
    (folder / "a.txt").write_text(f"{PROSE}\n\nThe cat sat on the mat and looked to the moon.\n")
    (folder / "more/b.md").write_text(f"{PROSE} The dog went to the sea and of the sea it knew.\n")
    (folder / "c.txt").write_text("Nur wenig steht hier, und nichts davon in Englisch.\n")
    (folder / "d.txt").write_text("This is a COPYRIGHTED Project Gutenberg book to be read.\n")
    (folder / "e.png").write_bytes(b"\x89PNG")
    heard = tmp_path / "dev.txt"
    heard.write_text("why the cat sat on the mat and looked so\n")
    done = build(folder, "--without", heard)
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "it was late and the two of them had to go to the end of the road before dark",
        "the dog went to the sea and of the sea it knew",
    ]
    assert done.stderr.splitlines() == [
        f"{folder}/c.txt: left out: no English prose found",
        f"{folder}/d.txt: left out: its header says that it is copyrighted",
        "4 books, 2 lines, 31 words",
    ]
    (tmp_path / "known.txt").write_text(done.stdout)
    again = build(folder / "more", "--beside", tmp_path / "known.txt")
    assert again.stdout == ""
    read = build(folder / "a.txt", "--without", heard, "--most", 1)
    assert "a.txt: left out: 1 lines share passages with --without" in read.stderr


@pytest.mark.parametrize("missing", ["nowhere", "empty"])
def test_no_books_are_one_line(tmp_path, missing):
    (tmp_path / "empty").mkdir()
    done = build(tmp_path / missing)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("build_corpus: error: ")
