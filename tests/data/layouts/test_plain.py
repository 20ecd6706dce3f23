"""Patterns of file names: which case a file is of, and what is refused."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis
import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from invseg_jax.data.batches.source import labelled_cases
from invseg_jax.data.checks.cases import check_cases
from invseg_jax.data.layouts import Dataset, open_dataset
from invseg_jax.data.layouts.plain import _fill
from invseg_jax.errors import UserError
from invseg_jax.experiment import PlainSettings
from invseg_jax.inference.inputs import find_inputs

IMAGES = (("mr", "*/mr.nii.gz"), ("pet", "*/pet.nii.gz"))


def settings(**changes: Any) -> PlainSettings:
    own = {"images": IMAGES, "label": "*/tumour.nii.gz", "classes": (("tumour", 1),)}
    return PlainSettings(**(own | changes))


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def found(root: Path, images: str, label: str = "") -> Dataset:
    return open_dataset("plain", root, settings(images=(("mr", images),), label=label))


def files(dataset: Dataset) -> dict[str, list[str]]:
    return {
        case.id: [
            str(path.relative_to(dataset.root)) for path in (*case.images, case.label) if path
        ]
        for case in dataset.cases
    }


def test_a_folder_a_case(tmp_path: Path) -> None:
    for id in ("STS_10", "STS_2"):
        touch(tmp_path, f"{id}/mr.nii.gz", f"{id}/pet.nii.gz", f"{id}/tumour.nii.gz")
    touch(tmp_path, "README.md", "STS_3/mr.nii.gz", "STS_3/pet.nii.gz", "._STS_2/mr.nii.gz")
    own = settings(reference="pet", classes=(("oedema", 7), ("tumour", 1), ("ignore", 9)))
    dataset = open_dataset("plain", tmp_path, own)
    assert (dataset.name, dataset.modalities) == (tmp_path.name, ("mr", "pet"))
    assert dataset.classes == ("background", "oedema", "tumour")
    assert (dataset.values, dataset.ignore, dataset.reference) == ((0, 7, 1), 9, 1)
    assert files(dataset) == {
        "STS_2": ["STS_2/mr.nii.gz", "STS_2/pet.nii.gz", "STS_2/tumour.nii.gz"],
        "STS_3": ["STS_3/mr.nii.gz", "STS_3/pet.nii.gz"],
        "STS_10": ["STS_10/mr.nii.gz", "STS_10/pet.nii.gz", "STS_10/tumour.nii.gz"],
    }
    assert dataset.faults == ()


@pytest.mark.parametrize(
    ("image", "label", "names", "ids"),
    [
        ("images/*.nii.gz", "labels/*.nii.gz", ("images/a.nii.gz", "labels/a.nii.gz"), ["a"]),
        ("*_t1.nii", "*_seg.nii", ("a_b_t1.nii", "a_b_seg.nii"), ["a_b"]),
        ("./*/*_t1.nii", "*/seg.nii", ("a/a_t1.nii", "a/seg.nii"), ["a"]),
        ("*/*/t1.hdr", "*/*/seg.img", ("s1/d2/t1.hdr", "s1/d2/seg.img"), ["s1_d2"]),
        ("sub-*/*_T1w.nii", "sub-*/*_dseg.nii", ("sub-1/x_T1w.nii", "sub-1/x_dseg.nii"), ["1_x"]),
        ("a[1]/*.nii", "b?/*.nii", ("a[1]/x.nii", "a1/y.nii", "b?/x.nii", "bc/x.nii"), ["x"]),
        (".raw/*.nii", "raw/*.nii", (".raw/x.nii", "raw/x.nii", ".raw/.y.nii"), ["x"]),
    ],
)
def test_what_stands_for_the_star_is_the_id(
    tmp_path: Path, image: str, label: str, names: tuple[str, ...], ids: list[str]
) -> None:
    dataset = found(touch(tmp_path, *names), image, label)
    assert [case.id for case in dataset.cases] == ids
    assert all(case.label and case.label.is_file() for case in dataset.cases)
    assert dataset.faults == ()


def test_a_modality_that_is_missing_is_a_fault_of_its_case(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    for id in ("a", "b", "c"):
        (tmp_path / id).mkdir()
        for name in ("mr", "pet", "tumour"):
            array = rng.integers(0, 2, (5, 4, 3)).astype(np.uint8)
            nib.Nifti1Image(array, np.eye(4)).to_filename(tmp_path / id / f"{name}.nii.gz")
    (tmp_path / "a/pet.nii.gz").unlink()
    (tmp_path / "b/mr.nii.gz").unlink()
    (tmp_path / "b/pet.nii.gz").unlink()
    dataset = open_dataset("plain", tmp_path, settings())
    faults = check_cases(dataset, dataset.cases)
    assert [(fault.case, fault.text.partition(":")[0]) for fault in faults] == [
        ("a", "a/pet.nii.gz"),
        ("b", "b/mr.nii.gz"),
        ("b", "b/pet.nii.gz"),
    ]


def test_ids_that_clash(tmp_path: Path) -> None:
    root = touch(tmp_path, "a/b_c.nii", "a_b/c.nii", "a/x.nii")
    dataset = found(root, "*/*.nii")
    assert [case.id for case in dataset.cases] == ["a_b_c", "a_b_c", "a_x"]
    assert {case.images[0] for case in dataset.cases[:2]} == {
        root / "a/b_c.nii",
        root / "a_b/c.nii",
    }
    (fault,) = [fault for fault in check_cases(dataset, dataset.cases) if fault.kind == "listing"]
    assert fault.case == "a_b_c"
    assert fault.text == "2 cases have this id: a/b_c.nii, a_b/c.nii; give every case its own"
    with pytest.raises(UserError, match="ids that occur more than once: a_b_c; give every"):
        find_inputs(root, "plain", ("mr",), settings(images=(("mr", "*/*.nii"),)))


NAMES = st.text(st.sampled_from("ab_.-[]?1"), min_size=1, max_size=4).filter(
    lambda name: not name.startswith(".")
)
PATTERNS = ("*/*/t1.nii", "img/*.nii", "x*/[*]/y_*_z.nii.gz", "*_a.nii")


@hypothesis.settings(max_examples=60)
@given(st.sampled_from(PATTERNS), st.tuples(NAMES, NAMES, NAMES))
def test_a_file_of_a_pattern_is_found_and_its_case_leads_back(
    tmp_path_factory: pytest.TempPathFactory, pattern: str, names: tuple[str, str, str]
) -> None:
    root = tmp_path_factory.mktemp("root")
    stars = names[: pattern.count("*")]
    file = _fill(pattern, stars)
    touch(root, file, "other.nii.gz")
    (case,) = found(root, pattern).cases
    assert case.images == (root / file,)


def test_a_pattern_that_matches_nothing(tmp_path: Path) -> None:
    touch(tmp_path, "a/mr.nii.gz", "a/pet.nii.gz")
    with pytest.raises(UserError, match=r"nothing there matches \*/ct.nii.gz .config.data.plain"):
        found(tmp_path, "*/ct.nii.gz")
    dataset = open_dataset("plain", tmp_path, settings())
    assert dataset.cases[0].label is None
    assert "nothing there matches */tumour.nii.gz (config.data.plain.label)" in dataset.faults[0]
    with pytest.raises(UserError, match=r"no case with a label map .nothing there matches \*/tum"):
        labelled_cases(dataset)
    # Without label maps it can still be segmented.
    assert [case.id for case in find_inputs(tmp_path, "plain", ("mr", "pet"), settings())] == ["a"]
    # One that is incomplete does not stop the others.
    touch(tmp_path, "b/mr.nii.gz")
    cases = find_inputs(tmp_path, "plain", ("mr", "pet"), settings())
    assert [case.id for case in cases] == ["a", "b"]
    (tmp_path / "a/pet.nii.gz").unlink()
    (tmp_path / "c").mkdir()
    (tmp_path / "a/mr.nii.gz").rename(tmp_path / "c/pet.nii.gz")
    with pytest.raises(UserError, match=r"no such file: .*b/pet\.nii\.gz, .*c/mr\.nii\.gz; every"):
        find_inputs(tmp_path, "plain", ("mr", "pet"), settings())


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"images": ()}, r"needs config.data.plain.images"),
        ({"images": (("mr", "../*/mr.nii"),)}, "images, mr: .* leads out of the data set"),
        ({"images": (("mr", "/data/*.nii"),)}, "leads out of the data set"),
        ({"images": (("mr", "*/../../mr.nii"),)}, "leads out of the data set"),
        ({"label": "a/../../*.nii"}, "plain.label: .* leads out of the data set"),
        ({"images": (("mr", "mr.nii"),)}, r"needs a \* where"),
        ({"images": (("mr", "**/mr.nii"),)}, r"needs a \* where"),
        ({"images": (("mr", "*/mr.png"),)}, "must end in .nii.gz"),
        ({"images": (("mr", "*/mr.nii*"),)}, "must end in .nii.gz"),
        ({"images": ("mr", "*/mr.nii")}, r"images\[0\] is 'mr', not a list"),
        ({"images": "*/mr.nii"}, r"images is '\*/mr.nii', not a list"),
        ({"images": (("mr", "*/a.nii"), ("mr", "*/b.nii"))}, "give every pair a name of its own"),
        ({"images": (("mr", 3),)}, r"images\[0\]\[1\] is 3, not a text"),
        ({"classes": ()}, "at least one class"),
        ({"classes": (("ignore", 3),)}, "at least one class"),
        ({"classes": (("a", 1), ("b", 1))}, "value of its own"),
        ({"classes": (("a", 0),)}, "the background is 0"),
        ({"classes": (("a", 65_536),)}, "from 0 to 65535"),
        ({"classes": (("a", -1),)}, "from 0 to 65535"),
        ({"classes": (("background", 1),)}, "the background is 0"),
        ({"classes": (("a", "1"),)}, r"classes\[0\]\[1\] is '1', not a whole number"),
        ({"classes": (("a", True),)}, r"classes\[0\]\[1\] is True, not a whole number"),
        ({"reference": "ct"}, "reference is 'ct'; there are mr, pet"),
    ],
)
def test_settings_that_are_refused(tmp_path: Path, changes: dict[str, Any], match: str) -> None:
    with pytest.raises(UserError, match=match) as caught:
        open_dataset("plain", tmp_path, settings(**changes))
    assert "\n" not in str(caught.value)


def test_no_settings(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="needs config.data.plain.images"):
        open_dataset("plain", tmp_path)


def test_the_real_sarcoma_data(sarcoma: Path) -> None:
    own = settings(images=(("mr", "*/mr_t1.nii.gz"), ("pet", "*/pet.nii.gz")), reference="mr")
    dataset = open_dataset("plain", sarcoma, own)
    assert len(dataset.cases) == 37
    assert (dataset.cases[0].id, dataset.reference) == ("STS_002", 0)
    assert check_cases(dataset, dataset.cases) == []
    # PET and MR are on different grids, which is a fault where none is resampled.
    unresampled = open_dataset("plain", sarcoma, replace(own, reference=""))
    first = unresampled.cases[:1]
    assert [fault.kind for fault in check_cases(unresampled, first)] == ["grid"]


def test_a_wide_pattern_of_images_leaves_the_label_maps_out(tmp_path: Path) -> None:
    for name in ("p1.nii.gz", "p1_seg.nii.gz", "p2.nii.gz"):
        (tmp_path / name).touch()
    cases = found(tmp_path, "*.nii.gz", "*_seg.nii.gz").cases
    assert [(case.id, case.label and case.label.name) for case in cases] == [
        ("p1", "p1_seg.nii.gz"),
        ("p2", None),
    ]


COMPOSED, DECOMPOSED = "M\u00fcller", "Mu\u0308ller"


@pytest.mark.parametrize("written", [COMPOSED, DECOMPOSED])
@pytest.mark.parametrize("on_disk", [COMPOSED, DECOMPOSED])
def test_composed_and_decomposed_letters(tmp_path: Path, written: str, on_disk: str) -> None:
    root = touch(tmp_path, f"{on_disk}/a.nii", f"{on_disk}/b.nii")
    assert files(found(root, f"{written}/*.nii")) == {
        "a": [f"{on_disk}/a.nii"],
        "b": [f"{on_disk}/b.nii"],
    }
    # What `*` stands for, in the images and in the label maps.
    touch(tmp_path, f"images/{on_disk}.nii", f"maps/{written}.nii")
    dataset = found(root, "images/*.nii", "maps/*.nii")
    assert files(dataset) == {COMPOSED: [f"images/{on_disk}.nii", f"maps/{written}.nii"]}


def test_two_files_whose_names_look_the_same_are_two_cases(tmp_path: Path) -> None:
    root = touch(tmp_path, f"{COMPOSED}/a.nii", f"{DECOMPOSED}/a.nii")
    for pattern, id in ((f"{COMPOSED}/*.nii", "a"), ("*/a.nii", COMPOSED)):
        dataset = found(root, pattern)
        assert [case.id for case in dataset.cases] == [id, id]
        assert {case.images[0].parent.name for case in dataset.cases} == {COMPOSED, DECOMPOSED}


@pytest.mark.parametrize("pattern", ["*/mr.nii.gz", "*/mr.NII.GZ"])
def test_endings_in_capital_letters(tmp_path: Path, pattern: str) -> None:
    root = touch(tmp_path, "a/mr.nii.gz", "b/mr.NII.GZ", "c/mr.nii", "d/MR.nii.gz")
    assert files(found(root, pattern)) == {"a": ["a/mr.nii.gz"], "b": ["b/mr.NII.GZ"]}


def test_a_folder_in_the_place_of_a_file_is_told(tmp_path: Path) -> None:
    root = touch(tmp_path, "a/mr.nii", "b/mr.nii/mr.nii")
    dataset = found(root, "*/mr.nii")
    (fault,) = check_cases(dataset, dataset.cases[1:])
    assert (fault.case, fault.text) == ("b", "b/mr.nii: is a folder, not a file; check the path")


def test_a_folder_that_is_closed_makes_a_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = touch(tmp_path, "a/mr.nii", "b/mr.nii", "lost+found/x")
    listdir = os.listdir

    def closed(folder: Path) -> list[str]:
        if folder.name in ("b", "lost+found"):
            raise PermissionError(13, "Permission denied", str(folder))
        return listdir(folder)

    monkeypatch.setattr(os, "listdir", closed)
    assert files(found(root, "*/mr.nii")) == {"a": ["a/mr.nii"], "b": ["b/mr.nii"]}
    with pytest.raises(UserError, match="cannot be read .*denied.*check the permissions"):
        found(root, "b/*.nii")
