"""Where results may be written."""

import os
from pathlib import Path

import numpy as np
import pytest

from invseg_jax.data.layouts import Case
from invseg_jax.data.volumes.placement import Placement
from invseg_jax.errors import UserError
from invseg_jax.evaluation.case_files import make_output, write_case_files


def write(folder: Path, id: str) -> None:
    volume = np.zeros((4, 4, 4), np.uint8)
    write_case_files(
        folder,
        id,
        image=volume[..., None].astype(np.float32),
        prediction=volume,
        truth=None,
        classes=("background", "a"),
        values=(0, 1),
        affine=np.eye(4),
        placement=Placement.of_affine(np.eye(4)),
    )


@pytest.mark.parametrize("letter", ["a", "\u00e9"])
def test_ids_that_would_make_names_too_long(tmp_path: Path, letter: str) -> None:
    output = tmp_path / "new" / "maps"
    limit = os.pathconf(tmp_path, "PC_NAME_MAX")
    room = limit - len(".nii.gz")
    longest = "b" * (room % len(os.fsencode(letter))) + letter * (room // len(os.fsencode(letter)))
    for longer in (f"{longest}c", letter * 400):
        with pytest.raises(UserError, match=r"label map of case .* a name of \d+ bytes"):
            make_output(output, ["fine", longer], [])
        assert not output.exists()
    make_output(output, [longest], [])
    write(output, longest)
    assert (output / f"{longest}.nii.gz").is_file()


def test_an_output_whose_name_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--output .*a{300} cannot be made: "):
        make_output(tmp_path / ("a" * 300), ["fine"], [])


@pytest.mark.parametrize(
    "id", ["b [1]", "a:b*c?", "'quoted\"", "100%", "\u00e9\U0001f9e0", "-r", "a b"]
)
def test_ids_with_odd_characters(tmp_path: Path, id: str) -> None:
    make_output(tmp_path, [id], [])
    write(tmp_path, id)
    assert {path.name for path in tmp_path.iterdir()} == {f"{id}.nii.gz", f"{id}.png"}


def test_the_data_are_not_written_over_in_another_spelling(tmp_path: Path) -> None:
    decomposed = tmp_path / "Zoe\u0308.nii.gz"
    case = Case("Zo\u00eb", (decomposed,), None)
    with pytest.raises(UserError, match="there belongs to the data; take another folder"):
        make_output(tmp_path, [case.id], [case])
    make_output(tmp_path / "maps", [case.id], [case])


def test_links_that_lead_to_themselves(tmp_path: Path) -> None:
    loop = tmp_path / "a.nii.gz"
    loop.symlink_to("a.nii.gz")
    case = Case("a", (loop,), None)
    make_output(tmp_path / "maps", [case.id], [case])
    with pytest.raises(UserError, match="there belongs to the data; take another folder"):
        make_output(tmp_path, [case.id], [case])
    with pytest.raises(UserError, match="cannot be made"):
        make_output(loop, [case.id], [case])
