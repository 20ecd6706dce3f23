"""Parameters and memory of a run's step, from another process, against `measure` in this one."""

import os
from pathlib import Path

import pytest

from invseg_jax.errors import UserError
from invseg_jax.experiment import base_experiment
from invseg_jax.inference.trained_run import DataDescription, SegmentationRun
from invseg_jax.memory_plan.measure import measure
from invseg_jax.memory_plan.platform import Platform
from invseg_jax.sweep.step_memory import measure_run


def test_it_is_what_the_plan_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    root = Path(__file__).resolve().parents[2]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")]))
    experiment = base_experiment("UNet3D").changed(
        {
            "model.settings.channels": (8,),
            "model.settings.auxiliary": 0,
            "data.patch": (8, 8, 8),
            "data.batch": 1,
            "devices": 1,
        }
    )
    classes = ("background", "a", "b")
    data = DataDescription("msd", None, ("MR", "CT"), classes, (0, 1, 2), (), ())
    SegmentationRun(tmp_path).write(experiment, data)
    found = measure_run(tmp_path)
    expected = measure(experiment, Platform(), modalities=2, outputs=3)
    assert found == {"parameters": expected.count, "bytes": expected.rows.total}

    with pytest.raises(UserError, match=r"nothing cannot be compiled: .*holds no trained run"):
        measure_run(tmp_path / "nothing")
