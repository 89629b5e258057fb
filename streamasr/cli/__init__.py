"""The command line: ``streamasr transcribe``, ``mic``, ``serve`` and the other commands.

Exit codes: 0; 1 when a file failed and the others went on, or stdout cannot be written; 2 for wrong
usage; 130 for Ctrl-C.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from .. import __version__
from ..errors import MissingError, StreamasrError
from . import console
from .adapt import adapt
from .compile import compile_search
from .enroll import enroll
from .evaluate import evaluate
from .export import export
from .mic import devices, mic
from .prepare import prepare, prepare_librispeech
from .profile import profile
from .serve import serve
from .train import train
from .transcribe import transcribe
from .tune import tune

__all__ = ["app", "main"]

app = typer.Typer(
    name="streamasr",
    help="Streaming speech recognition.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(transcribe)
app.command()(mic)
app.command()(devices)
app.command()(serve)
app.command()(evaluate)
app.command()(profile)
app.command()(train)
app.command()(enroll)
app.command()(adapt)
app.command()(tune)
app.command()(prepare)
app.command()(prepare_librispeech)
app.command("compile")(compile_search)
app.add_typer(export, name="export")


def _version(show: bool) -> None:
    if show:
        typer.echo(f"streamasr {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
    _show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    console.debug = debug


def main() -> None:
    """Run the command line; errors that are the user's are one line on stderr.

    Typer turns Ctrl-C into exit code 130 and keeps quiet when the reader of stdout has left.
    """
    try:
        with console.standard_streams(), console.warnings_as_notes():
            app()
    except StreamasrError as error:
        if console.debug:
            raise
        for problem in error.problems if isinstance(error, MissingError) else (str(error),):
            console.error(problem)
        sys.exit(1 if isinstance(error, console.StdoutError) else 2)
