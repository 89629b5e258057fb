"""``streamasr serve``: many clients, one model."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from ..cores import cores
from ..errors import StreamasrError
from .checks import check_address, check_certificate
from .loading import load_recognizer, recognizer_options
from .options import (
    Backend,
    BackendOption,
    Decoder,
    DecoderOption,
    FillersOption,
    FormattedOption,
    HotwordsOption,
    ModelOption,
    ProfanityOption,
    TextOption,
)

__all__ = ["serve"]

INSTALL = 'pip install "streamasr[serve]"'


def serve(
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; 0.0.0.0: all.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535)] = 2700,
    max_streams: Annotated[
        int, typer.Option("--max-streams", min=1, help="Live streams and uploads at once.")
    ] = 64,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", metavar="FILE", help="Tokens, one a line.")
    ] = None,
    origin: Annotated[
        list[str] | None,
        typer.Option("--origin", metavar="URL", help="Other pages that may connect; repeatable."),
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option("--tls-certificate", metavar="FILE", help="PEM; makes it https.")
    ] = None,
    key: Annotated[Path | None, typer.Option("--tls-key", metavar="FILE", help="PEM.")] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            "--threads", min=1, help="CPU threads of the model. [default: half of the CPUs]"
        ),
    ] = None,
    batched: Annotated[
        bool, typer.Option("--batched/--one-by-one", help="All streams in one pass, or not.")
    ] = True,
    decoders: Annotated[
        int | None,
        typer.Option(
            "--decoders",
            min=1,
            help="Threads that search for words. [default: one for each CPU]",
        ),
    ] = None,
    decoder: DecoderOption = Decoder.auto,
    hotwords: HotwordsOption = None,
    text: TextOption = None,
    formatted: FormattedOption = None,
    remove_fillers: FillersOption = False,
    mask_profanity: ProfanityOption = False,
    backend: BackendOption = Backend.auto,
    model: ModelOption = None,
) -> None:
    """Serve live streams and uploads: WebSockets, OpenAI's transcriptions, and a page at /."""
    try:
        from ..serving import ServeSettings, create_app
        from ..serving.logs import log_to_stderr
        from ..serving.running import configure, run
        from ..serving.settings import read_tokens
    except ImportError as error:
        raise StreamasrError(f"serving needs {error.name}: {INSTALL}") from error

    if (certificate is None) != (key is None):
        raise StreamasrError("--tls-certificate and --tls-key go together")
    if certificate and key:
        check_certificate(certificate, key)
    check_address(host, port)
    notes: list[str] = []
    options = recognizer_options(
        *(model, backend, decoder, hotwords),
        text=text,
        formatted=formatted,
        remove_fillers=remove_fillers,
        mask_profanity=mask_profanity,
        note=notes.append,
    )
    settings = ServeSettings(
        max_streams=max_streams,
        tokens=read_tokens(token_file) if token_file else frozenset(),
        origins=frozenset(origin or ()),
    )
    # Threads that wait for each other would take the time of those that decode.
    threads = threads or max(1, cores() // 2)
    log_to_stderr()
    log = logging.getLogger("streamasr.serving")
    for note in notes:
        log.info(note)
    recognizer = load_recognizer(options, threads=threads, warn=log.warning, note=log.info)
    app = create_app(recognizer, settings, batched=batched, decoders=decoders)
    config = configure(
        app, settings, host=host, port=port, ssl_certfile=certificate, ssl_keyfile=key
    )
    if run(config):
        raise typer.Exit(130)
