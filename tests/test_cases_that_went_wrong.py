"""Inputs that public bug reports describe, each with what is right for it.

The inputs lie beside the checkout, in shared/cases, and `make.py` there writes them; where they are
absent, these tests skip. `tests/data` has the same kinds one by one, written by the tests.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from invseg_jax.check_data import check_data
from invseg_jax.data.layouts import open_dataset
from invseg_jax.data.prepare.loaded_case import load_case
from invseg_jax.experiment import DataSettings, PlainSettings
from tests.nifti_bytes import phantom


@pytest.fixture(scope="module")
def inputs(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    script = repository.parent / "shared" / "cases" / "make.py"
    if not script.is_file():
        pytest.skip(f"the inputs are not there: no {script}")
    folder = tmp_path_factory.mktemp("cases") / "inputs"
    environment = {**os.environ, "PYTHONPATH": str(script.parent), "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run(
        [sys.executable, str(script), str(folder)], check=True, env=environment, cwd=folder.parent
    )
    return folder


def checked(root: Path, output: Path, settings: DataSettings | None = None) -> dict[str, Any]:
    """What check_data writes as JSON."""
    check_data(settings or DataSettings(), root, output)
    return json.loads(output.read_text())


PLAIN = DataSettings(
    layout="plain",
    plain=PlainSettings(
        images=(("mr", "*/mr.nii"),), label="*/seg.nii", classes=(("bright", 1), ("dark", 2))
    ),
)


# Of each input: the kind of the faults, in how many cases, and the kind of the warnings.
EXPECTED = {
    "K01-micron": (None, 0, None),
    "K01-metre": (None, 0, None),
    "K01-metre-mirrored": ("grid", 4, None),
    "K04-spacing": ("grid", 1, "orientation"),
    "K05-offset-0": (None, 0, "header"),
    "K05-short-by-4": ("file", 4, None),
    "K06-fewer-slices": ("file", 4, None),
    "K06-rows": ("file", 4, None),
    "K06-type": ("file", 4, None),
    "K06-type-gz": ("file", 4, None),
    "K07-4e-7": (None, 0, None),
    "K07-1e-6": (None, 0, None),
    "K07-5e-6": (None, 0, None),
    "K08-0.02mm-shift-4-voxels": ("grid", 4, None),
    # Mirrored with its affine: the same voxels, stored from the other end.
    "K08-0.004mm-mirrored": (None, 0, None),
    "K08-5mm-shift-0.2mm": (None, 0, None),
    "K09-duplicates": ("duplicate", 5, None),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_what_check_data_says_of_an_input(inputs: Path, tmp_path: Path, name: str) -> None:
    kind, cases, warning = EXPECTED[name]
    found = checked(inputs / name, tmp_path / "found.json")
    assert {fault["kind"] for fault in found["faults"]} == ({kind} if kind else set())
    assert len({fault["case"] for fault in found["faults"]}) == cases
    assert {told["kind"] for told in found["warnings"]} == ({warning} if warning else set())


# The affines of what make.py writes are given; intensities and labels are its own phantoms.
@pytest.mark.parametrize("name", [name for name, (kind, _, _) in EXPECTED.items() if kind is None])
def test_what_is_sound_is_read_right(inputs: Path, name: str) -> None:
    dataset = open_dataset("msd", inputs / name)
    assert len(dataset.cases) == 4
    for case in dataset.cases:
        loaded = load_case(dataset, case)
        image, label = loaded.image[..., 0], loaded.label
        assert label is not None and image.shape == phantom(0)[0].shape
        # The organs: bright ones at 200, dark ones at 40, in tissue at 100.
        assert 180 < np.median(image[label == 1]) < 220
        assert 30 < np.median(image[label == 2]) < 50
        assert np.mean(label[image > 160] == 1) > 0.95
        expected = {"K08-0.004": 0.004, "K08-5mm": 5.0, "K01": 0.5}
        spacing = next((s for start, s in expected.items() if name.startswith(start)), 1.0)
        np.testing.assert_allclose(np.linalg.norm(loaded.affine[:3, :3], axis=0), spacing, 1e-5)


def test_links_that_were_never_fetched_are_missing(inputs: Path, tmp_path: Path) -> None:
    found = checked(inputs / "K25-links", tmp_path / "found.json", PLAIN)
    assert found["cases"] == found["labelled"] == 4
    assert sorted({fault["case"] for fault in found["faults"]}) == ["sub-2", "sub-3"]
    assert len(found["faults"]) == 4
    assert all("git annex get" in fault["fault"] for fault in found["faults"])
