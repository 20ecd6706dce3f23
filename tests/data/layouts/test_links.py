"""Files behind links that lead nowhere: never passed over, and told how to get them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from invseg_jax.data.batches.source import labelled_cases
from invseg_jax.data.checks.cases import check_cases
from invseg_jax.data.layouts import open_dataset
from invseg_jax.errors import UserError
from invseg_jax.experiment import PlainSettings
from tests.nifti_bytes import affine, nifti, phantom, save, write_cases

Write = Callable[..., Path]
PLAIN = PlainSettings(
    images=(("mr", "*/mr.nii"),), label="*/seg.nii", classes=(("bright", 1), ("dark", 2))
)


def annex(file: Path) -> None:
    """Makes a file what git-annex leaves where it was not fetched."""
    if os.path.lexists(file):
        file.unlink()
    key = f"SHA256E-s9--{file.name}"
    file.symlink_to(f"../.git/annex/objects/aa/bb/{key}/{key}")


def missing(
    layout: str, root: Path, settings: PlainSettings | None = None
) -> list[tuple[str, str]]:
    """The case and the file of each fault; each fault says how to fetch the file."""
    dataset = open_dataset(layout, root, settings)
    faults = check_cases(dataset, dataset.cases)
    found = []
    for fault in faults:
        file, _, why = fault.text.partition(": ")
        assert why.startswith("missing, a link that leads nowhere, to ../.git/annex/objects/aa/bb/")
        assert why.endswith(f"; `git annex get {file}` fetches the file")
        assert "\n" not in fault.text and fault.kind == "file"
        found.append((fault.case, file))
    return found


def plain(tmp_path: Path) -> Path:
    """Four subjects, two of which were never fetched."""
    for number in range(4):
        for name, array in zip(("mr", "seg"), phantom(number), strict=True):
            file = tmp_path / f"sub-{number}" / f"{name}.nii"
            save(file, nifti(array, affine()))
            if number > 1:
                annex(file)
    return tmp_path


def test_plain_folders(tmp_path: Path) -> None:
    root = plain(tmp_path)
    # Of a data set's other files git-annex may have left links too: they are no subjects.
    annex(root / "README")
    annex(root / "participants.tsv")
    assert missing("plain", root, PLAIN) == [
        ("sub-2", "sub-2/mr.nii"),
        ("sub-2", "sub-2/seg.nii"),
        ("sub-3", "sub-3/mr.nii"),
        ("sub-3", "sub-3/seg.nii"),
    ]
    assert len(labelled_cases(open_dataset("plain", root, PLAIN))) == 4


def test_a_label_map_that_was_not_fetched_does_not_make_a_case_unlabelled(tmp_path: Path) -> None:
    root = plain(tmp_path)
    for number in (2, 3):
        for name, array in zip(("mr", "seg"), phantom(number), strict=True):
            (root / f"sub-{number}/{name}.nii").unlink()
            save(root / f"sub-{number}/{name}.nii", nifti(array, affine()))
    annex(root / "sub-1/seg.nii")
    assert missing("plain", root, PLAIN) == [("sub-1", "sub-1/seg.nii")]


@pytest.mark.parametrize("pattern", ["*/mr.nii", "*/*_mr.nii", "*/anat/mr.nii", "*/anat/*_mr.nii"])
def test_a_link_in_the_place_of_a_folder(tmp_path: Path, pattern: str) -> None:
    file = pattern.replace("*", "a")
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).touch()
    (tmp_path / "b").symlink_to("../gone")
    settings = replace(PLAIN, images=(("mr", pattern),), label="")
    cases = open_dataset("plain", tmp_path, settings).cases
    assert [(case.id, case.images) for case in cases] == [
        ("a", (tmp_path / file,)),
        ("b", (tmp_path / pattern.replace("*", "b"),)),
    ]
    dataset = open_dataset("plain", tmp_path, settings)
    (fault,) = check_cases(dataset, dataset.cases[1:])
    assert fault.text == (
        f"{pattern.replace('*', 'b')}: missing, because b is a link that leads nowhere, to "
        "../gone; mend the link, or fetch what it stands for"
    )


def test_a_folder_before_the_first_star(tmp_path: Path) -> None:
    (tmp_path / "images").symlink_to("/gone/images")
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans/a.nii").touch()
    (tmp_path / "labels").symlink_to("/gone/labels")
    settings = replace(PLAIN, images=(("mr", "images/*.nii"),), label="")
    with pytest.raises(UserError, match=r"matches images/\*\.nii .*images: missing, a link "):
        open_dataset("plain", tmp_path, settings)
    settings = replace(PLAIN, images=(("mr", "scans/*.nii"),), label="labels/*.nii")
    (fault,) = open_dataset("plain", tmp_path, settings).faults
    assert "matches labels/*.nii" in fault and "labels: missing, a link that leads nowhere" in fault


def test_the_decathlon(tmp_path: Path) -> None:
    root = write_cases(tmp_path / "msd", test=["./imagesTs/t.nii.gz"])
    (root / "imagesTs").mkdir()
    for file in ("imagesTr/c1.nii.gz", "labelsTr/c2.nii.gz", "imagesTs/t.nii.gz"):
        annex(root / file)
    assert missing("msd", root) == [
        ("c1", "imagesTr/c1.nii.gz"),
        ("c2", "labelsTr/c2.nii.gz"),
        ("t", "imagesTs/t.nii.gz"),
    ]
    annex(root / "dataset.json")
    with pytest.raises(UserError, match=r"dataset\.json: missing, a .*`git annex get /.*json`"):
        open_dataset("msd", root)


def nnunet(tmp_path: Path, count: int = 3) -> Path:
    root = tmp_path / "nnunet"
    for number in range(count):
        image, label = phantom(number)
        save(root / f"imagesTr/c{number}_0000.nii.gz", nifti(image, affine()))
        save(root / f"labelsTr/c{number}.nii.gz", nifti(label, affine()))
    description = {
        "channel_names": {"0": "MR"},
        "labels": {"background": 0, "bright": 1, "dark": 2},
        "numTraining": count,
        "file_ending": ".nii.gz",
    }
    (root / "dataset.json").write_text(json.dumps(description))
    return root


def test_nnunet(tmp_path: Path) -> None:
    root = nnunet(tmp_path)
    (root / "imagesTs").mkdir()
    files = ("imagesTr/c1_0000.nii.gz", "labelsTr/c2.nii.gz", "imagesTs/t_0000.nii.gz")
    for file in files:
        annex(root / file)
    assert missing("nnunet", root) == list(zip(("c1", "c2", "t"), files, strict=True))


@pytest.mark.parametrize("folder", ["imagesTr", "labelsTr", "imagesTs"])
def test_a_folder_of_nnunet_that_is_not_there(tmp_path: Path, folder: str) -> None:
    root = nnunet(tmp_path)
    if (root / folder).is_dir():
        (root / folder).rename(tmp_path / "elsewhere")
    (root / folder).symlink_to("../gone")
    dataset = open_dataset("nnunet", root)
    (fault,) = dataset.faults
    assert fault.startswith(f"{root / folder}: missing, a link that leads nowhere, to ../gone;")
    assert len(dataset.cases) == 3


def test_brats(tmp_path: Path) -> None:
    root = tmp_path / "brats"
    for number in (1, 2):
        name = f"BraTS20_Training_{number:03}"
        for kind, seed in (("t1", 0), ("t1ce", 1), ("t2", 2), ("flair", 3)):
            image, label = phantom(10 * number + seed)
            save(root / name / f"{name}_{kind}.nii", nifti(image, affine()))
        save(root / name / f"{name}_seg.nii", nifti(label, affine()))
    for kind in ("t2", "seg"):
        annex(root / f"BraTS20_Training_002/BraTS20_Training_002_{kind}.nii")
    assert missing("brats2020", root) == [
        ("BraTS20_Training_002", f"BraTS20_Training_002/BraTS20_Training_002_{kind}.nii")
        for kind in ("t2", "seg")
    ]
    (root / "BraTS20_Training_003").symlink_to("gone")
    (root / "BraTS2020_ValidationData").symlink_to("/gone")
    dataset = open_dataset("brats2020", root)
    assert [case.id for case in dataset.cases][2:] == ["BraTS20_Training_003"]
    assert dataset.cases[2].label is not None
    (fault,) = dataset.faults
    assert "BraTS2020_ValidationData: missing, a link that leads nowhere, to /gone" in fault
    faults = check_cases(dataset, dataset.cases[2:])
    assert len(faults) == 6 and all("BraTS20_Training_003" in f.text for f in faults[1:])


def test_iseg(write_iseg: Write) -> None:
    root = write_iseg(labelled=(1, 2, 3, 4))
    files = ("subject-1-T1.hdr", "subject-2-T2.img", "subject-3-label.hdr", "subject-4-label.img")
    for file in files:
        annex(root / file)
    assert missing("iseg", root) == [(file[:9], file) for file in files]
    (root.parent / "other").mkdir()
    (root.parent / "other/iSeg-2019-Training").symlink_to("gone")
    with pytest.raises(UserError, match="iSeg-2019-Training: missing, a link that leads nowhere"):
        open_dataset("iseg", root.parent / "other")


def test_the_root_itself(tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to("/disk/data")
    with pytest.raises(UserError, match="data: a link that leads nowhere, to /disk/data; give the"):
        open_dataset("msd", tmp_path / "data")
