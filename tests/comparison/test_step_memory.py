"""Parameters and memory of a run's step, from another process, against `measure` in this one."""

import os
from pathlib import Path

import pytest

from invseg_jax.comparison.step_memory import measure_run
from invseg_jax.configuration import base_config
from invseg_jax.errors import UserError
from invseg_jax.planning.measure import measure
from invseg_jax.planning.platform import Platform
from invseg_jax.training.run_folder import DataDescription, RunFolder


def test_it_is_what_the_plan_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    root = Path(__file__).resolve().parents[2]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")]))
    config = base_config("UNet3D")
    config.model.settings.channels = (8,)
    config.model.settings.auxiliary = 0
    config.data.patch = (8, 8, 8)
    config.data.batch = config.devices = 1
    classes = ("background", "a", "b")
    data = DataDescription("msd", None, ("MR", "CT"), classes, (0, 1, 2), (), ())
    RunFolder(tmp_path).write(config, data)
    found = measure_run(tmp_path)
    expected = measure(config, Platform(), modalities=2, outputs=3)
    assert found == {"parameters": expected.count, "bytes": expected.rows.total}

    with pytest.raises(UserError, match=r"nothing cannot be compiled: .*holds no trained run"):
        measure_run(tmp_path / "nothing")
