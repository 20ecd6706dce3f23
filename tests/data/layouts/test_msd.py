"""What a dataset.json of the Decathlon may look like."""

from __future__ import annotations

import codecs
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from invseg_jax.data.checks.cases import check_cases
from invseg_jax.data.layouts import Case, open_dataset
from invseg_jax.errors import UserError
from invseg_jax.inference.inputs import find_inputs
from tests.nifti_bytes import write_cases

Write = Callable[..., Path]
NFC, NFD = "Ren\u00e9", "Rene\u0301"


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [(codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (b"", "utf-8")],
)
def test_a_byte_order_mark(write_msd: Write, mark: bytes, encoding: str) -> None:
    root = write_msd()
    text = json.dumps({**json.loads((root / "dataset.json").read_text()), "name": "Größe"})
    (root / "dataset.json").write_bytes(mark + text.encode(encoding))
    dataset = open_dataset("msd", root)
    assert (dataset.name, len(dataset.cases)) == ("Größe", 2)
    assert check_cases(dataset, dataset.cases) == []


def test_test_entries_that_are_objects(write_msd: Write) -> None:
    root = write_msd(
        test=[
            {"image": "./imagesTs/b.nii.gz", "label": "./labelsTs/b.nii.gz"},
            "./imagesTs/a.nii.gz",
            {"image": "./imagesTs/._b.nii.gz"},
        ]
    )
    cases = [case for case in open_dataset("msd", root).cases if case.split == "test"]
    # A label map of a test case is not read: nothing is trained on it.
    assert cases == [
        Case("a", (root / "imagesTs/a.nii.gz",), None, "test"),
        Case("b", (root / "imagesTs/b.nii.gz",), None, "test"),
    ]


@pytest.mark.parametrize(
    ("entry", "match"),
    [
        ({}, '"test" entry 0, image is not a path'),
        ({"image": 3}, '"test" entry 0, image is not a path'),
        ({"image": "../b.nii.gz"}, '"test" entry 0, image leads out of the data set'),
        ({"image": "b.png"}, '"test" entry 0, image is no .nii or .nii.gz file'),
        (["b.nii.gz"], '"test" entry 0 is not a path'),
        ("a\ud800.nii.gz", '"test" entry 0 is not a path'),
    ],
)
def test_test_entries_that_are_refused(write_msd: Write, entry: object, match: str) -> None:
    with pytest.raises(UserError, match=match):
        open_dataset("msd", write_msd(test=[entry]))


@pytest.mark.parametrize(
    ("written", "on_disk"),
    [
        (".NII.GZ", ".NII.GZ"),
        (".nii.gz", ".NII.GZ"),
        (".NII.GZ", ".nii.gz"),
        (".Nii.gz", ".nii.Gz"),
        (".NII", ".nii"),
    ],
)
def test_endings_in_capital_letters(tmp_path: Path, written: str, on_disk: str) -> None:
    root = write_cases(tmp_path / "msd", 2, ending=on_disk)
    description = (root / "dataset.json").read_text().replace(f'{on_disk}"', f'{written}"')
    (root / "dataset.json").write_text(description)
    dataset = open_dataset("msd", root)
    assert [case.id for case in dataset.cases] == ["c0", "c1"]
    assert dataset.cases[0].images == (root / f"imagesTr/c0{on_disk}",)
    assert check_cases(dataset, dataset.cases) == []


@pytest.mark.parametrize(("written", "on_disk"), [(NFC, NFD), (NFD, NFC)])
@pytest.mark.parametrize("what", ["imagesTr", "labelsTr", "both"])
def test_composed_and_decomposed_letters(
    write_msd: Write, written: str, on_disk: str, what: str
) -> None:
    root = write_msd(ids=(written, "b"))
    for folder in ("imagesTr", "labelsTr") if what == "both" else (what,):
        (root / folder / f"{written}.nii.gz").rename(root / folder / f"{on_disk}.nii.gz")
    dataset = open_dataset("msd", root)
    assert [case.id for case in dataset.cases] == [NFC, "b"]
    assert check_cases(dataset, dataset.cases) == []


def test_two_files_whose_names_look_the_same_are_two_cases(write_msd: Write) -> None:
    root = write_msd(ids=(NFC, NFD))
    dataset = open_dataset("msd", root)
    assert [case.id for case in dataset.cases] == [NFC, NFC]
    assert {case.images[0].name for case in dataset.cases} == {f"{NFC}.nii.gz", f"{NFD}.nii.gz"}
    faults = [fault for fault in check_cases(dataset, dataset.cases) if fault.kind == "listing"]
    assert [fault.case for fault in faults] == [NFC]
    assert "2 cases have this id" in faults[0].text


@pytest.mark.parametrize("ending", [".nii.gz", ".nii"])
def test_a_data_set_of_nnunets_version_1(tmp_path: Path, ending: str) -> None:
    root = write_cases(tmp_path / "Task500_Organ", ending=ending)
    for image in list((root / "imagesTr").iterdir()):
        image.rename(image.with_name(image.name.replace(ending, f"_0000{ending}")))
    for layout in ("msd", "nnunet"):
        with pytest.raises(UserError) as caught:
            open_dataset(layout, root)
        assert str(caught.value) == (
            f"{root}/dataset.json: a data set of nnU-Net's version 1, which lists "
            f"./imagesTr/c0{ending} where the file is ./imagesTr/c0_0000{ending}; convert it with "
            "nnU-Net's nnUNetv2_convert_old_nnUNet_dataset and give the layout nnunet"
        )
    with pytest.raises(UserError, match="version 1, which lists ./imagesTr/c0"):
        find_inputs(root, "msd", ("MR",))


def test_a_channel_beside_the_listed_image_is_no_version_1(write_msd: Write) -> None:
    root = write_msd(ids=("a", "b"))
    shutil.copy(root / "imagesTr/a.nii.gz", root / "imagesTr/a_0000.nii.gz")
    assert [case.id for case in open_dataset("msd", root).cases] == ["a", "b"]
    # A file that is missing is its case's fault.
    (root / "imagesTr/a.nii.gz").unlink()
    dataset = open_dataset("msd", root)
    assert [fault.case for fault in check_cases(dataset, dataset.cases)] == ["a"]


def test_a_data_set_of_nnunets_version_2_is_named_as_such(write_msd: Write) -> None:
    root = write_msd()
    description = json.loads((root / "dataset.json").read_text())
    description["channel_names"] = description.pop("modality")
    (root / "dataset.json").write_text(json.dumps(description))
    with pytest.raises(UserError, match='has "channel_names", not "modality"; .* layout nnunet'):
        open_dataset("msd", root)
