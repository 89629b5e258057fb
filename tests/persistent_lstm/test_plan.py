"""Plans: arithmetic on sizes, for every device of the table."""

import pytest
import torch
from persistent_lstm import DEVICES, Device, LSTMError, best_plan, make_plan
from persistent_lstm._fragment_plan import make_fragment_plan

BFLOAT16, FLOAT32 = torch.bfloat16, torch.float32
H200, A100, RTX4090 = DEVICES["h200"], DEVICES["a100"], DEVICES["rtx4090"]
SIZES = [
    *[(4, 512, batch, None) for batch in (1, 8, 16, 20, 32, 64, 100)],
    *[(1, 1024, batch, None) for batch in (1, 8, 16, 33, 64)],
    (3, 512, 1, 240),
    (5, 512, 1, None),
    (7, 640, 4, None),
    (2, 16, 1, None),
    (4, 256, 3, 80),
]


@pytest.mark.parametrize("device", DEVICES.values(), ids=DEVICES)
@pytest.mark.parametrize("dtype", [BFLOAT16, torch.float16, FLOAT32])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("split", [False, True])
def test_every_plan_covers_all_layers_and_fits_its_device(device, dtype, residual, split):
    planned = 0
    for layers, hidden, batch, inputs in SIZES:
        plan = make_plan(
            *(layers, hidden, batch, dtype, device), inputs=inputs, residual=residual, split=split
        )
        assert plan.fits == (plan.reason == "")
        planned += plan.fits
        if not plan.fits:
            assert f"{device.name} has room for" in plan.reason
            continue
        covered = [n for one in plan.launches for n in range(*one.layers)]
        assert covered == list(range(layers))
        for one in plan.launches:
            assert one.programs <= device.multiprocessors
            assert one.shared <= device.shared
            assert one.programs * one.units == one.depth * hidden
            assert hidden <= one.K
            assert one.rows <= one.N
            assert plan.row_groups(one) * one.rows >= batch
            # All weights that it runs with, columns filled up, are held by some program.
            matrices = 2 if one.kernel == "stack" else 1
            weights = matrices * one.depth * 4 * hidden * one.K * dtype.itemsize
            assert one.weight_bytes * one.programs == weights
        if inputs is not None:
            assert plan.launches[0].kernel in ("projected", "batched")
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
    groups = make_plan(4, 512, 20, BFLOAT16, H200)
    assert groups.exchanges(32) == 2 * (32 + 3)
    assert groups.loaded_bytes == 2 * groups.weight_bytes


def test_batches_of_32_rows_use_the_batched_kernel():
    plan = make_plan(2, 512, 32, BFLOAT16, H200)
    assert [one.kernel for one in plan.launches] == ["batched", "batched"]
    # 64 rows of h beside the weights are more shared memory than some have.
    small = make_plan(1, 512, 64, BFLOAT16, RTX4090)
    assert [(one.kernel, one.rows) for one in small.launches] == [("batched", 32)]
    assert make_plan(2, 512, 31, BFLOAT16, H200).launches[0].kernel == "stack"
    assert make_plan(1, 512, 32, FLOAT32, H200).launches[0].kernel == "stack"


@pytest.mark.parametrize(
    ("hidden", "dtype", "device", "reason"),
    [
        (100, BFLOAT16, H200, "H = 100 is no multiple of 16"),
        (512, torch.float64, H200, "float32, bfloat16 and float16 can run"),
        (512, BFLOAT16, Device("V100", 70, 80, 96 * 1024), "sm_70 is too old: sm_80"),
        (512, BFLOAT16, Device("T4", 75, 40, 64 * 1024), "sm_75 is too old: sm_80"),
        (
            *(2048, FLOAT32, H200),
            "one layer's W_hh takes 64.0 MiB of registers, and H200 has room for 16.5 MiB "
            "(132 multiprocessors, 128 KiB each)",
        ),
        (
            *(2048, BFLOAT16, RTX4090),
            "one layer's W_hh takes 32.0 MiB of registers, and RTX 4090 has room for 8.0 MiB "
            "(128 multiprocessors, 64 KiB each)",
        ),
    ],
)
def test_what_does_not_fit_says_why(hidden, dtype, device, reason):
    plan = make_plan(1, hidden, 1, dtype, device)
    assert not plan.fits
    assert reason in plan.reason
    assert f"does not fit: {plan.reason}; torch (cuDNN) runs it" in str(plan)


@pytest.mark.parametrize("sizes", [(0, 512, 1), (1, 0, 1), (1, 512, 0)])
def test_sizes_must_be_positive(sizes):
    with pytest.raises(LSTMError, match="needs positive sizes"):
        make_plan(*sizes, BFLOAT16, H200)


def test_a_plan_reads_well():
    assert str(make_plan(4, 512, 1, BFLOAT16, H200, residual=True)) == (
        "4 x 512 residual LSTM, bfloat16, batch 1, on H200 (sm_90, 132 multiprocessors)\n"
        "  launch 1: layers 0-3, stack kernel\n"
        "    128 programs of 8 warps; each owns 16 units of one layer\n"
        "    a program holds 64 x 512 of each of W_ih and W_hh: 128 KiB, 50% of a "
        "multiprocessor's registers\n"
        "    it takes 130 KiB of 227 KiB of shared memory\n"
        "    T + 3 exchanges of h; nothing outside\n"
        "  a chunk of 32 timesteps: 35 exchanges of h, and 16.0 MiB of weights to load, "
        "at least 3.5 us at 4.8 TB/s"
    )
    assert str(make_plan(1, 1024, 64, BFLOAT16, A100)) == (
        "1 x 1024 LSTM, bfloat16, batch 64, on A100 (sm_80, 108 multiprocessors)\n"
        "  launch 1: layer 0, batched kernel, 2 times for 32 rows each\n"
        "    64 programs of 4 warps; each owns 16 units of one layer\n"
        "    a program holds 64 x 1024 of W_hh: 128 KiB, 79% of a multiprocessor's shared memory\n"
        "    it takes 152 KiB of 163 KiB of shared memory\n"
        "    T exchanges of h; W_ih·x as one matrix product before it\n"
        "  a chunk of 32 timesteps: 64 exchanges of h, and 16.0 MiB of weights to load, "
        "at least 8.2 us at 2 TB/s"
    )


@pytest.mark.parametrize(
    ("hidden", "device", "reason"),
    [
        (1024, A100, "a layer of H = 1024 takes 128 multiprocessors, and A100 has 108"),
        (2048, H200, "H = 2048 with I = 2048 takes more than 128 KiB of registers of each program"),
    ],
)
def test_version_2_refuses_what_a_gpu_cannot_hold(hidden, device, reason):
    plan = make_fragment_plan(1, hidden, 1, BFLOAT16, device)
    assert (plan.fits, plan.reason) == (False, reason)
    assert best_plan(1, hidden, 1, BFLOAT16, device) == make_plan(1, hidden, 1, BFLOAT16, device)


@pytest.mark.parametrize(
    ("device", "split", "rows"), [("h200", False, 32), ("b200", False, 8), ("b200", True, 32)]
)
def test_rows_take_turns_where_registers_suffice(device, split, rows):
    plan = make_fragment_plan(4, 512, 32, BFLOAT16, DEVICES[device], residual=True, split=split)
    assert [one.rows for one in plan.launches] == [rows]
    assert plan.row_groups(plan.launches[0]) == 32 // rows
