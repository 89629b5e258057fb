import json
import os
import re
import stat
import subprocess
import sys
from html import unescape
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamasr.errors import OutputError
from streamasr.events.writers import FORMATS, WRITERS, write_transcript
from streamasr.transcript import Token, Transcript, Word

TRANSCRIPT = Transcript(
    (
        Word("good", 0.12, 0.36, 0.98765),
        Word("morning", 0.44, 0.9204, 0.9),
        Word("R&D", 2.0, 2.4, 0.75),
        Word("<café>", 2.48, 3.2, 0.5),
    ),
    duration=4.00049,
)
EMPTY = Transcript((), duration=2.5)


def render(name: str, transcript: Transcript = TRANSCRIPT, source: str = "talk.wav") -> str:
    return WRITERS[name].render(transcript, source=source)


def test_formats_name_their_writers() -> None:
    assert FORMATS == ("txt", "json", "jsonl", "srt", "vtt", "tsv", "ctm")
    for name, writer in WRITERS.items():
        assert writer.format == name
        assert writer.extension == f".{name}"


def test_txt() -> None:
    assert render("txt") == "good morning R&D <café>\n"


def test_json() -> None:
    text = render("json")
    assert text.count("\n") == 1
    assert text.endswith("}\n")
    assert "café" in text
    assert json.loads(text) == {
        "text": "good morning R&D <café>",
        "duration": 4.0,
        "language": "en",
        "source": "talk.wav",
        "segments": [
            {
                "id": 0,
                "start": 0.12,
                "end": 0.92,
                "text": "good morning",
                "words": [
                    {"word": "good", "start": 0.12, "end": 0.36, "confidence": 0.988},
                    {"word": "morning", "start": 0.44, "end": 0.92, "confidence": 0.9},
                ],
            },
            {
                "id": 1,
                "start": 2.0,
                "end": 3.2,
                "text": "R&D <café>",
                "words": [
                    {"word": "R&D", "start": 2.0, "end": 2.4, "confidence": 0.75},
                    {"word": "<café>", "start": 2.48, "end": 3.2, "confidence": 0.5},
                ],
            },
        ],
    }


def test_json_source_that_is_not_utf8_can_be_written() -> None:
    text = render("json", source=b"caf\xe9.wav".decode("utf-8", "surrogateescape"))
    assert json.loads(text.encode())["source"] == "caf?.wav"


def test_json_refuses_numbers_that_json_lacks() -> None:
    with pytest.raises(ValueError, match="JSON"):
        render("json", Transcript((Word("a", 0.0, 1.0, float("nan")),), 1.0))


def test_srt() -> None:
    assert render("srt") == (
        "1\n00:00:00,120 --> 00:00:01,120\ngood morning\n"
        "\n"
        "2\n00:00:02,000 --> 00:00:03,200\nR&D <café>\n"
    )


def test_vtt() -> None:
    assert render("vtt") == (
        "WEBVTT\n"
        "\n"
        "00:00:00.120 --> 00:00:01.120\ngood morning\n"
        "\n"
        "00:00:02.000 --> 00:00:03.200\nR&amp;D &lt;café&gt;\n"
    )


def test_tsv() -> None:
    assert render("tsv") == "start\tend\ttext\n120\t920\tgood morning\n2000\t3200\tR&D <café>\n"


def test_ctm() -> None:
    assert render("ctm", source="a folder/my talk.wav").splitlines() == [
        "my_talk 1 0.120 0.240 good 0.988",
        "my_talk 1 0.440 0.480 morning 0.900",
        "my_talk 1 2.000 0.400 R&D 0.750",
        "my_talk 1 2.480 0.720 <café> 0.500",
    ]
    spaced = Transcript((Word("new\tyork", 0.0, 1.0, 1.0), Word(" ", 1.0, 2.0, 1.0)), 2.0)
    assert render("ctm", spaced, source=";;.wav") == "__ 1 0.000 1.000 new_york 1.000\n"


def test_json_says_how_it_was_made_where_that_is_known() -> None:
    text = WRITERS["json"].render(EMPTY, source="a.wav", about={"model": "en", "nbest": 1})
    assert json.loads(text)["made_by"] == {"model": "en", "nbest": 1}


def test_a_segment_ends_with_the_word_that_ends_last() -> None:
    transcript = Transcript((Word("all", 0.0, 3.0, 1.0), Word("in", 1.0, 2.0, 1.0)), 3.0)
    assert render("tsv", transcript).splitlines()[1] == "0\t3000\tall in"
    assert json.loads(render("json", transcript))["segments"][0]["end"] == 3.0


def spoken(text: str, gap: float = 0.1) -> list[Word]:
    return [
        Word(each, k * (0.3 + gap), k * (0.3 + gap) + 0.3, 0.5)
        for k, each in enumerate(text.split())
    ]


def formatted(words: list[Word], *tokens: tuple[str, str, int, int]) -> Transcript:
    """Return a transcript with tokens of ``(text, mark, first word, the one behind its last)``."""
    made = tuple(Token(text, mark, tuple(words[a:b])) for text, mark, a, b in tokens)
    return Transcript(tuple(words), words[-1].end, tokens=made)


PAID = formatted(
    spoken("uh he paid twenty dollars"),
    ("He", "", 1, 2),
    ("paid", "", 2, 3),
    ("$20", ".", 3, 5),
)


def test_tokens_are_written_and_ctm_has_the_words() -> None:
    assert render("txt", PAID) == "He paid $20.\n"
    assert render("tsv", PAID).splitlines()[1] == "400\t1900\tHe paid $20."
    assert "\nHe paid $20.\n" in render("srt", PAID)
    assert [line.split()[4] for line in render("ctm", PAID).splitlines()] == [
        *("uh", "he", "paid", "twenty", "dollars")
    ]


def test_json_has_what_is_written_beside_each_word() -> None:
    document = json.loads(render("json", PAID))
    (segment,) = document["segments"]
    assert document["text"] == segment["text"] == "He paid $20."
    found = [(word["word"], word["text"]) for word in segment["words"]]
    assert found == [
        *(("uh", ""), ("he", "He"), ("paid", "paid"), ("twenty", "$20."), ("dollars", ""))
    ]


def test_each_json_segment_has_its_own_words() -> None:
    words = spoken("i know twenty dollars", gap=0.9)
    transcript = formatted(words, ("I", "", 0, 1), ("know", ".", 1, 2), ("$20", ".", 2, 4))
    segments = json.loads(render("json", transcript))["segments"]
    assert [segment["text"] for segment in segments] == ["I", "know.", "$20."]
    assert [[word["word"] for word in segment["words"]] for segment in segments] == [
        *(["i"], ["know"], ["twenty", "dollars"])
    ]


def test_an_empty_transcript_gives_valid_files() -> None:
    line = '{"text": "", "duration": 2.5, "language": "en", "source": "talk.wav", "segments": []}\n'
    assert {name: render(name, EMPTY) for name in FORMATS} == {
        "txt": "\n",
        "json": line,
        "jsonl": line,
        "srt": "",
        "vtt": "WEBVTT\n",
        "tsv": "start\tend\ttext\n",
        "ctm": "",
    }


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (0.0004, "00:00:00.000"),
        (59.9994, "00:00:59.999"),
        (59.9996, "00:01:00.000"),
        (3599.9996, "01:00:00.000"),
        (100 * 3600 + 61.5, "100:01:01.500"),
    ],
)
def test_times_are_rounded_as_a_whole(seconds: float, written: str) -> None:
    transcript = Transcript((Word("late", seconds, seconds + 2, 1.0),), seconds + 2)
    assert render("vtt", transcript).splitlines()[2].split(" --> ")[0] == written
    assert render("srt", transcript).splitlines()[1].split(" --> ")[0] == written.replace(".", ",")
    assert render("tsv", transcript).splitlines()[1].split("\t")[0] == str(round(seconds * 1000))


def test_white_space_in_a_word_breaks_no_format() -> None:
    transcript = Transcript((Word("new\t\n\nyork", 0.0, 1.5, 1.0),), 2.0)
    assert render("txt", transcript) == "new york\n"
    assert render("tsv", transcript) == "start\tend\ttext\n0\t1500\tnew york\n"
    assert render("srt", transcript) == "1\n00:00:00,000 --> 00:00:01,500\nnew york\n"
    assert json.loads(render("json", transcript))["segments"][0]["text"] == "new york"


WORD_TEXTS = st.text("ab'-&<>é,\t", min_size=1, max_size=60).filter(str.strip)
TIMES = st.tuples(st.floats(0, 2), st.floats(0, 4))


@st.composite
def transcripts(draw: st.DrawFn) -> Transcript:
    words, now = [], draw(st.sampled_from([0.0, 59.9996, 3590.0, 400_000.0]))
    for text, (gap, length) in draw(st.lists(st.tuples(WORD_TEXTS, TIMES), max_size=30)):
        words.append(Word(text, now + gap, now + gap + length, 0.5))
        now += gap + length
    return Transcript(tuple(words), now)


def parse_subtitles(blocks: list[str], point: str) -> list[tuple[int, int, str]]:
    """Start and end in milliseconds and the text of each block, read with one strict pattern."""
    stamp = rf"(\d{{2,}}):([0-5]\d):([0-5]\d){re.escape(point)}(\d{{3}})"
    cues = []
    for block in blocks:
        timing, *lines = block.splitlines()
        match = re.fullmatch(f"{stamp} --> {stamp}", timing)
        assert match, timing
        h, m, s, ms, h2, m2, s2, ms2 = map(int, match.groups())
        start, end = ((h * 60 + m) * 60 + s) * 1000 + ms, ((h2 * 60 + m2) * 60 + s2) * 1000 + ms2
        cues.append((start, end, " ".join(lines)))
    return cues


@settings(deadline=None)
@given(transcripts())
def test_every_format_reads_back(transcript: Transcript) -> None:
    said = " ".join(transcript.text.split())

    assert render("txt", transcript) == said + "\n"

    document = json.loads(render("json", transcript))
    assert document["text"] == said == " ".join(s["text"] for s in document["segments"])
    assert [s["id"] for s in document["segments"]] == list(range(len(document["segments"])))
    spans = [(w["start"], w["end"]) for s in document["segments"] for w in s["words"]]
    assert spans == [(round(w.start, 3), round(w.end, 3)) for w in transcript.words]

    rows = [row.split("\t") for row in render("tsv", transcript).splitlines()[1:]]
    assert [text for _, _, text in rows] == [s["text"] for s in document["segments"]]
    for row, segment in zip(rows, document["segments"], strict=True):
        assert int(row[0]) == pytest.approx(segment["start"] * 1000, abs=1)
        assert int(row[1]) == pytest.approx(segment["end"] * 1000, abs=1)

    header, *blocks = render("vtt", transcript).rstrip("\n").split("\n\n")
    vtt = parse_subtitles(blocks, ".")
    assert header == "WEBVTT"
    assert " ".join(unescape(text) for _, _, text in vtt) == said
    assert not any("<" in text or ">" in text for _, _, text in vtt)

    blocks = render("srt", transcript).rstrip("\n").split("\n\n") if said else []
    numbered = [block.partition("\n") for block in blocks]
    srt = parse_subtitles([rest for _, _, rest in numbered], ",")
    assert [number for number, _, _ in numbered] == [str(n + 1) for n in range(len(blocks))]
    assert " ".join(text for _, _, text in srt) == said

    assert [cue[:2] for cue in srt] == [cue[:2] for cue in vtt]
    assert all(start < end for start, end, _ in srt)
    assert all(cue[1] <= after[0] for cue, after in pairwise(srt))


def test_write_replaces_the_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "talk.txt"
    path.write_text("a much longer text that was there before\n")
    with path.open() as reader:
        write_transcript(path, "café\n")
        assert reader.read() == "a much longer text that was there before\n"
    assert path.read_bytes() == b"caf\xc3\xa9\n"
    assert list(tmp_path.iterdir()) == [path]


def test_write_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "talk.txt"
    path.write_text("old\n")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"cannot write .*talk\.txt: No space left on device"):
        write_transcript(path, "new\n")
    assert path.read_text() == "old\n"
    assert list(tmp_path.iterdir()) == [path]


def test_write_to_a_missing_folder_is_an_error_for_people(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No such file or directory; choose a folder"):
        write_transcript(tmp_path / "missing" / "talk.txt", "text\n")


def test_write_to_a_folder_is_an_error_for_people(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot write"):
        write_transcript(tmp_path, "text\n")


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions and devices")
def test_write_keeps_permissions_and_links(tmp_path: Path) -> None:
    secret, link, fresh, plain = (tmp_path / name for name in ("secret", "link", "fresh", "plain"))
    secret.touch(0o600)
    link.symlink_to(secret)
    write_transcript(link, "new\n")
    assert link.is_symlink()
    assert secret.read_text() == "new\n"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600

    plain.touch()
    write_transcript(fresh, "new\n")
    assert fresh.stat().st_mode == plain.stat().st_mode


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="needs /dev/stdout")
def test_write_to_stdout_goes_through_the_pipe() -> None:
    code = (
        "from streamasr.events.writers import write_transcript as w; "
        "w('/dev/stdout', 'caf\\xe9\\n')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout == "café\n".encode()
