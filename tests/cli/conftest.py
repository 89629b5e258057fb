"""Running the command line inside the test process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from streamasr import cli


class Run(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch) -> Callable[..., Run]:
    """Call ``streamasr`` with the arguments; returns exit code, stdout and stderr."""

    def call(*arguments: object) -> Run:
        monkeypatch.setattr("sys.argv", ["streamasr", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        code = ended.value.code
        assert code is None or isinstance(code, int)
        return Run(code or 0, *capsys.readouterr())

    return call


@pytest.fixture
def transcribe(run, tiny_folder: Path) -> Callable[..., Run]:
    """Call ``streamasr transcribe`` with the tiny model."""
    return lambda *arguments: run("transcribe", "--model", tiny_folder, *arguments)
