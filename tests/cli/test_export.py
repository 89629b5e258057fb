"""``streamasr export`` as a user calls it."""

from __future__ import annotations


def test_the_command_writes_both_and_says_so(run, tmp_path):
    result = run("export", "onnx", "en", str(tmp_path / "out"))
    assert result.code == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["model.onnx", "second.onnx"]
    assert "model.onnx: " in result.err


def test_a_folder_that_holds_no_model_is_one_line(run, tmp_path):
    result = run("export", "onnx", str(tmp_path / "none"), str(tmp_path / "out"))
    assert result.code == 2
    assert len(result.err.splitlines()) == 1
