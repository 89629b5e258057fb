"""``streamasr export``: models for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import ConfigError
from . import console

__all__ = ["export"]

export = typer.Typer(help="Write a model in a format that other programs run.")


@export.callback()
def _formats() -> None:
    """Keep ``onnx`` a command of its own, though it is the only one."""


@export.command()
def onnx(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Model folder; en: the bundled.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for model.onnx, second.onnx.")],
) -> None:
    """Write the acoustic model as ONNX, (h, C) its inputs and outputs, settings its metadata."""
    try:
        from ..export import export_onnx
    except ModuleNotFoundError as error:
        raise ConfigError("exporting needs onnx: pip install 'streamasr[onnx]'") from error
    from ..acoustic.model import load_bundle
    from ..pretrained import PRETRAINED

    bundle = load_bundle(PRETRAINED if model == "en" else Path(model))
    for path in export_onnx(bundle, out):
        console.note(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
