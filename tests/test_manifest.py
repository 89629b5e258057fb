"""Manifests as spreadsheets and other systems write them, and texts as they are compared."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from streamasr import ConfigError
from streamasr.manifest import Utterance, normalise, read_manifest, write_manifest
from streamasr.wer import count_errors


def manifest(folder: Path, data: bytes) -> Path:
    path = folder / "list.tsv"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_byte_order_mark_and_any_line_ending_are_read(tmp_path, mark, ending):
    lines = ["path\ttranscript", "a.wav\tone\u2028two", 'b.wav\t"three', ""]
    path = manifest(tmp_path, (mark + ending.join(lines)).encode())
    found = read_manifest(path)
    assert [u.path for u in found] == [tmp_path / "a.wav", tmp_path / "b.wav"]
    assert [u.transcript for u in found] == ["one\u2028two", '"three']


def test_a_field_may_be_long(tmp_path):
    text = "word " * 50_000
    (utterance,) = read_manifest(manifest(tmp_path, f"path\ttranscript\na\t{text}\n".encode()))
    assert utterance.transcript == text


@pytest.mark.parametrize("duration", ["nan", "inf", "-inf", "-1", "-0.001", "1e999"])
def test_a_duration_that_is_none_is_named(tmp_path, duration):
    path = manifest(tmp_path, f"path\ttranscript\tduration_s\na\tb\t{duration}\n".encode())
    with pytest.raises(ConfigError, match=f":2: duration_s is '{duration}', not a length"):
        read_manifest(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("path\ttranscript\na\tcafé\n".encode("latin-1"), ":2: not UTF-8 text"),
        ("path\ttranscript\na\tb\n".encode("utf-16"), "is UTF-16"),
        (b"path\ttranscript\n\tb\n", ":2: the path is empty"),
        (b"", "no column 'path'"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, data, message):
    with pytest.raises(ConfigError, match=message):
        read_manifest(manifest(tmp_path, data))


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="file names are Unicode there")
def test_a_path_may_hold_any_bytes_and_comes_back(tmp_path):
    path = manifest(tmp_path, b"path\ttranscript\ncaf\xe9.wav\tb\n")
    (utterance,) = read_manifest(path)
    assert os.fsencode(utterance.path.name) == b"caf\xe9.wav"
    write_manifest(path, [utterance])
    assert read_manifest(path) == [Utterance(utterance.path, 0.0, "", "b")]


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("I might’ve", "i might've"),
        ("‘I might’ve,’ he said", "i might've he said"),
        ("’tis that`s o´clock oʼclock", "'tis that's o'clock o'clock"),
        ("José Ærø Straße Łódź İzmir", "jose aero strasse lodz izmir"),
        ("ﬁne ＦＵＬＬ nai\u0308ve", "fine full naive"),
        ("re\u00adcord \ufeffstart", "record start"),
        ("Xbox™ 10½ m² №", "xbox m"),
        ("10 o'clock", "o'clock"),
    ],
)
def test_letters_are_compared_without_what_a_keyboard_lacks(text, plain):
    assert normalise(text) == plain


def test_a_typographic_apostrophe_is_no_error():
    counts = count_errors(["I might’ve met José"], ["i might've met jose"])
    assert (counts.words, counts.wer, counts.cer) == (4, 0.0, 0.0)
