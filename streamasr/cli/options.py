"""Options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "Backend",
    "BackendOption",
    "ChunkOption",
    "Decoder",
    "DecoderOption",
    "Engine",
    "FillersOption",
    "Format",
    "FormattedOption",
    "HotwordsOption",
    "ModelOption",
    "ProfanityOption",
    "TextOption",
    "TrackOption",
]


class Format(StrEnum):
    """Output formats."""

    txt = "txt"
    json = "json"
    jsonl = "jsonl"
    srt = "srt"
    vtt = "vtt"
    tsv = "tsv"
    ctm = "ctm"


class Engine(StrEnum):
    """Where a batch job runs."""

    local = "local"
    ray = "ray"


class Backend(StrEnum):
    """What runs the LSTM."""

    auto = "auto"
    cpu = "cpu"
    torch = "torch"
    triton = "triton"
    triton_wide = "triton-wide"
    triton_once = "triton-once"


class Decoder(StrEnum):
    """How posteriors become words."""

    auto = "auto"
    greedy = "greedy"
    beam = "beam"


ModelOption = Annotated[
    Path | None, typer.Option("--model", metavar="DIR", help="Model folder (default: bundled).")
]
ChunkOption = Annotated[
    int, typer.Option("--chunk-ms", min=1, help="Audio handed to the model at a time, in ms.")
]
DecoderOption = Annotated[
    Decoder,
    typer.Option(
        "--decoder", help="How posteriors become words; auto: beam if the model can, else greedy."
    ),
]
HotwordsOption = Annotated[
    Path | None,
    typer.Option(
        "--hotwords",
        metavar="FILE",
        help="Phrases to prefer: one a line, perhaps a tab and its weight (default 2).",
    ),
]
TextOption = Annotated[
    Path | None,
    typer.Option(
        "--text",
        metavar="FILE",
        help="Text like what will be said, for the language models: 20 MB at most.",
    ),
]
TrackOption = Annotated[
    str | None,
    typer.Option(
        "--track", metavar="N|LANG", help="Which of several audio tracks: its number or language."
    ),
]
BackendOption = Annotated[Backend, typer.Option("--backend", help="What runs the LSTM.")]
FormattedOption = Annotated[
    bool | None,
    typer.Option(
        "--formatted/--plain",
        help="With punctuation, capitals and numbers, or as recognised. "
        "[default: formatted if the model can]",
        show_default=False,
    ),
]
FillersOption = Annotated[
    bool, typer.Option("--remove-fillers", help='Leave out "uh", "um" and the like.')
]
ProfanityOption = Annotated[
    bool, typer.Option("--mask-profanity", help="Of swear words write the first letter only.")
]
