"""A run that is killed and started again is the run that was never killed."""

from __future__ import annotations

import csv
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from streamasr.acoustic.model import load_bundle
from streamasr.errors import ConfigError
from streamasr.training import load_config, train


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "log.csv").open(newline="") as file:
        # Wall-clock time is the one column that may differ.
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def command(path: Path) -> list[str]:
    return [sys.executable, "-m", "streamasr", "train", str(path), "--quiet", "--threads", "1"]


def test_killed_mid_epoch_and_resumed_gives_the_same_losses(recipe, tmp_path: Path):
    whole, broken = recipe("whole", updates=14), recipe("broken", updates=14)
    subprocess.run(command(whole), check=True)

    process = subprocess.Popen(command(broken))
    log = tmp_path / "broken" / "log.csv"
    deadline = time.monotonic() + 120
    # Six updates are in the log and the checkpoint is of the fourth: two are to be done again.
    while not (log.exists() and len(log.read_text().splitlines()) > 6):
        assert process.poll() is None, "training ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = len(rows(tmp_path / "broken"))
    assert 0 < done < 14
    subprocess.run(command(broken), check=True)

    assert rows(tmp_path / "broken") == rows(tmp_path / "whole")
    assert (tmp_path / "whole" / "curves.png").stat().st_size > 5_000
    first, second = (load_bundle(tmp_path / name / "model") for name in ("whole", "broken"))
    assert first.fingerprint == second.fingerprint


def test_more_updates_go_on_from_the_end(recipe, tmp_path: Path):
    train(load_config(recipe(updates=6, decay=0)))
    train(load_config(recipe(updates=9, decay=0)))
    updates = [int(row["update"]) for row in rows(tmp_path / "run")]
    assert updates == list(range(1, 10))


def test_a_run_can_begin_with_a_finished_model(recipe):
    first = train(load_config(recipe("first", updates=30, save_every=30)))
    path = recipe("second", updates=1)
    path.write_text(f'init = "{first}"\n' + path.read_text())
    losses: list[float] = []
    second = train(load_config(path), lambda p: losses.append(p.loss))
    with (first.parent / "log.csv").open(newline="") as file:
        untrained = float(next(csv.DictReader(file))["loss"])
    assert losses[0] < 0.7 * untrained
    assert load_bundle(second).config == load_bundle(first).config


def test_a_model_of_another_size_cannot_begin_a_run(recipe, tiny_folder: Path):
    path = recipe()
    path.write_text(f'init = "{tiny_folder}"\n' + path.read_text())
    with pytest.raises(ConfigError, match="has 2 layers of 24, network asks for 2 of 32"):
        train(load_config(path))


def test_a_run_that_begins_with_a_model_may_see_more_frames_but_not_fewer(recipe):
    first = train(load_config(recipe("first", updates=1)))

    def after(name: str, init: Path, stack: int, channels: int) -> Path:
        path = recipe(name, updates=1)
        text = path.read_text().replace("[network]", f"[network]\nchannels = {channels}")
        path.write_text(f'init = "{init}"\n{text}\n[frontend]\nstack = {stack}\n')
        return train(load_config(path))

    second = after("second", first, 9, 2)
    config = load_bundle(second).config
    assert (config.frontend.stack, config.model.channels) == (9, 2)
    assert config.frontend.mean == load_bundle(first).config.frontend.mean
    for stack, channels, message in [
        (9, 3, "convolutions of 2 channels, network asks for 3"),
        (12, 2, "12 frames do not fit .*, whose timesteps have 9"),
    ]:
        with pytest.raises(ConfigError, match=message):
            after(f"{stack}-{channels}", second, stack, channels)
    with pytest.raises(ConfigError, match="3 frames do not fit"):
        after("less", first, 3, 0)


def test_a_checkpoint_of_other_settings_is_refused(recipe):
    path = recipe(updates=4)
    train(load_config(path))
    path.write_text(path.read_text().replace("hidden_size = 32", "hidden_size = 40"))
    with pytest.raises(ConfigError, match="give the configuration a new output folder"):
        train(load_config(path))


def test_the_loss_falls_and_tones_are_learned(recipe, tmp_path: Path):
    path = recipe(updates=400, save_every=400, decay=150)
    # What is tested is that learning works; masks and noise would only make it slower.
    path.write_text(
        path.read_text().replace(
            "[augment]",
            "[augment]\nfrequency_masks = 0\ntime_masks_per_second = 0\nnoise_probability = 0\n"
            "room_probability = 0\nspeed = 0\nsilence_probability = 0",
        )
    )
    train(load_config(path))
    log = rows(tmp_path / "run")
    assert float(log[-1]["loss"]) < 0.2 * float(log[0]["loss"])
    assert float(log[-1]["dev_wer"]) <= 0.5
