"""The drill itself, with small numbers, and that it would see a difference."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.drills import kill


@pytest.mark.slow
def test_killed_trainings_end_like_an_undisturbed_one(capsys: pytest.CaptureFixture) -> None:
    status = kill.main(
        ["--kills", "4", "--during_save", "2", "--terms", "2", "--steps", "40", "--seed", "1"]
    )
    last = capsys.readouterr().out.splitlines()[-1]
    assert status == 0, last
    assert last.endswith("all arrays equal") and "2 SIGTERM" in last


def test_a_difference_of_one_bit_is_seen(trained_run: Path, tmp_path: Path, monkeypatch) -> None:
    assert kill.differing(trained_run, trained_run) == []
    other = tmp_path / "other"
    shutil.copytree(trained_run, other)
    assert kill.differing(trained_run, other) == []
    read = kill.parameters

    def one_bit_off(run: Path) -> dict[str, np.ndarray]:
        arrays = read(run)
        if run == other:
            name = sorted(arrays)[0]
            bits = bytearray(arrays[name].tobytes())
            bits[0] ^= 1
            found = np.frombuffer(bytes(bits), arrays[name].dtype).reshape(arrays[name].shape)
            arrays[name] = found
        return arrays

    monkeypatch.setattr(kill, "parameters", one_bit_off)
    assert kill.differing(trained_run, other) == sorted(read(other))[:1]
    assert kill.differing(other, trained_run) == sorted(read(other))[:1]
