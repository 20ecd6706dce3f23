"""A case that memory does not hold: one line, before anything is allocated."""

from pathlib import Path

import numpy as np
import pytest

from invseg_jax.data.layouts import Case, Dataset
from invseg_jax.data.prepare import shortage as module
from invseg_jax.data.prepare.case_memory import Windows, case_demand
from invseg_jax.data.prepare.loaded_case import load_case
from invseg_jax.data.prepare.shortage import one_line_for_memory, refuse_shortage, shortage
from invseg_jax.errors import UserError
from invseg_jax.experiment import Preprocessing
from tests.nifti_bytes import affine, nifti, save

AS_IT_IS = Preprocessing()


def written(folder: Path, shape: tuple[int, int, int], spacing=(1, 1, 1)) -> tuple[Dataset, Case]:
    content = nifti(np.ones(shape, np.int16), affine(spacing))
    case = Case("a", (save(folder / "image.nii.gz", content),), None)
    return Dataset("d", folder, ("m",), ("background", "a", "b"), (0, 1, 2), (case,)), case


def test_a_header_of_metres_is_one_line(tmp_path: Path):
    dataset, case = written(tmp_path, (24, 28, 20), (5000, 5000, 5000))
    windows = Windows(3, (16, 16, 16))
    with pytest.raises(UserError) as caught:
        refuse_shortage(dataset, case, [Preprocessing(spacing=(1, 1, 1))], windows)
    said = str(caught.value)
    assert said.startswith("case a: would take ")
    assert "(grid 120000 x 140000 x 100000, 3 outputs)" in said
    assert "24 x 28 x 20 voxels of 5000 x 5000 x 5000 mm" in said
    assert "mend the spacing in its header" in said
    assert "\n" not in said
    # On the file's own grid it is a small case.
    refuse_shortage(dataset, case, [AS_IT_IS], windows)


def test_what_is_free_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    dataset, case = written(tmp_path, (80, 64, 56))
    monkeypatch.setattr(module, "_LITTLE", 0)
    need = case_demand(dataset, case, AS_IT_IS).bytes
    monkeypatch.setattr(module, "available", lambda: need)
    assert shortage(dataset, case, [AS_IT_IS]) is None
    monkeypatch.setattr(module, "available", lambda: need - 1)
    said = str(shortage(dataset, case, [AS_IT_IS]))
    assert "are free; the file has 80 x 64 x 56 voxels of 1 x 1 x 1 mm: crop or" in said
    # Of several networks the one that takes most.
    finer = Preprocessing(spacing=(0.5, 0.5, 0.5))
    monkeypatch.setattr(module, "available", lambda: need)
    assert "160 x 128 x 112" in str(shortage(dataset, case, [AS_IT_IS, finer]))
    # Where nobody can say, what no process can have is refused all the same.
    monkeypatch.setattr(module, "available", lambda: None)
    assert shortage(dataset, case, [AS_IT_IS]) is None
    monkeypatch.setattr(module, "_FINEST", 1e99)
    tiny = Preprocessing(spacing=(1e-3, 1e-3, 1e-3))
    assert "TiB" in str(shortage(dataset, case, [tiny]))
    tiny = Preprocessing(spacing=(1e-30, 1e-30, 1e-30))
    assert len(str(shortage(dataset, case, [tiny]))) < 250


def test_a_grid_that_is_senseless_is_told_though_it_fits(tmp_path: Path):
    dataset, case = written(tmp_path, (9, 9, 9), (1, 1, 2000))
    said = str(shortage(dataset, case, [Preprocessing(spacing=(1, 1, 1))]))
    assert "(grid 9 x 9 x 18000), more than 1000 voxels for each voxel of the image" in said
    assert shortage(dataset, case, [Preprocessing(spacing=(1, 1, 2))]) is None


def test_a_file_that_cannot_be_read_is_left_to_its_reader(tmp_path: Path):
    dataset, case = written(tmp_path, (80, 64, 56))
    case.images[0].write_bytes(b"nothing")
    assert shortage(dataset, case, [AS_IT_IS]) is None
    # It claims 3 GiB and holds a few bytes: truncated, not large.
    header = nifti(np.zeros((2, 2, 2), np.uint8), affine(), dim=[3, 1500, 1500, 1400, 1, 1, 1, 1])
    save(case.images[0], header)
    assert shortage(dataset, case, [AS_IT_IS]) is None
    with pytest.raises(UserError, match="truncated"):
        load_case(dataset, case)


def test_memory_that_runs_out_is_one_line():
    with pytest.raises(UserError, match=r"case a: memory ran out \(Unable to allocate .* TiB"):
        with one_line_for_memory("a"):
            np.empty(1 << 48, np.uint8)
