"""A class that the network's grid has lost is told, and refused where no case has it any more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from invseg_jax.data.batches.source import prepared_split
from invseg_jax.data.layouts import Dataset, open_dataset
from invseg_jax.data.layouts.case import IGNORED
from invseg_jax.data.prepare.vanished_classes import vanished_classes
from invseg_jax.errors import UserError
from invseg_jax.experiment import DataSettings, Preprocessing
from tests.nifti_bytes import affine, nifti, write_cases

COARSE: dict[str, Any] = {"spacing": (3.0, 3.0, 3.0)}


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("INVSEG_CACHE", str(tmp_path / "cache"))


def small(array: np.ndarray, *kept: int) -> np.ndarray:
    """Of the dark organ one voxel alone; of the bright one too, unless it is kept."""
    result = array.copy()
    for value in {1, 2} - set(kept):
        places = np.argwhere(array == value)
        result[array == value] = 0
        result[tuple(places[len(places) // 2])] = value
    return result


def write(root: Path, whole: tuple[int, ...] = (), *, kept: tuple[int, ...] = (1,)) -> Dataset:
    """Four cases, of which some have both organs whole."""

    def label(number: int, array: np.ndarray) -> bytes:
        return nifti(array if number in whole else small(array, *kept), affine())

    return open_dataset(
        "msd", write_cases(root, 4, image=lambda _, a: nifti(a, affine()), label=label)
    )


def prepare(dataset: Dataset, slices: tuple[int, ...] = (), **changes: Any) -> list[str]:
    settings = DataSettings(folds=4, annotated_slices=slices, preprocess=Preprocessing(**changes))
    said: list[str] = []
    prepared_split(settings, dataset, said.append)
    return [line for line in said if "is left on" in line]


def test_each_case_and_class_is_told_at_each_start(tmp_path: Path) -> None:
    dataset = write(tmp_path / "data", whole=(1, 3))
    assert prepare(dataset) == []
    expected = [
        f"case {id}: no voxel of dark is left on the network's grid (config.data.preprocess: "
        "spacing=(3.0, 3.0, 3.0), labels='linear')"
        for id in ("c0", "c2")
    ]
    # The second time they come from the cache.
    for _ in range(2):
        assert sorted(prepare(dataset, **COARSE)) == expected


def test_a_class_that_all_training_cases_lose_is_refused(tmp_path: Path) -> None:
    dataset = write(tmp_path / "data")
    for _ in range(2):
        with pytest.raises(UserError, match="^class dark: no training case has a voxel") as caught:
            prepare(dataset, **COARSE)
    assert "spacing=(3.0, 3.0, 3.0)" in str(caught.value) and "\n" not in str(caught.value)
    assert "take a finer config.data.preprocess.spacing" in str(caught.value)
    assert prepare(dataset, spacing=(1.0, 1.0, 1.0)) == []


def test_a_held_out_case_that_has_it_does_not_help(tmp_path: Path) -> None:
    refused = []
    for number in range(4):
        try:
            prepare(write(tmp_path / f"data{number}", whole=(number,)), **COARSE)
        except UserError as error:
            assert "class dark" in str(error)
            refused.append(number)
    assert len(refused) == 1  # one of four is held out


def test_a_class_that_no_case_has_is_none_that_vanished(tmp_path: Path) -> None:
    def label(number: int, array: np.ndarray) -> bytes:
        return nifti(np.where(array == 2, 0, array).astype(np.uint8), affine())

    dataset = open_dataset(
        "msd", write_cases(tmp_path / "data", image=lambda _, a: nifti(a, affine()), label=label)
    )
    assert prepare(dataset, **COARSE) == []


def test_a_crop_can_cut_a_class_off(tmp_path: Path) -> None:
    def label(number: int, array: np.ndarray) -> bytes:
        result = np.where(array == 2, 0, array)
        result[0, 0, 0] = 2  # in the air
        return nifti(result.astype(np.uint8), affine())

    dataset = open_dataset(
        "msd", write_cases(tmp_path / "data", image=lambda _, a: nifti(a, affine()), label=label)
    )
    assert prepare(dataset) == []
    with pytest.raises(UserError, match="class dark: .*crop=True, margin=0.*or no crop"):
        prepare(dataset, crop=True)
    assert prepare(dataset, crop=True, margin=30) == []


def test_of_annotated_slices_only_what_is_annotated_counts(tmp_path: Path) -> None:
    def label(number: int, array: np.ndarray) -> bytes:
        result = np.where(array == 2, 0, array)
        # The foreground reaches over the whole volume; one voxel lies beside the middle slice.
        result[0, 0, 0] = result[-1, -1, -1] = 1
        result[11, 14, 10] = 2
        return nifti(result.astype(np.uint8), affine())

    dataset = open_dataset(
        "msd", write_cases(tmp_path / "data", image=lambda _, a: nifti(a, affine()), label=label)
    )
    lines = prepare(dataset, (1, 0, 0), **COARSE)
    assert len(lines) == 1  # the held-out case, whose whole map counts
    with pytest.raises(UserError, match="class dark"):
        prepare(dataset, **COARSE)


def test_what_has_vanished() -> None:
    before = np.array([[[0, 1, 2, 3, IGNORED]]], np.uint8)
    after = np.array([[[0, 3]]], np.uint8)
    assert vanished_classes(before, after, 5) == [1, 2]
    assert vanished_classes(before, before, 5) == []
    assert vanished_classes(after, before, 5) == []
