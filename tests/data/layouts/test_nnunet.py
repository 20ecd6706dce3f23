"""nnU-Net's raw data sets: channels, labels, regions, the ignored value, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from invseg_jax.data.checks.cases import check_cases
from invseg_jax.data.layouts import Case, open_dataset
from invseg_jax.data.layouts.case import Region, refuse_repeated_ids
from invseg_jax.errors import UserError

Write = Callable[..., Path]
TUMOUR = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3}


@pytest.fixture
def write(tmp_path: Path, rng: np.random.Generator) -> Write:
    """Writes a data set of two channels; keyword arguments replace entries of dataset.json."""

    def write(
        training: Sequence[str] = ("lung_2", "lung_10"),
        test: Sequence[str] = (),
        ending: str = ".nii.gz",
        values: Sequence[int] = (0, 1, 2),
        **changes: object,
    ) -> Path:
        root = tmp_path / "Dataset007_Lung"
        for folder in ("imagesTr", "labelsTr", "imagesTs"):
            (root / folder).mkdir(parents=True)
        for part, ids in (("Tr", training), ("Ts", test)):
            for id in ids:
                for channel in range(2):
                    image = rng.normal(size=(6, 5, 4)).astype(np.float32)
                    nib.Nifti1Image(image, np.eye(4)).to_filename(
                        root / f"images{part}/{id}_{channel:04}{ending}"
                    )
        for id in training:
            label = np.array(values, np.uint8)[rng.integers(0, len(values), (6, 5, 4))]
            nib.Nifti1Image(label, np.eye(4)).to_filename(root / f"labelsTr/{id}{ending}")
        description: dict[str, object] = {
            "channel_names": {"0": "CT", "1": "PET"},
            "labels": {"background": 0, "lung": 1, "nodule": 2},
            "numTraining": len(training),
            "file_ending": ending,
        }
        (root / "dataset.json").write_text(json.dumps(description | changes))
        return root

    return write


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_cases_and_labels(write: Write, ending: str) -> None:
    root = write(test=("lung_3",), ending=ending)
    (root / "imagesTr" / f"._lung_2_0000{ending}").write_bytes(b"passed over")
    dataset = open_dataset("nnunet", root)
    assert (dataset.name, dataset.modalities) == ("Dataset007_Lung", ("CT", "PET"))
    assert dataset.classes == ("background", "lung", "nodule")
    assert (dataset.values, dataset.ignore, dataset.regions) == ((0, 1, 2), None, ())
    assert dataset.cases == (
        Case(
            "lung_2",
            (root / f"imagesTr/lung_2_0000{ending}", root / f"imagesTr/lung_2_0001{ending}"),
            root / f"labelsTr/lung_2{ending}",
        ),
        Case(
            "lung_3",
            (root / f"imagesTs/lung_3_0000{ending}", root / f"imagesTs/lung_3_0001{ending}"),
            None,
            "test",
        ),
        Case(
            "lung_10",
            (root / f"imagesTr/lung_10_0000{ending}", root / f"imagesTr/lung_10_0001{ending}"),
            root / f"labelsTr/lung_10{ending}",
        ),
    )
    assert check_cases(dataset, dataset.cases) == []


def test_regions_are_made_of_classes(write: Write) -> None:
    root = write(values=(0, 1, 2, 3), labels=TUMOUR, regions_class_order=[1, 2, 3])
    dataset = open_dataset("nnunet", root)
    assert dataset.regions == (
        Region("whole", (1, 2, 3), 1),
        Region("core", (2, 3), 2),
        Region("enhancing", (3,), 3),
    )
    assert dataset.values == (0, 1, 2, 3)
    assert dataset.classes == ("background", "label 1", "label 2", "enhancing")
    assert check_cases(dataset, dataset.cases) == []


def test_the_ignored_value_is_no_class(write: Write) -> None:
    labels = {"background": 0, "lung": 1, "nodule": 2, "ignore": 3}
    dataset = open_dataset("nnunet", write(values=(0, 1, 3), labels=labels))
    assert (dataset.values, dataset.ignore) == ((0, 1, 2), 3)
    assert check_cases(dataset, dataset.cases) == []


def test_a_label_map_of_nothing_but_the_ignored_value_has_no_foreground(write: Write) -> None:
    labels = {"background": 0, "lung": 1, "ignore": 2}
    dataset = open_dataset("nnunet", write(values=(0, 2), labels=labels))
    kinds = {fault.kind for fault in check_cases(dataset, dataset.cases)}
    assert kinds == {"empty-label"}


def test_everything_that_is_missing_is_found(write: Write) -> None:
    root = write(training=("a", "b", "c"))
    (root / "imagesTr/a_0001.nii.gz").unlink()
    (root / "labelsTr/b.nii.gz").unlink()
    for channel in (0, 1):
        (root / f"imagesTr/c_000{channel}.nii.gz").unlink()
    (root / "imagesTr/d_0002.nii.gz").write_bytes(b"")
    dataset = open_dataset("nnunet", root)
    faults = [(f.case, f.text.partition(":")[0]) for f in check_cases(dataset, dataset.cases)]
    assert faults == [
        ("", f"{root / 'imagesTr'}"),
        ("a", "imagesTr/a_0001.nii.gz"),
        ("b", "labelsTr/b.nii.gz"),
        ("c", "imagesTr/c_0000.nii.gz"),
        ("c", "imagesTr/c_0001.nii.gz"),
    ]
    assert "d_0002.nii.gz" in dataset.faults[0]


def test_a_number_of_cases_that_is_not_there(write: Write) -> None:
    (fault,) = open_dataset("nnunet", write(numTraining=3)).faults
    assert '"numTraining" is 3, and there are 2 training cases' in fault


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"channel_names": None}, '"channel_names" is not an object'),
        ({"channel_names": {"1": "CT"}}, "number it from 0 on"),
        ({"file_ending": ".png"}, r"'\.png'; \.nii\.gz and \.nii files are read"),
        ({"file_ending": None}, "None; .nii.gz"),
        ({"labels": None}, '"labels" is not an object'),
        ({"labels": ["a"]}, '"labels" is not an object'),
        ({"labels": {"": 0}}, '"labels" is not an object'),
        ({"labels": {"a": 1}}, 'needs "background": 0'),
        ({"labels": {"background": 1}}, 'needs "background": 0'),
        ({"labels": {"background": 0}}, "no class besides"),
        ({"labels": {"background": 0, "ignore": 1}}, "no class besides"),
        ({"labels": {"background": 0, "a": "1"}}, "'a' is '1'; give an integer"),
        ({"labels": {"background": 0, "a": True}}, "'a' is True; give an integer"),
        ({"labels": {"background": 0, "a": 1.5}}, "'a' is 1.5; give an integer"),
        ({"labels": {"background": 0, "a": -1}}, "'a' is -1; give an integer"),
        ({"labels": {"background": 0, "a": 256}}, "'a' is 256; give an integer"),
        ({"labels": {"background": 0, "a": []}}, r"'a' is \[\]; give an integer"),
        ({"labels": {"background": 0, "a": [1, [2]]}}, "give an integer"),
        ({"labels": {"background": 0, "a": 1, "b": 1}}, "a value twice"),
        ({"labels": {"background": 0, "a": 0}}, '"background" or "ignore" to a class too'),
        ({"labels": {"background": 0, "a": 1, "ignore": 1}}, '"ignore" to a class too'),
        ({"labels": {"background": 0, "a": 1, "ignore": [2, 3]}}, "it is one value"),
        ({"labels": TUMOUR}, '"regions_class_order" must list one value of each of whole, core'),
        ({"labels": TUMOUR, "regions_class_order": [1, 2]}, "it is .1, 2."),
        ({"labels": TUMOUR, "regions_class_order": [1, 1, 3]}, "it is .1, 1, 3."),
        ({"labels": TUMOUR, "regions_class_order": 3}, "it is 3"),
    ],
)
def test_descriptions_that_are_refused(
    write: Write, changes: dict[str, object], match: str
) -> None:
    root = write(**changes)
    with pytest.raises(UserError, match=match) as caught:
        open_dataset("nnunet", root)
    assert str(root / "dataset.json") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_descriptions_and_empty_folders(write: Write, write_msd: Write) -> None:
    with pytest.raises(UserError, match='has "modality", not "channel_names"; .* layout msd'):
        open_dataset("nnunet", write_msd())
    with pytest.raises(UserError, match="no case; looked for imagesTr/CASE_0000.nii.gz"):
        open_dataset("nnunet", write(training=()))


@pytest.mark.parametrize(
    ("said", "on_disk"), [(".NII.GZ", ".NII.GZ"), (".nii.gz", ".NII.GZ"), (".NII", ".nii")]
)
def test_endings_in_capital_letters(write: Write, said: str, on_disk: str) -> None:
    root = write(ending=on_disk.lower(), file_ending=said)
    for file in [*root.glob("*Tr/*")]:
        file.rename(file.with_name(file.name.removesuffix(on_disk.lower()) + on_disk))
    dataset = open_dataset("nnunet", root)
    assert [case.id for case in dataset.cases] == ["lung_2", "lung_10"]
    assert dataset.cases[0].images[1] == root / f"imagesTr/lung_2_0001{on_disk}"
    assert check_cases(dataset, dataset.cases) == []


def test_composed_and_decomposed_letters_are_one_case(write: Write) -> None:
    composed, decomposed = "Zo\u00eb", "Zoe\u0308"
    root = write(training=(composed, "b"), test=(decomposed + "2",))
    (root / f"imagesTr/{composed}_0001.nii.gz").rename(root / f"imagesTr/{decomposed}_0001.nii.gz")
    (root / f"labelsTr/{composed}.nii.gz").rename(root / f"labelsTr/{decomposed}.nii.gz")
    dataset = open_dataset("nnunet", root)
    assert [case.id for case in dataset.cases] == [composed, f"{composed}2", "b"]
    assert check_cases(dataset, dataset.cases) == []
    # Two files of one channel are two cases, of one id.
    other = root / f"imagesTr/{composed}_0001.nii.gz"
    other.write_bytes((root / f"imagesTr/{decomposed}_0001.nii.gz").read_bytes()[:-1])
    dataset = open_dataset("nnunet", root)
    assert [case.id for case in dataset.cases] == [composed, composed, f"{composed}2", "b"]
    assert {case.images[1] for case in dataset.cases[:2]} == {
        other,
        root / f"imagesTr/{decomposed}_0001.nii.gz",
    }
    listing = [fault for fault in check_cases(dataset, dataset.cases) if fault.kind == "listing"]
    assert [fault.case for fault in listing] == ["", composed]  # the first: numTraining
    with pytest.raises(UserError, match="ids that occur more than once"):
        refuse_repeated_ids(dataset.cases, root)


def test_images_with_another_ending_are_told(write: Write) -> None:
    root = write()
    for file in ("imagesTr/lung_2_0000.nii", "imagesTr/lung_7_0000.NII", "labelsTr/lung_2.nii"):
        (root / file).write_bytes(b"")
    (root / "imagesTr/notes.txt").write_text("passed over")
    first, second = open_dataset("nnunet", root).faults
    assert first == (
        f'{root / "imagesTr"}: files that do not end in .nii.gz, as "file_ending" says: '
        "lung_2_0000.nii, lung_7_0000.NII; convert or remove them"
    )
    assert second.startswith(f"{root / 'labelsTr'}: files that do not end in .nii.gz")


@pytest.fixture
def elsewhere(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set whose images lie beside it and are listed by the key "dataset"."""
    root = write()
    (root / "imagesTr").rename(tmp_path / "scans")
    (root / "labelsTr").rename(root / "maps")
    monkeypatch.setenv("SCANS", str(tmp_path / "scans"))
    places = {"lung_2": "../scans", "lung_10": "$SCANS"}
    listed = {
        id: {
            "images": [f"{place}/{id}_{c:04}.nii.gz" for c in range(2)],
            "label": str(root / f"maps/{id}.nii.gz") if id == "lung_2" else f"./maps/{id}.nii.gz",
        }
        for id, place in places.items()
    }
    description = json.loads((root / "dataset.json").read_text())
    (root / "dataset.json").write_text(json.dumps(description | {"dataset": listed}))
    return root


def change(root: Path, id: str, entry: object) -> None:
    description = json.loads((root / "dataset.json").read_text())
    description["dataset"] = {id: entry} if id else entry
    (root / "dataset.json").write_text(json.dumps(description))


def test_files_that_stay_where_they_are(elsewhere: Path, tmp_path: Path) -> None:
    root = elsewhere
    (root / "imagesTr").mkdir()
    (root / "imagesTr/other_0000.nii.gz").touch()  # the list counts
    dataset = open_dataset("nnunet", root)
    assert [case.id for case in dataset.cases] == ["lung_2", "lung_10"]
    for case in dataset.cases:
        assert case.label is not None
        assert [path.resolve() for path in (*case.images, case.label)] == [
            tmp_path / f"scans/{case.id}_0000.nii.gz",
            tmp_path / f"scans/{case.id}_0001.nii.gz",
            root / f"maps/{case.id}.nii.gz",
        ]
    assert dataset.faults == () and check_cases(dataset, dataset.cases) == []
    (tmp_path / "scans/lung_2_0001.nii.gz").unlink()
    (fault,) = check_cases(dataset, dataset.cases)
    assert fault.case == "lung_2" and "lung_2_0001.nii.gz: no such file" in fault.text


IMAGES = ["a_0000.nii.gz", "a_0001.nii.gz"]


@pytest.mark.parametrize(
    ("id", "entry", "match"),
    [
        ("", ["a"], '"dataset" is not an object such as'),
        ("../a", {"images": IMAGES, "label": "a.nii.gz"}, "'../a' cannot be the name of a file"),
        ("/tmp/a", {"images": IMAGES, "label": "a.nii.gz"}, "cannot be the name of a file"),
        ("..", {"images": IMAGES, "label": "a.nii.gz"}, "cannot be the name of a file"),
        ("a\0b", {"images": IMAGES, "label": "a.nii.gz"}, "cannot be the name of a file"),
        ("a", ["a.nii.gz"], '\'a\' is not an object of "images", a list, and "label"'),
        ("a", {"images": "a.nii.gz", "label": "a.nii.gz"}, "is not an object of"),
        ("a", {"images": [], "label": "a.nii.gz"}, "is not an object of"),
        ("a", {"images": [3], "label": "a.nii.gz"}, "'a', images: 3 is not a path"),
        ("a", {"images": ["a.png"], "label": "a.nii.gz"}, "images: 'a.png' is no .nii or .nii.gz"),
        ("a", {"images": IMAGES}, "'a', label: None is not a path"),
    ],
)
def test_lists_that_are_refused(elsewhere: Path, id: str, entry: object, match: str) -> None:
    change(elsewhere, id, entry)
    with pytest.raises(UserError, match=match) as caught:
        open_dataset("nnunet", elsewhere)
    assert str(caught.value).startswith(str(elsewhere / "dataset.json"))
    assert "\n" not in str(caught.value)
