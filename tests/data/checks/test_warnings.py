"""Warnings: found beside faults, and told again where a sound case is not read again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from invseg_jax.data.batches.source import labelled_cases
from invseg_jax.data.checks.cases import check_cases, refuse_faults
from invseg_jax.data.checks.passed import PassedCases
from invseg_jax.data.layouts import Case, Dataset, open_dataset
from invseg_jax.data.prepare import content
from invseg_jax.errors import UserError
from invseg_jax.experiment import DataSettings, Preprocessing
from invseg_jax.files import file_times
from tests.nifti_bytes import Write, affine, nifti, phantom, save, write_cases

SOUND = affine()


@pytest.fixture(autouse=True)
def memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty one, which believes files that have just been written."""
    monkeypatch.setattr(file_times, "_SETTLED_NS", -(10**9))
    monkeypatch.setenv("INVSEG_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    paths: list[Path] = []
    read = content.read_volume

    def read_and_tell(path: Path):
        paths.append(path)
        return read(path)

    monkeypatch.setattr(content, "read_volume", read_and_tell)
    return paths


def sound(number: int, array: np.ndarray) -> bytes:
    return nifti(array, SOUND)


def written(root: Path, *, image: Write = sound, label: Write = sound) -> Dataset:
    return open_dataset("msd", write_cases(root, 4, image=image, label=label))


def unoriented(array: np.ndarray) -> bytes:
    return nifti(array, SOUND, sform=0, qform=0)


def found(dataset: Dataset, **settings: Any) -> list[tuple[str, str, str]]:
    """Case, kind and text of the warnings; there are no faults."""
    warnings = check_cases(dataset, dataset.cases, **settings)
    assert all(warning.warning for warning in warnings), warnings
    assert not any("\n" in warning.text for warning in warnings)
    return [(warning.case, warning.kind, warning.text) for warning in warnings]


def test_a_sound_data_set_has_none(tmp_path: Path) -> None:
    assert found(written(tmp_path / "a"), settings=Preprocessing()) == []


def test_two_forms_that_disagree(tmp_path: Path, reads: list[Path]) -> None:
    """The distance is that between the corners, here of two parallel grids."""

    def image(number: int, array: np.ndarray) -> bytes:
        qoff = (3, 4, 12) if number == 2 else (0, 0, 0)
        return nifti(array, SOUND, qform=1, qoff=qoff)

    dataset = written(tmp_path / "a", image=image)
    memory = PassedCases()
    # Told again where the case is known to be sound, and not read.
    for count in (8, 0, 0):
        ((case, kind, text),) = found(dataset, sound=memory)
        assert (case, kind) == ("c2", "header")
        assert text.startswith("imagesTr/c2.nii.gz: ") and " 13 mm apart" in text
        assert len(reads) == count
        reads.clear()


@pytest.mark.parametrize("which", ["image", "label"])
def test_one_file_of_a_case_without_an_orientation(tmp_path: Path, which: str) -> None:
    def write(number: int, array: np.ndarray) -> bytes:
        return unoriented(array) if number == 1 else nifti(array, SOUND)

    if which == "image":
        dataset = written(tmp_path / "a", image=write)
        folder, other = "imagesTr", "labelsTr"
    else:
        dataset = written(tmp_path / "a", label=write)
        folder, other = "labelsTr", "imagesTr"
    ((case, kind, text),) = found(dataset)
    assert (case, kind) == ("c1", "orientation")
    assert text.startswith(f"{folder}/c1.nii.gz: the header does not say")
    assert f"the header of {other}/c1.nii.gz does" in text


@pytest.mark.parametrize(
    "without, named",
    [((), ()), ((1,), (1,)), ((0, 1, 3), (2,)), ((0, 1, 2, 3), ()), ((2, 3), (2, 3))],
)
def test_cases_without_an_orientation_among_others(
    tmp_path: Path, without: tuple[int, ...], named: tuple[int, ...]
) -> None:
    def write(number: int, array: np.ndarray) -> bytes:
        return unoriented(array) if number in without else nifti(array, SOUND)

    warnings = found(written(tmp_path / "a", image=write, label=write))
    assert [entry[:2] for entry in warnings] == [(f"c{n}", "orientation") for n in named]
    for number, (_, _, text) in zip(named, warnings, strict=True):
        assert text.startswith(f"imagesTr/c{number}.nii.gz: ")
        assert f"the headers of {4 - len(named)} other cases" in text


def test_signed_images_whose_zeros_are_taken_for_air(tmp_path: Path, reads: list[Path]) -> None:
    def image(number: int, array: np.ndarray) -> bytes:
        return nifti(array - (1000 if number == 3 else 50 if number else 0), SOUND)

    dataset = written(tmp_path / "a", image=image)
    lowest = int(phantom(203)[0].min()) - 1000
    memory = PassedCases()
    for _ in range(2):
        ((case, kind, text),) = found(
            dataset, sound=memory, settings=Preprocessing(normalisation=("z_score_nonzero",))
        )
        assert (case, kind) == ("", "air")
        assert text.startswith("modality MR: values below 0 in 3 of 4 cases (the lowest, ")
        assert f" {lowest}, in case c3)" in text and "normalisation to z_score" in text
    assert len(reads) == 8
    assert found(dataset, settings=Preprocessing(normalisation=("z_score",))) == []
    assert found(dataset, settings=Preprocessing(normalisation=("ct",))) == []


def test_of_several_modalities_those_are_named(tmp_path: Path) -> None:
    image, label = phantom(0)
    signed = (image - 500).astype(np.int16)
    stacked = np.stack([image, signed, signed], axis=-1)
    paths = [save(tmp_path / f"{n}.nii", nifti(a, SOUND)) for n, a in (("a", image), ("b", signed))]
    alone = save(tmp_path / "all.nii", nifti(stacked, SOUND))
    mask = save(tmp_path / "label.nii", nifti(label, SOUND))
    names = ("T1", "CT", "CT2")
    for images in ((alone,), (*paths, save(tmp_path / "c.nii", nifti(signed - 1, SOUND)))):
        data = Dataset("x", tmp_path, names, ("background", "a", "b"), (0, 1, 2), ())
        data = replace(data, cases=(Case("x", images, mask),))
        schemes = ("z_score_nonzero", "z_score_nonzero", "ct")
        ((_, kind, text),) = found(data, settings=Preprocessing(normalisation=schemes))
        assert kind == "air" and text.startswith("modality CT: ")
        schemes = ("z_score_nonzero",) * 3
        assert [
            entry[2][:13] for entry in found(data, settings=Preprocessing(normalisation=schemes))
        ] == [
            "modality CT: ",
            "modality CT2:",
        ]


def test_training_tells_how_many_the_first_and_the_command(tmp_path: Path) -> None:
    def image(number: int, array: np.ndarray) -> bytes:
        return nifti(array - 70, SOUND, qform=1, qoff=(0, 3 * (number % 2), 4 * (number % 2)))

    dataset = written(tmp_path / "my data", image=image)
    for _ in range(2):
        said: list[str] = []
        refuse_faults(DataSettings(), dataset, labelled_cases(dataset), said.append)
        warnings = [line for line in said if not line.startswith("checking")]
        assert len(warnings) == 2
        assert warnings[0].startswith(
            "2 warnings about the data, the first: case c1: imagesTr/c1.nii.gz: "
        )
        assert warnings[0].endswith(f"--layout msd --data '{dataset.root}'` shows them all")
        assert warnings[1].startswith("warning: modality MR: values below 0 in 4 of 4 cases")
    settings = DataSettings(preprocess=Preprocessing(normalisation=("z_score",)))
    said = []
    refuse_faults(settings, dataset, labelled_cases(dataset), said.append)
    assert [line[:10] for line in said] == ["2 warnings"]
    # A fault is a fault all the same, and counts alone.
    labels = [case.label for case in dataset.cases]
    assert labels[3] is not None
    labels[3].unlink()
    with pytest.raises(UserError, match="^a fault in the data, the first: case c3: "):
        refuse_faults(settings, dataset, labelled_cases(dataset), said.append)
