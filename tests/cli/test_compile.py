"""``streamasr compile``."""

from __future__ import annotations

from persistent_lstm import _cpu_kernels


def test_the_model_is_compiled_even_where_there_is_no_search(run, tiny_folder):
    done = run("compile", "--model", tiny_folder)
    assert done.code == 0
    assert done.out == ""
    assert done.err.startswith("compiled in ")
    assert _cpu_kernels.run_layers.signatures
    assert _cpu_kernels.linear.signatures


def test_a_folder_without_a_model_is_one_line(run, tmp_path):
    done = run("compile", "--model", tmp_path / "none")
    assert done.code == 2
    assert done.err.splitlines() == [f"streamasr: error: {tmp_path / 'none'}: no such model folder"]
