"""Layouts list files: which are found, in which order, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from invseg_jax.data.checks.cases import check_cases
from invseg_jax.data.layouts import Case, open_dataset
from invseg_jax.data.layouts.case import refuse_repeated_ids
from invseg_jax.errors import UserError

Write = Callable[..., Path]


def test_iseg_lists_subjects_in_natural_order(write_iseg: Write) -> None:
    root = write_iseg(labelled=(10, 1, 2), unlabelled=(11,))
    (root / "notes.txt").write_text("passed over")
    (root / "._subject-3-T1.hdr").write_bytes(b"passed over")
    dataset = open_dataset("iseg", root)
    assert dataset.name == "iSeg-2019"
    assert dataset.root == root
    assert dataset.modalities == ("T1", "T2")
    assert dataset.classes == ("background", "CSF", "GM", "WM")
    assert dataset.values == (0, 10, 150, 250)
    assert [case.id for case in dataset.cases] == [
        "subject-1",
        "subject-2",
        "subject-10",
        "subject-11",
    ]
    assert dataset.cases[0] == Case(
        "subject-1",
        (root / "subject-1-T1.hdr", root / "subject-1-T2.hdr"),
        root / "subject-1-label.hdr",
    )
    assert dataset.cases[3].label is None
    assert [case.split for case in dataset.cases] == ["training"] * 3 + ["test"]


def test_iseg_looks_in_the_training_folder(write_iseg: Write) -> None:
    folder = write_iseg(folder="challenge/iSeg-2019-Training")
    dataset = open_dataset("iseg", str(folder.parent))
    assert dataset.root == folder.parent
    assert dataset.cases[0].images[0] == folder / "subject-1-T1.hdr"


@pytest.mark.parametrize("gone", ["T1.hdr", "T1.img", "T2.hdr", "T2.img", "label.hdr", "label.img"])
def test_iseg_names_the_half_that_is_missing(write_iseg: Write, gone: str) -> None:
    root = write_iseg()
    (root / f"subject-2-{gone}").unlink()
    dataset = open_dataset("iseg", root)
    (fault,) = check_cases(dataset, dataset.cases)
    assert (fault.case, fault.kind) == ("subject-2", "file")
    assert fault.text.startswith(f"subject-2-{gone}: no such file")


@pytest.mark.parametrize(
    ("kept", "missing"),
    [("T1", ["T2"]), ("T2", ["T1"]), ("label", ["T1", "T2"])],
)
def test_iseg_needs_both_modalities(write_iseg: Write, kept: str, missing: list[str]) -> None:
    root = write_iseg(labelled=(1,))
    for path in root.iterdir():
        if f"-{kept}." not in path.name:
            path.unlink()
    dataset = open_dataset("iseg", root)
    faults = check_cases(dataset, dataset.cases)
    assert [fault.text.partition(":")[0] for fault in faults] == [
        f"subject-1-{kind}.hdr" for kind in missing
    ]


def test_iseg_endings_in_capital_letters(write_iseg: Write) -> None:
    root = write_iseg(labelled=(1,))
    for path in list(root.iterdir()):
        path.rename(path.with_suffix(path.suffix.upper()))
    dataset = open_dataset("iseg", root)
    assert dataset.cases[0].label == root / "subject-1-label.HDR"
    assert check_cases(dataset, dataset.cases) == []


def test_msd_reads_its_description(write_msd: Write) -> None:
    root = write_msd(
        ids=("organ_10", "organ_2"),
        modalities=2,
        test=["./imagesTr/._organ_2.nii.gz", "imagesTs/organ_7.nii.gz"],
    )
    (root / "imagesTs/organ_7.nii.gz").write_bytes(b"only listed")
    dataset = open_dataset("msd", root)
    assert dataset.name == "Organ"
    assert dataset.modalities == ("M0", "M1")
    assert dataset.classes == ("background", "front", "back")
    assert dataset.values == (0, 1, 2)
    assert [case.id for case in dataset.cases] == ["organ_2", "organ_7", "organ_10"]
    assert dataset.cases[0] == Case(
        "organ_2", (root / "imagesTr/organ_2.nii.gz",), root / "labelsTr/organ_2.nii.gz"
    )
    assert dataset.cases[1].label is None


def test_msd_values_rise_whatever_the_order_in_the_file(write_msd: Write) -> None:
    dataset = open_dataset("msd", write_msd(labels={"10": "c", "2": "b", "0": "bg"}))
    assert dataset.values == (0, 2, 10)
    assert dataset.classes == ("background", "b", "c")


@pytest.mark.parametrize(
    "path",
    [
        "../outside.nii.gz",
        "/etc/outside.nii.gz",
        "a/../../x.nii.gz",
        "..",
        "./imagesTr/../../x.nii.gz",
    ],
)
@pytest.mark.parametrize("where", ["image", "label", "test"])
def test_msd_paths_stay_inside(write_msd: Write, path: str, where: str) -> None:
    good = {"image": "imagesTr/organ_2.nii.gz", "label": "labelsTr/organ_2.nii.gz"}
    changes = {"test": [path]} if where == "test" else {"training": [{**good, where: path}]}
    root = write_msd(**changes)
    (root.parent / "outside.nii.gz").write_bytes(b"")
    with pytest.raises(UserError, match="leads out of the data set"):
        open_dataset("msd", root)


ENTRY = {"image": "imagesTr/organ_2.nii.gz", "label": "labelsTr/organ_2.nii.gz"}


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"modality": None}, '"modality" is not an object'),
        ({"modality": {}}, '"modality" is not an object'),
        ({"modality": {"0": 3}}, '"modality" is not an object'),
        ({"modality": ["MRI"]}, '"modality" is not an object'),
        ({"modality": {"1": "MRI"}}, "number it from 0 on"),
        ({"labels": {"a": "b"}}, '"labels" is not an object'),
        ({"labels": {"-1": "b", "0": "c"}}, '"labels" is not an object'),
        ({"labels": {"²": "b", "0": "c"}}, '"labels" is not an object'),
        ({"labels": {"1": "b", "2": "c"}}, 'it needs "0"'),
        ({"labels": {"0": "b"}}, "1 to 255 classes"),
        ({"labels": {"0": "b", "1": "c", "01": "d"}}, "a number twice"),
        ({"labels": {"0": "b", "1": "c", "2": "c"}}, "a name twice"),
        ({"labels": {"0": "b", "1": "background"}}, "a name twice"),
        ({"training": {"image": "a"}}, '"training" is not a list'),
        ({"training": ["a.nii.gz"]}, '"training" entry 0 is not an object'),
        ({"training": [{"image": "imagesTr/organ_2.nii.gz"}]}, "entry 0, label is not a path"),
        ({"training": [{**ENTRY, "image": 3}]}, "entry 0, image is not a path"),
        ({"training": [{**ENTRY, "image": "a\0.nii.gz"}]}, "entry 0, image is not a path"),
        ({"training": [{**ENTRY, "image": "dataset.json"}]}, "no .nii or .nii.gz"),
        ({"training": [], "test": []}, "no case"),
        ({"test": [3]}, '"test" entry 0 is not a path'),
    ],
)
def test_msd_descriptions_that_are_refused(
    write_msd: Write, changes: dict[str, object], match: str
) -> None:
    root = write_msd(**changes)
    with pytest.raises(UserError, match=match) as caught:
        open_dataset("msd", root)
    assert str(root) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_msd_files_that_are_missing_and_ids_that_repeat(write_msd: Write) -> None:
    gone = {**ENTRY, "image": "imagesTr/x.nii.gz"}
    root = write_msd(training=[gone, ENTRY, ENTRY], test=["imagesTs/y.nii.gz"])
    dataset = open_dataset("msd", root)
    assert [case.id for case in dataset.cases] == ["organ_2", "organ_2", "x", "y"]
    assert [case.split for case in dataset.cases] == ["training"] * 3 + ["test"]
    found = {(fault.case, fault.kind) for fault in check_cases(dataset, dataset.cases)}
    assert found == {
        ("organ_2", "listing"),
        ("x", "file"),
        ("y", "file"),
    }
    with pytest.raises(UserError, match="more than once: organ_2; give every case its own"):
        refuse_repeated_ids(dataset.cases, root)


@pytest.mark.parametrize("text", ["", "{", "[1]", "\xff", "[" * 100_000, '"text"'])
def test_msd_description_that_is_no_object(tmp_path: Path, text: str) -> None:
    (tmp_path / "dataset.json").write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match=r"dataset\.json: (cannot be read as JSON|not a JSON obj)"):
        open_dataset("msd", tmp_path)


@pytest.mark.parametrize(
    ("layout", "looked_for"),
    [
        ("brats2020", "BraTS20_Training_NNN"),
        ("iseg", "subject-N-T1.hdr"),
        ("msd", "dataset.json"),
        ("nnunet", "dataset.json"),
    ],
)
def test_folders_of_another_layout(tmp_path: Path, layout: str, looked_for: str) -> None:
    with pytest.raises(UserError, match=f"looked for {looked_for}"):
        open_dataset(layout, tmp_path)
    with pytest.raises(UserError, match="no such folder"):
        open_dataset(layout, tmp_path / "none")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="a file, not a folder"):
        open_dataset(layout, tmp_path / "file")


@pytest.mark.parametrize("closed", ["root", "imagesTr"])
def test_a_folder_that_is_closed(
    write_msd: Write, closed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_msd()

    def refused(*_: object) -> bool:
        raise PermissionError(13, "Permission denied", str(root))

    monkeypatch.setattr(Path, "is_dir" if closed == "root" else "is_file", refused)
    with pytest.raises(UserError, match=r"cannot be read \(.*Permission denied.*permissions"):
        open_dataset("msd", root)


def test_unknown_layout(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there are brats2020, iseg, .*: did you mean 'iseg'"):
        open_dataset("i-seg", tmp_path)


def test_the_real_hippocampus_data(hippocampus: Path) -> None:
    dataset = open_dataset("msd", hippocampus)
    assert (
        len(dataset.cases)
        == json.loads((hippocampus / "dataset.json").read_text())["numTraining"]
        == 208
    )
    assert dataset.classes == ("background", "Anterior", "Posterior")
    assert dataset.cases[0].id == "hippocampus_001"
