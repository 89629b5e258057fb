"""Plans: arithmetic on sizes, for every device of the table."""

import pytest
import torch
from persistent_lstm import DEVICES, Device, LSTMError, make_plan
from persistent_lstm.planning import make_once_plan

BFLOAT16, FLOAT32 = torch.bfloat16, torch.float32
H200, H100, A100, RTX4090 = (DEVICES[name] for name in ("h200", "h100", "a100", "rtx4090"))
SIZES = [
    *[(4, 512, batch, None) for batch in (1, 8, 16, 20, 32, 64, 100, 200)],
    *[(1, 1024, batch, None) for batch in (1, 8, 16, 33, 64)],
    (3, 512, 1, 240),
    (3, 512, 1, 700),
    (5, 512, 1, None),
    (7, 640, 4, None),
    (2, 32, 1, None),
    (4, 256, 3, 80),
]


@pytest.mark.parametrize("device", DEVICES.values(), ids=DEVICES)
@pytest.mark.parametrize("dtype", [BFLOAT16, torch.float16])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("split", [False, True])
def test_every_plan_covers_all_layers_and_fits_its_device(device, dtype, residual, split):
    planned = 0
    for layers, hidden, batch, inputs in SIZES:
        plan = make_plan(
            layers, hidden, batch, dtype, device, inputs=inputs, residual=residual, split=split
        )
        assert plan.fits == (plan.reason == "")
        planned += plan.fits
        if not plan.fits:
            assert f"and {device.name} has {device.multiprocessors}" in plan.reason
            continue
        covered = [n for one in plan.launches for n in range(*one.layers)]
        assert covered == list(range(layers))
        for one in plan.launches:
            assert one.programs <= device.multiprocessors
            assert one.shared <= device.shared
            assert one.programs * one.units == one.depth * hidden
            assert hidden <= one.K
            assert plan.row_groups(one) * one.rows >= batch
            # All weights that it runs with, columns filled up, are held by some program.
            assert one.weight_bytes * one.programs >= 2 * one.depth * 4 * hidden * hidden * 2
        if inputs is not None and inputs > hidden:
            assert plan.launches[0].layers == (0, 1)
    assert planned >= 8


def test_a_stack_in_one_launch_needs_an_exchange_a_timestep_and_one_a_further_layer():
    plan = make_plan(4, 512, 1, BFLOAT16, H200)
    assert len(plan.launches) == 1
    assert plan.exchanges(32) == 32 + 4 - 1
    assert plan.exchanges(1) == 4


@pytest.mark.smoke
def test_launches_and_groups_of_rows_follow_each_other():
    two = make_plan(4, 512, 1, BFLOAT16, A100)
    assert [one.layers for one in two.launches] == [(0, 2), (2, 4)]
    assert two.exchanges(32) == 2 * (32 + 1)
    groups = make_plan(4, 512, 130, BFLOAT16, H200)
    assert groups.exchanges(32) == 2 * (32 + 3)
    assert groups.loaded_bytes == 2 * groups.weight_bytes


@pytest.mark.parametrize(
    ("hidden", "dtype", "device", "reason"),
    [
        (100, BFLOAT16, H200, "H = 100 is no multiple of 16 from 32 on"),
        (16, BFLOAT16, H200, "H = 16 is no multiple of 16 from 32 on"),
        (512, FLOAT32, H200, "weights are of torch.float32: bfloat16 and float16 can run"),
        (512, BFLOAT16, Device("V100", 70, 80, 96 * 1024), "sm_70 is too old: sm_80"),
        (512, BFLOAT16, Device("T4", 75, 40, 64 * 1024), "sm_75 is too old: sm_80"),
        (
            1024,
            BFLOAT16,
            A100,
            "a layer of H = 1024 takes 128 multiprocessors, and A100 has 108",
        ),
        (
            1536,
            BFLOAT16,
            H200,
            "H = 1536 with I = 1536 takes more than 128 KiB of registers of each program",
        ),
    ],
)
def test_what_does_not_fit_says_why(hidden, dtype, device, reason):
    plan = make_plan(1, hidden, 1, dtype, device)
    assert not plan.fits
    assert plan.reason == reason or plan.reason.startswith(reason)
    assert f"does not fit: {plan.reason}; torch (cuDNN) runs it" in str(plan)


@pytest.mark.parametrize(
    ("hidden", "units", "launches"),
    [(256, 16, 1), (384, 16, 1), (512, 16, 1), (640, 8, 4), (768, 8, 4), (1024, 8, 4)],
)
def test_what_becomes_of_four_layers_on_an_h100(hidden, units, launches):
    plan = make_plan(4, hidden, 1, BFLOAT16, H100)
    assert {one.units for one in plan.launches} == {units}
    assert len(plan.launches) == launches


@pytest.mark.parametrize("sizes", [(0, 512, 1), (1, 0, 1), (1, 512, 0)])
def test_sizes_must_be_positive(sizes):
    with pytest.raises(LSTMError, match="needs positive sizes"):
        make_plan(*sizes, BFLOAT16, H200)


def test_a_plan_reads_well():
    assert str(make_plan(4, 512, 130, BFLOAT16, H200, residual=True)) == (
        "4 x 512 residual LSTM, bfloat16, batch 130, on H200 (sm_90, 132 multiprocessors)\n"
        "  launch 1: layers 0-3, fragment kernel, 2 times for 128 rows each\n"
        "    128 programs of 8 warps; each owns 16 units of one layer\n"
        "    a program holds 64 x 512 of each of W_ih and W_hh: 128 KiB, 50% of a "
        "multiprocessor's registers\n"
        "    it takes 38 KiB of 227 KiB of shared memory\n"
        "    T + 3 exchanges of h; nothing outside\n"
        "  a chunk of 32 timesteps: 70 exchanges of h, and 32.0 MiB of weights to load, "
        "at least 7.0 us at 4.8 TB/s"
    )


@pytest.mark.parametrize(
    ("device", "split", "rows"), [("h200", False, 32), ("b200", False, 8), ("b200", True, 32)]
)
def test_rows_take_turns_where_registers_suffice(device, split, rows):
    plan = make_plan(4, 512, 32, BFLOAT16, DEVICES[device], residual=True, split=split)
    assert [one.rows for one in plan.launches] == [rows]
    assert plan.row_groups(plan.launches[0]) == 32 // rows


@pytest.mark.parametrize(
    ("device", "split", "residual", "rows", "once"),
    [
        ("h200", True, True, 32, True),
        ("h200", False, True, 32, False),
        ("h200", False, True, 8, True),
        ("h200", False, False, 32, True),
        ("a100", True, True, 32, False),
        ("a100", True, True, 8, True),
        ("a100", True, False, 32, True),
    ],
)
def test_there_is_one_launch_a_chunk_where_registers_suffice(device, split, residual, rows, once):
    sizes = (4, 512, rows, BFLOAT16, DEVICES[device])
    plan = make_once_plan(*sizes, residual=residual, split=split)
    assert plan.once == once
    assert plan.launches == make_plan(*sizes, residual=residual, split=split).launches
    assert not make_once_plan(4, 512, 1, FLOAT32, DEVICES[device]).once
