"""What ``import streamasr`` offers is whole: nothing in its signatures needs another import."""

from __future__ import annotations

import inspect
import subprocess
import sys
import types
import typing
from collections.abc import Iterator

import pytest

import streamasr
from streamasr import BackendName, DecoderName, Recognizer

OPAQUE = {streamasr.StreamState, streamasr.ListenState, streamasr.Bundle, streamasr.Stages}
"""Values that the library makes and takes back: nobody else makes one, or looks inside."""

EXPORTED = {name: getattr(streamasr, name) for name in streamasr.__all__}


def test_public_names_exist():
    assert list(streamasr.__all__) == sorted(streamasr.__all__, key=lambda n: (n[0] == "l", n))
    with pytest.raises(AttributeError, match="no attribute 'Recogniser'"):
        _ = streamasr.Recogniser


def hints(obj: object) -> dict[str, object]:
    """Resolve annotations; names that a module knows for type checkers only are exported, too."""
    return typing.get_type_hints(obj, localns=EXPORTED)


def signatures(exported: object) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield what a user of an exported name may call or read, and the types there."""
    if not inspect.isclass(exported):
        if inspect.isfunction(exported):
            yield exported.__name__, hints(exported)
        return
    if exported in OPAQUE:
        return
    yield exported.__name__, hints(exported)
    for name, member in vars(exported).items():
        if name.startswith("_") and name != "__init__":
            continue
        if isinstance(member, (classmethod, staticmethod)):
            member = member.__func__  # noqa: PLW2901
        if isinstance(member, property):
            member = member.fget  # noqa: PLW2901
        if inspect.isfunction(member):
            yield f"{exported.__name__}.{name}", hints(member)


def classes_in(hint: object) -> Iterator[type]:
    if inspect.isclass(hint) and not isinstance(hint, types.GenericAlias):
        yield hint
    for part in typing.get_args(hint):
        yield from classes_in(part)


@pytest.mark.parametrize("name", streamasr.__all__)
def test_what_public_signatures_need_is_public(name):
    for where, found in signatures(EXPORTED[name]):
        for argument, hint in found.items():
            if argument.startswith("_"):
                continue
            for needed in classes_in(hint):
                own = needed.__module__.partition(".")[0] in ("streamasr", "persistent_lstm")
                if own and needed is not EXPORTED.get(needed.__name__):
                    raise AssertionError(f"{where}: {argument} needs {needed}")


def test_the_walk_finds_what_signatures_need():
    found = {
        needed.__name__
        for exported in EXPORTED.values()
        for _, types_ in signatures(exported)
        for hint in types_.values()
        for needed in classes_in(hint)
    }
    assert found >= {"Alternative", "Block", "EndpointConfig", "Event", "Hotword", "Timings"}


def test_a_type_checker_sees_a_mistyped_name():
    found = hints(Recognizer.from_pretrained)
    assert (found["backend"], found["decoder"]) == (BackendName, DecoderName)
    options = hints(streamasr.RecognizerOptions)
    assert (options["backend"], options["decoder"]) == (BackendName, DecoderName)


def test_plain_values_are_had_without_torch():
    code = (
        "import sys, streamasr; streamasr.RecognizerOptions(); streamasr.OutputError; "
        "streamasr.Block; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
