"""The record of a run: a CSV, a line per update, and a picture of its curves."""

from __future__ import annotations

import csv
from pathlib import Path

__all__ = ["RunLog", "plot_curves"]

_FIELDS = ("update", "epoch", "hours", "seconds", "lr", "loss", "grad_norm", "dev_wer", "dev_cer")
_LOSSES = ("loss_characters", "loss_frames", "loss_phones")


class RunLog:
    """Appends to ``log.csv``; on resuming, rows after the checkpoint are dropped."""

    def __init__(self, path: Path, resume_at: int) -> None:
        rows: list[dict[str, str]] = []
        if resume_at and path.exists():
            with path.open(newline="") as file:
                rows = [row for row in csv.DictReader(file) if int(row["update"]) <= resume_at]
        self._file = path.open("w", newline="")
        self._writer = csv.DictWriter(self._file, (*_FIELDS, *_LOSSES), restval="")
        self._writer.writeheader()
        self._writer.writerows(rows)
        self._file.flush()

    def write(self, **row: float) -> None:
        """Add a row; values are written so that they read back exactly."""
        self._writer.writerow({name: repr(value) for name, value in row.items()})
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def plot_curves(log: Path, picture: Path) -> None:
    """Draw loss, learning rate and dev error rates of ``log`` into ``picture`` (PNG or SVG)."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    with log.open(newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows:
        return
    scored = [row for row in rows if row["dev_wer"]]
    panels = 2 if scored else 1
    figure, axes = plt.subplots(
        panels, 1, sharex=True, squeeze=False, figsize=(8, 3 * panels), layout="constrained"
    )
    top, bottom = axes[0, 0], axes[-1, 0]
    updates = [int(row["update"]) for row in rows]
    losses = [float(row["loss"]) for row in rows]
    smooth, value = [], losses[0]
    for loss in losses:
        value += 0.02 * (loss - value)
        smooth.append(value)
    top.plot(updates, losses, color="0.8", linewidth=0.5)
    top.plot(updates, smooth, label="training loss per token")
    top.set_ylabel("CTC loss per token")
    rate = top.twinx()
    rate.plot(updates, [float(row["lr"]) for row in rows], color="tab:green", linewidth=0.8)
    rate.set_ylabel("learning rate", color="tab:green")
    top.legend(loc="upper right")
    for field, label in (("dev_wer", "WER"), ("dev_cer", "CER")):
        points = [(int(r["update"]), 100 * float(r[field])) for r in scored]
        if points:
            bottom.plot(*zip(*points, strict=True), marker=".", label=f"dev {label}, greedy")
    bottom.set_xlabel("updates")
    if scored:
        bottom.set_ylabel("%")
        bottom.set_ylim(0, 105)
        bottom.grid(alpha=0.3)
        bottom.legend()
    figure.savefig(picture, dpi=120)
    plt.close(figure)
