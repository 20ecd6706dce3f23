from pathlib import Path

import pytest

from invseg_jax.errors import UserError
from invseg_jax.runs.saved_steps import damaged_steps, saved_steps, set_aside


def test_only_what_is_called_as_a_step_is_one(tmp_path: Path):
    for name in ("7", "500", "60", "0"):
        (tmp_path / name).mkdir()
    others = ("9.orbax-checkpoint-tmp", "500.damaged", "007", "²", "１２", "1_0", "-3", " 8", "3.5")
    for name in others:
        (tmp_path / name).mkdir()
    (tmp_path / "900").write_text("a file")
    assert saved_steps(tmp_path) == [0, 7, 60, 500]


def test_a_folder_that_is_not_there(tmp_path: Path):
    assert saved_steps(tmp_path / "missing") == []
    (tmp_path / "file").write_text("")
    assert saved_steps(tmp_path / "file") == []
    assert damaged_steps(tmp_path / "missing") == []


def test_a_name_that_no_folder_can_have(tmp_path: Path):
    with pytest.raises(UserError, match="a{300} cannot be read: .*; check the path of the run"):
        saved_steps(tmp_path / ("a" * 300))


def test_what_is_set_aside_is_kept(tmp_path: Path):
    for content in ("first", "second", "third"):
        (tmp_path / "500").mkdir()
        (tmp_path / "500" / "file").write_text(content)
        set_aside(tmp_path, 500)
    assert saved_steps(tmp_path) == []
    names = ["500.damaged", "500.damaged2", "500.damaged3"]
    assert damaged_steps(tmp_path) == names
    assert [(tmp_path / n / "file").read_text() for n in names] == ["first", "second", "third"]
