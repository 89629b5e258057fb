"""Batches, augmentation and configuration."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from streamasr.acoustic.frontend import Frontend, FrontendConfig
from streamasr.errors import AudioWarning, ConfigError, MissingError
from streamasr.manifest import normalise, read_manifest
from streamasr.tokens import Tokens
from streamasr.training import load_config, train
from streamasr.training.augment import Augmenter, Timing, colour_spectrum, mask_spectrogram
from streamasr.training.batches import batches_of_epoch
from streamasr.training.cache import AudioCache
from streamasr.training.config import AugmentConfig
from streamasr.training.corpus import load_corpus
from streamasr.training.loop import learning_rate
from streamasr.training.plan import pass_plan


def test_an_epoch_holds_each_utterance_once_within_the_budget(recipe):
    config = load_config(recipe())
    corpus = load_corpus(config, Tokens.characters())
    plan = pass_plan(corpus, Frontend(config.frontend), config, 0)
    assert sorted(i for batch in plan for i in batch) == list(range(24))
    for batch in plan:
        assert max(corpus.seconds[i] for i in batch) * len(batch) <= 8 * 1.15
    assert pass_plan(corpus, Frontend(config.frontend), config, 0) == plan
    assert pass_plan(corpus, Frontend(config.frontend), config, 1) != plan


def test_a_share_draws_a_part_of_a_source(recipe):
    path = recipe()
    path.write_text(path.read_text().replace('"train.tsv" }', '"train.tsv", share = 0.5 }'))
    config = load_config(path)
    corpus = load_corpus(config, Tokens.characters())
    frontend = Frontend(config.frontend)
    drawn = [sum(map(len, pass_plan(corpus, frontend, config, number))) for number in range(40)]
    assert 10 < np.mean(drawn) < 14


@pytest.mark.parametrize("workers", [0, 1])
def test_a_batch_does_not_depend_on_who_makes_it_or_when(recipe, workers):
    path = recipe()
    path.write_text(path.read_text().replace("workers = 0", f"workers = {workers}"))
    config = load_config(path)
    frontend = Frontend(config.frontend)
    corpus = load_corpus(config, Tokens.characters())
    whole = list(batches_of_epoch(corpus, config, frontend, epoch=2))
    rest = list(batches_of_epoch(corpus, config, frontend, epoch=2, start=2))
    assert len(rest) == len(whole) - 2
    for a, b in zip(whole[2:], rest, strict=True):
        assert torch.equal(a.frames, b.frames)
        assert torch.equal(a.characters.tokens, b.characters.tokens)


def test_an_epoch_may_be_several_passes_each_of_which_varies_anew(recipe):
    config = load_config(recipe()).with_values("data", passes=3)
    frontend = Frontend(config.frontend)
    corpus = load_corpus(config, Tokens.characters())
    batches = list(batches_of_epoch(corpus, config, frontend, epoch=1))
    plans = [pass_plan(corpus, Frontend(config.frontend), config, number) for number in (3, 4, 5)]
    assert [len(b.lengths) for b in batches] == [len(b) for plan in plans for b in plan]
    # Whatever the order, each pass would have the same sum if it varied nothing, or the same.
    rest = iter(batches)
    sums = [sum(float(next(rest).frames.sum()) for _ in plan) for plan in plans]
    assert len(set(np.round(sums, 1))) == 3


def test_no_utterance_to_read_is_one_line(recipe):
    config = load_config(recipe()).with_values("data", min_seconds=100.0, max_seconds=200.0)
    with pytest.raises(ConfigError, match="no training utterance is within min_seconds"):
        train(config)


def test_targets_are_the_transcripts(recipe, tone_data: Path):
    config = load_config(recipe())
    tokens = Tokens.characters()
    corpus = load_corpus(config, tokens)
    for utterance, target in zip(
        read_manifest(tone_data / "train.tsv"), corpus.targets, strict=True
    ):
        text = "".join(" " if s == "<space>" else s for s in (tokens.symbols[i] for i in target))
        assert text == utterance.transcript.lower()


@pytest.mark.smoke
def test_the_cache_holds_the_samples(tmp_path: Path):
    audio = (np.random.default_rng(0).integers(-3000, 3000, 5_000) / 32768).astype(np.float32)
    paths = [tmp_path / "a.wav", tmp_path / "b.wav"]
    soundfile.write(paths[0], audio, 16_000)
    soundfile.write(paths[1], audio[:100], 16_000)
    for _ in range(2):  # the second time from the files of the first
        cache = AudioCache(paths, tmp_path / "cache")
        assert len(cache) == 2
        assert cache.length(1) == 100
        assert np.array_equal(cache[0], audio)
        assert np.array_equal(cache[1], audio[:100])
    soundfile.write(paths[1], audio[:200], 16_000)
    assert AudioCache(paths, tmp_path / "cache").length(1) == 200


def loud(rng: np.random.Generator) -> np.ndarray:
    return (0.3 * rng.standard_normal(16_000)).astype(np.float32)


def test_augmentation_is_a_function_of_its_generator(tone_data: Path, tmp_path: Path):
    noises = AudioCache([tone_data / "noise" / "one.wav"], tmp_path)
    rooms = AudioCache([tone_data / "rir" / "one.wav"], tmp_path)
    config = AugmentConfig(noise_probability=1, room_probability=1)
    augment = Augmenter(config, noises, rooms)
    samples = loud(np.random.default_rng(0))
    first, same, other = (augment(samples, np.random.default_rng(s))[0] for s in (1, 1, 2))
    assert np.array_equal(first, same)
    assert len(other) != len(first) or not np.array_equal(first, other)
    assert first.dtype == np.float32
    assert np.abs(first).max() <= 1


def test_speed_changes_the_length():
    config = AugmentConfig(noise_probability=0, padding_seconds=0)
    augment = Augmenter(config, None, None)
    samples = loud(np.random.default_rng(0))
    varied = [augment(samples, np.random.default_rng(seed)) for seed in range(20)]
    lengths = {len(sound) for sound, _ in varied}
    assert all(len(sound) == pytest.approx(16_000 / t.speed, abs=2) for sound, t in varied)
    expected = [round(len(samples) / speed) for speed in (1.1, 1.0, 0.9)]
    assert sorted(lengths) == pytest.approx(expected, abs=2)


def test_the_first_epoch_is_plain(recipe):
    config = load_config(recipe())
    frontend = Frontend(config.frontend)
    corpus = load_corpus(config, Tokens.characters())
    plain = next(iter(batches_of_epoch(corpus, config, frontend, epoch=0)))
    first = pass_plan(corpus, Frontend(config.frontend), config, 0)[0][0]
    samples = torch.cat([torch.from_numpy(corpus.cache[first]), frontend.tail()])
    expected = frontend.stack(frontend.log_mel(samples))
    assert torch.equal(plain.frames[: len(expected), 0], expected)


@pytest.mark.parametrize("snr", [0.0, 20.0])
def test_noise_is_added_at_the_chosen_ratio(snr):
    config = AugmentConfig(
        noise_probability=1, snr_db=(snr, snr), padding_seconds=0, gain_db=0, speed=0
    )
    augment = Augmenter(config, None, None)
    samples = 0.1 * loud(np.random.default_rng(0))
    ratios = []
    for seed in range(20):
        noise = augment(samples, np.random.default_rng(seed))[0] - samples
        if noise.any():  # one of the noises is silence
            ratios.append(10 * np.log10(np.mean(samples**2) / np.mean(noise**2)))
    assert ratios
    assert np.allclose(ratios, snr, atol=0.1)


@pytest.mark.smoke
def test_a_room_leaves_words_where_they_are(tone_data: Path, tmp_path: Path):
    rooms = AudioCache([tone_data / "rir" / "one.wav"], tmp_path)
    config = AugmentConfig(
        room_probability=1, noise_probability=0, padding_seconds=0, gain_db=0, speed=0
    )
    click = np.zeros(4_000, np.float32)
    click[1_000] = 0.5
    wet, timing = Augmenter(config, None, rooms)(click, np.random.default_rng(0))
    assert timing == Timing()
    assert np.abs(wet[:1_000]).max() < 1e-6
    assert np.argmax(np.abs(wet)) == 1_000
    assert np.count_nonzero(np.abs(wet) > 1e-6) > 100


def test_timing_says_where_the_sound_went():
    config = AugmentConfig(noise_probability=0, gain_db=0, padding_seconds=0.3)
    click = np.zeros(16_000, np.float32)
    click[8_000] = 0.9
    for seed in range(10):
        sound, timing = Augmenter(config, None, None)(click, np.random.default_rng(seed))
        where = float(np.argmax(np.abs(sound))) / 16_000
        assert where == pytest.approx(timing.lead + 0.5 / timing.speed, abs=1e-3)


def test_silence_is_never_too_loud_and_has_the_length():
    augment = Augmenter(AugmentConfig(), None, None)
    for seed in range(30):
        sound = augment.silence(1_001, np.random.default_rng(seed))
        assert sound.shape == (1_001,)
        assert np.abs(sound).max() <= 1
        assert np.isfinite(sound).all()


MEL = Frontend(FrontendConfig(mean=(-5.0,) * 80, std=(2.0,) * 80))
FRAMES = torch.randn(50, 80, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)


def test_a_low_pass_takes_the_top_and_leaves_the_rest():
    config = AugmentConfig(equaliser_db=0, low_pass_probability=1)
    coloured = colour_spectrum(FRAMES, config, MEL, np.random.default_rng(0))
    change = (coloured - FRAMES) * 2.0 * 10 / np.log(10)  # in dB
    assert change[:, :47].abs().max() < 0.01
    assert change.max() < 0.01
    assert change[:, -1].max() < -10


def test_an_equaliser_is_one_gain_per_bin_and_keeps_silence():
    config = AugmentConfig(equaliser_db=2, low_pass_probability=0)
    change = colour_spectrum(FRAMES + 3, config, MEL, np.random.default_rng(1)) - (FRAMES + 3)
    assert change.std(dim=0).max() < 1e-3
    assert change.mean(dim=0).abs().max() > 0.1
    silence = MEL.normalise(torch.zeros(3, 80))
    kept = colour_spectrum(silence, config, MEL, np.random.default_rng(1))
    assert (kept - silence).abs().max() < 1e-3


def test_a_warp_moves_all_bins_by_a_factor_and_keeps_silence():
    config = AugmentConfig(equaliser_db=0, low_pass_probability=0, warp=0.2)
    line = torch.zeros(5, 80)
    line[:, 40] = 1e3
    moved = set()
    for seed in range(30):
        warped = colour_spectrum(MEL.normalise(line), config, MEL, np.random.default_rng(seed))
        energy = MEL.mel_energy(warped)
        place = (energy[0] * torch.arange(80)).sum() / energy[0].sum()
        assert 32 <= place <= 48
        moved.add(round(place.item()))
    assert len(moved) > 8
    silence = MEL.normalise(torch.zeros(3, 80))
    kept = colour_spectrum(silence, config, MEL, np.random.default_rng(1))
    assert (kept - silence).abs().max() < 1e-3


def test_masks_cover_whole_bands_and_keep_the_rest():
    frames = torch.ones(400, 80)
    config = AugmentConfig(time_masks_per_second=1.0)
    masked = mask_spectrogram(frames, config, 100.0, np.random.default_rng(3))
    zero = masked == 0
    rows, columns = zero.all(dim=1), zero.all(dim=0)
    assert rows.any()
    assert columns.any()
    assert torch.equal(zero, rows[:, None] | columns[None, :])
    assert frames.all(), "the input is left alone"


def test_the_learning_rate_warms_up_holds_and_decays(recipe):
    config = load_config(recipe(updates=20, decay=10)).optimizer
    rates = [learning_rate(config, u) / config.peak_lr for u in range(20)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert rates[5:11] == [1.0] * 6
    assert rates[11:] == pytest.approx([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1])


def test_texts_are_normalised():
    assert normalise("  It's   TEN-past\tnine! ") == "it's ten past nine"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("workers = 0", "worker = 0", r"data\.worker: Extra inputs"),
        ("updates = 12", "updates = -1", r"optimizer\.updates: Input should be greater than 0"),
        ("updates = 12", "updates = ", "not valid TOML"),
        ('train = [{ manifest = "train.tsv" }]', "train = []", r"data\.train: Tuple should have"),
    ],
)
def test_a_wrong_configuration_names_its_key(recipe, old, new, message):
    path = recipe()
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(path)
    assert "\n" not in str(caught.value).replace("not valid TOML: ", "")


def damage(tone_data: Path, folder: Path) -> Path:
    """A copy of the data set in which a recording of each kind is no audio, and one breaks off."""
    root = folder / "tones"
    shutil.copytree(tone_data, root)
    for name in ("audio/train3.wav", "audio/dev1.wav", "noise/two.wav"):
        (root / name).write_bytes(b"no audio\n" * 100)
    cut = root / "audio" / "train5.wav"
    cut.write_bytes(cut.read_bytes()[:-9_000])
    return root


def test_recordings_that_cannot_be_decoded_are_left_out(recipe, tone_data: Path, tmp_path: Path):
    root = damage(tone_data, tmp_path)
    config = load_config(recipe()).with_values("data", root=str(root))
    whole = load_corpus(load_config(recipe("whole")), Tokens.characters())
    for _ in range(2):  # the second time from the files of the first
        failed = []
        corpus = load_corpus(config, Tokens.characters(), failed.append)
        assert [f.path.name for f in failed] == ["train3.wav", "train5.wav", "two.wav"]
        assert "damaged or cut short" in failed[1].problem
        kept = [k for k in range(24) if k not in (3, 5)]
        assert corpus.texts == [whole.texts[k] for k in kept]
        assert corpus.targets == [whole.targets[k] for k in kept]
        assert len(corpus.shares) == len(corpus.seconds) == len(kept)
        for index, k in enumerate(kept):
            assert np.array_equal(corpus.cache[index], whole.cache[k])
    with pytest.warns(AudioWarning, match=r"; left out") as caught:
        load_corpus(config, Tokens.characters())
    assert len(caught) == 3


def test_train_names_what_it_leaves_out_and_ends_with_1(recipe, tone_data: Path, tmp_path: Path):
    root = damage(tone_data, tmp_path)
    path = recipe(updates=1, save_every=1, decay=0)
    command = [sys.executable, "-m", "streamasr", "train", path, "--data-root", root]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    *lines, update, written, count = done.stderr.splitlines()
    assert [line.split(": ")[:2] for line in lines] == [["streamasr", "error"]] * 4
    assert all(name in done.stderr for name in ("train3", "train5", "dev1", "two.wav"))
    assert "dev WER" in update
    assert "model written to" in written
    assert count == "4 recordings were left out"


def test_all_recordings_that_are_not_there_are_named(recipe, tone_data: Path, tmp_path: Path):
    root = tmp_path / "tones"
    shutil.copytree(tone_data, root)
    for number in (2, 7):
        (root / "audio" / f"train{number}.wav").unlink()
    config = load_config(recipe()).with_values("data", root=str(root))
    with pytest.raises(MissingError) as caught:
        load_corpus(config, Tokens.characters())
    assert [problem.split("/")[-1] for problem in caught.value.problems] == [
        f"train{number}.wav: no such file" for number in (2, 7)
    ]
