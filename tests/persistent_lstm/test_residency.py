"""Weights stay on chip: read from machine code, and from hand-written machine code that errs.

The test process runs kernels under Triton's interpreter, where they cannot be compiled: the
compiler runs in processes of its own.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import persistent_lstm._launch
import pytest
import torch
from persistent_lstm import DEVICES, LayerWeights, PersistentLSTM, make_plan, zero_state
from persistent_lstm._arguments import POINTER, argument_types
from persistent_lstm._launch import run_plan
from persistent_lstm._sass import bytes_read, is_plain_global_load, kept_registers, parse, time_loop
from persistent_lstm.planning import PLANNERS
from persistent_lstm.residency import MachineCode, problems

HERE = Path(__file__).parent
ORDERED = {"LDG", "STG", "RED", "REDG", "BAR", "MEMBAR", "HGMMA"}
KERNELS = HERE.parents[1] / "kernels"


def run_python(*arguments, path=KERNELS):
    """Run Python without the interpreter's variable; return its exit code, stdout and stderr."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    folders = [str(path), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, folders))
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env=environment, check=False
    )
    return done.returncode, done.stdout, done.stderr


def inspect(*arguments):
    return run_python("-m", "persistent_lstm.inspect", *arguments)


@pytest.mark.parametrize(
    ("device", "backend"),
    [*((name, "triton") for name in ("h200", "a100", "b200", "rtx4090")), ("h200", "triton-once")],
)
def test_weights_are_resident_and_nothing_spills(device, backend):
    code, output, errors = inspect("--quick", "--json", "--for", device, "--backend", backend)
    assert errors == ""
    assert code == 0
    rows = json.loads(output)
    assert {row["target"] for row in rows} == {DEVICES[device].capability}
    # A layer of 1024 takes more programs than an A100 has multiprocessors.
    assert len(rows) == (2 if device == "a100" else 4)
    for row in rows:
        assert row["problems"] == []
        assert row["spill"] == 0
        assert row["weight_loads_in_loop"] == 0
        assert row["loaded_before"] >= row["weight_bytes"]
        assert row["shared"] <= row["shared_planned"] <= DEVICES[device].shared
        assert 1 <= row["ways"] <= 2
        assert row["kept"] >= row["weight_bytes"]
        # The time loop was found: it reads h, multiplies it and publishes it.
        counts = row["counts"]
        assert counts["LDG STRONG"] > 0
        assert counts["STG"] > 0
        assert sum(counts.get(name, 0) for name in ("HMMA", "HGMMA", "UTCHMMA")) > 0


@pytest.mark.parametrize(
    ("sizes", "kernels"), [(("-B", "32,64", "--rounded"), 2), (("-B", "64", "--residual"), 1)]
)
def test_the_wide_kernel_keeps_its_weights_in_shared_memory(sizes, kernels):
    code, output, errors = inspect(
        "--json", "--for", "h100", "--backend", "triton-wide", "--ragged", *sizes
    )
    assert (code, errors) == (0, "")
    rows = json.loads(output)
    assert len(rows) == kernels
    for row in rows:
        assert row["kernel"] == "wide"
        assert row["problems"] == []
        assert row["spill"] == row["weight_loads_in_loop"] == 0
        # More than the registers of its threads hold: it can be nowhere else.
        assert row["weight_bytes"] >= 128 * 1024 > 4 * row["registers"] * 4 * 32
        assert row["weight_bytes"] < row["shared"] <= row["shared_planned"]
        assert row["counts"]["HGMMA"] > 0


ORDER = """
import json, sys, torch
from persistent_lstm import DEVICES
from persistent_lstm.planning import make_wide_plan
from persistent_lstm.residency import residency
plan = make_wide_plan(4, 512, 32, torch.bfloat16, DEVICES["h100"], split=False)
loop = residency(plan, plan.launches[0]).code.loop
json.dump([one.text.split(" ")[0 if one.text[0] != "@" else 1] for one in loop], sys.stdout)
"""


def test_the_wide_kernel_reads_h_after_the_counter_and_counts_after_storing():
    code, output, errors = run_python("-c", ORDER)
    assert (code, errors) == (0, "")
    kinds = [name for name in json.loads(output) if name.split(".")[0] in ORDERED]
    polls = [i for i, name in enumerate(kinds) if name.startswith("LDG") and ".GPU" in name]
    loads = [i for i, name in enumerate(kinds) if name.startswith("LDG") and ".SYS" in name]
    products = [i for i, name in enumerate(kinds) if name.startswith("HGMMA")]
    assert len(polls) == 2  # for the input, and for h of its own layer
    assert polls[0] < loads[0]
    # Between the input's last product and the second wait nothing of h is read.
    before = max(i for i in products if i < polls[1])
    assert not any(before < i < polls[1] for i in loads)
    stores = [i for i, name in enumerate(kinds) if name.startswith("STG") and ".GPU" in name]
    (counts,) = [i for i, name in enumerate(kinds) if name.startswith("RED")]
    after = [name.split(".")[0] for name in kinds[max(stores) + 1 : counts]]
    assert after.index("BAR") < after.index("MEMBAR")


@pytest.fixture(scope="module")
def bad_kernels():
    """What is found of kernels that err, and of some that do not."""
    code, output, errors = run_python(str(HERE / "bad_kernels.py"))
    assert code == 0, errors
    return json.loads(output)


def test_kernels_that_do_not_keep_their_weights_are_found(bad_kernels):
    assert bad_kernels["keeps"] == []
    assert "16 loads of weights inside the time loop" in bad_kernels["reloads"]
    # The compiler keeps them in shared memory and reads them from there in each timestep.
    assert bad_kernels["counts"] == [
        "0 bytes stay in registers through the time loop, 65536 of weights should"
    ]


def test_conflicts_of_banks_are_found(bad_kernels):
    found = bad_kernels["conflicts"]
    assert found["1 word"] == found["2 words"] == []
    assert found["8 words"] == ["8-way conflicts of shared memory's banks in the time loop"]
    assert found["by what was loaded"] == [
        "2 accesses to shared memory in the time loop cannot be followed"
    ]


def test_the_command_prints_a_table_and_the_time_loop():
    code, output, _ = inspect("--for", "a100", "-L", "1", "-H", "64", "-B", "1")
    assert code == 0
    header, row, total, *_ = output.splitlines()
    assert header.split()[:3] == ["target", "GPU", "case"]
    assert row.startswith("sm_80   a100     1x64 B=1 bfloat16")
    assert row.endswith("1  65536 in registers, resident")
    assert total.endswith(": none not proven")
    code, output, _ = inspect("--for", "a100", "-L", "1", "-H", "64", "--sass")
    assert code == 0
    assert output.startswith("1 x 64 LSTM, bfloat16, batch 1, on A100")
    assert "; weights times h" in output
    assert "; reads h until it is there" in output
    assert "; loads a weight" not in output


def test_what_does_not_fit_is_said():
    code, output, _ = inspect("--for", "a100", "-L", "1", "-H", "2048")
    assert code == 0
    assert "does not fit, torch runs it: H = 2048 with I = 2048 takes more than 128 KiB" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--for", "h2o"), "error: unknown device 'h2o': choose from h200, h100"),
        (("-L", "0"), "argument -L: invalid numbers value: '0'"),
    ],
)
def test_wrong_arguments_are_named_in_a_line(arguments, message):
    code, output, errors = inspect(*arguments)
    assert (code, output) == (2, "")
    assert message in errors.splitlines()[-1]


def test_without_triton_it_says_what_to_install():
    code, _, errors = run_python(
        "-c",
        "import sys; sys.modules['triton'] = None\n"
        "import importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'triton' else find(name, *a)\n"
        "from persistent_lstm.inspect import main; sys.exit(main(['--quick']))",
    )
    assert code == 2
    assert errors == 'error: the triton backend needs Triton: pip install "streamasr[gpu]"\n'


def test_importing_the_library_does_not_import_triton():
    code, output, errors = run_python(
        "-c", "import sys, persistent_lstm; print('triton' in sys.modules)"
    )
    assert (code, output, errors) == (0, "False\n", "")


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize(
    ("planner", "apart"), [*((name, False) for name in PLANNERS), ("triton-once", True)]
)
@pytest.mark.parametrize("split", [False, True])
def test_what_is_compiled_ahead_is_what_is_launched(monkeypatch, planner, apart, split, ragged):
    launched = []

    def record(self, kernel, *arguments, gather=False):
        assert gather == apart
        launched.append((self.launch, kernel, arguments, self.x.shape[1]))

    monkeypatch.setattr(persistent_lstm._launch._Group, "_start", record)
    module = PersistentLSTM(24, 64, 2)
    batch = 33
    weights = [LayerWeights(*(t.detach().bfloat16() for t in w)) for w in module.weights]
    plan = PLANNERS[planner](2, 64, batch, torch.bfloat16, DEVICES["h200"], inputs=24, split=split)
    lengths = torch.full((batch,), 3, dtype=torch.int32) if ragged else None
    state = [zero_state(weights, 1)] * batch if apart else zero_state(weights, batch)
    run_plan(plan, torch.randn(3, batch, 24), weights, state, lengths=lengths)
    assert [one for one, *_ in launched] == list(plan.launches)
    for one, kernel, arguments, rows in launched:
        assert rows == one.rows
        types = argument_types(plan, one, ragged=ragged, gather=apart)
        names = [name for name in kernel.arg_names if name in types]
        assert names == list(types) == kernel.arg_names[: len(types)]
        for name, argument in zip(names, arguments, strict=True):
            expected = POINTER[argument.dtype] if isinstance(argument, torch.Tensor) else "i32"
            assert types[name] == expected, name


def test_other_inline_ptx_is_another_kernel(tmp_path):
    """Triton's cache takes the source of kernels into account, but not of what makes their PTX."""
    compiled = []
    for name in ("as it is", "without padding"):
        copy = tmp_path / name / "persistent_lstm"
        shutil.copytree(KERNELS / "persistent_lstm", copy)
        if name == "without padding":
            ptx = copy / "_ptx.py"
            text = ptx.read_text()
            assert "stride, rows = 4 * units + 8" in text
            ptx.write_text(text.replace("stride, rows = 4 * units + 8", "stride, rows = 4 * units"))
        code, output, errors = run_python(
            "-m",
            "persistent_lstm.inspect",
            "--for",
            "h200",
            "-L",
            "1",
            "-H",
            "64",
            "--json",
            path=copy.parent,
        )
        assert errors == ""
        compiled.append((code, json.loads(output)[0]["ways"]))
    assert compiled == [(0, 1), (1, 4)]


LOOP = """
        /*0000*/                   LDC R1, c[0x0][0x28] ;
        /*0010*/                   LDG.E.128 R8, desc[UR4][R2.64] ;
        /*0020*/                   LDG.E.64 R12, desc[UR4][R2.64+0x100] ;
.L_x_0:
        /*0030*/                   IADD3 R3, R3, 0x1, RZ ;
.L_x_1:
        /*0040*/                   LDG.E.STRONG.SYS R4, desc[UR4][R6.64] ;
        /*0050*/                   ISETP.NE.AND P0, PT, R4, -0x1, PT ;
        /*0060*/              @!P0 BRA `(.L_x_1) ;
        /*0070*/                   HMMA.16816.F32.BF16 R16, R8, R4.reuse, RZ ;
        /*0080*/                   FFMA R20, R12, R4, R16 ;
{inside}
        /*00a0*/              @!P1 CALL.REL.NOINC `(.L_x_2) ;
        /*00b0*/                   BRA `(.L_x_0) ;
.L_x_2:
        /*00c0*/                   MOV R8, R20 ;
        /*00d0*/                   STG.E desc[UR4][R6.64], R8 ;
        /*00e0*/                   EXIT ;
.L_x_3:
        /*00f0*/                   BRA `(.L_x_3);
"""


def loop_of(inside=""):
    line = f"        /*0090*/                   {inside} ;" if inside else ""
    instructions, labels = parse(LOOP.format(inside=line))
    return [instructions[i] for i in time_loop(instructions, labels)]


def test_the_time_loop_is_the_largest_with_loops_inside_and_without_what_ends_the_program():
    loop = loop_of()
    assert [one.base for one in loop] == (
        ["IADD3", "LDG", "ISETP", "BRA", "HMMA", "FFMA", "CALL", "BRA"]
    )


def test_only_plain_loads_count_as_loads_of_weights():
    assert sum(map(is_plain_global_load, loop_of())) == 0
    for load in (
        "LDG.E.128 R24, desc[UR4][R2.64]",
        "LDGSTS.E [R5], desc[UR4][R2.64]",
        "LD.E R5, R2",
    ):
        assert sum(map(is_plain_global_load, loop_of(load))) == 1, load


@pytest.mark.parametrize(
    ("inside", "kept"),
    [
        ("", 5),  # R8 to R11, matrix A; R12, a factor
        ("LDS.64 R10, [R5]", 3),
        ("LDSM.16.M88.4 R8, [R5]", 1),
        ("@P2 MOV R12, R8", 4),
        ("STS.128 [R5], R8", 5),
        ("ISETP.NE.AND P3, PT, R8, RZ, PT", 5),
        ("SHFL.BFLY PT, R9, R3, 0x1, 0x1f", 4),
    ],
)
def test_registers_are_kept_when_products_read_them_and_nothing_writes_them(inside, kept):
    assert kept_registers(loop_of(inside)) == kept


def test_widths_of_loads():
    text = "\n".join(
        f"/*{n:04x}*/ {load} ;"
        for n, load in enumerate(
            [
                "LDS R1, [R2]",
                "LDS.128 R4, [R2]",
                "LDS.U16 R1, [R2]",
                "LDS.U8 R1, [R2]",
                "LDSM.16.M88.4 R4, [R2]",
                "LDSM.16.MT88.2 R4, [R2]",
                "LDSM.16.M88 R4, [R2]",
            ]
        )
    )
    assert bytes_read(parse(text)[0], 1) == 32 * (4 + 16 + 2 + 1 + 16 + 8 + 4)


def test_problems_are_named():
    plan = make_plan(1, 512, 1, torch.bfloat16, DEVICES["rtx4090"])
    found = problems(
        MachineCode(90, "3", 8, 255, 40, 200 * 1024, LOOP.format(inside="")),
        plan.launches[0],
        plan.device,
    )
    weights = plan.launches[0].weight_bytes
    assert found == [
        "40 bytes of registers a thread spill to memory",
        f"{24 * 32 * 8} bytes loaded before the time loop, {weights} of weights",
        f"{5 * 4 * 32 * 8} bytes stay in registers through the time loop, {weights} of weights "
        "should",
        f"204800 bytes of shared memory, {plan.launches[0].shared} planned",
        "204800 bytes of shared memory, RTX 4090 has 101376",
    ]
    straight = MachineCode(90, "3", 8, 9, 0, 0, "/*0000*/ EXIT ;")
    assert "no time loop found" in problems(straight, plan.launches[0], plan.device)
