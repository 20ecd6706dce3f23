import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from invseg_jax.data.layouts import Case
from invseg_jax.errors import UserError
from invseg_jax.experiment import PlainSettings
from invseg_jax.inference.inputs import cases_around, find_inputs

ONE = ("MRI",)
TWO = ("T1", "T2")


def touch(folder: Path, *names: str) -> Path:
    """Makes files without content: which case is what shows in the names alone."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    "name, id",
    [
        ("scan.nii", "scan"),
        ("scan.1.nii.gz", "scan.1"),
        ("SCAN.NII.GZ", "SCAN"),
        ("scan.hdr", "scan"),
        ("scan.img", "scan"),
    ],
)
def test_one_file(tmp_path: Path, name: str, id: str):
    file = touch(tmp_path, name) / name
    assert find_inputs(file, "msd", TWO) == [Case(id, (file,), None)]


def test_a_file_that_is_no_image(tmp_path: Path):
    touch(tmp_path, "scan.png")
    with pytest.raises(UserError, match=r"scan\.png is no image.*\.nii\.gz"):
        find_inputs(tmp_path / "scan.png", "msd", ONE)


def test_a_folder_of_images(tmp_path: Path):
    touch(tmp_path, "b_10.nii.gz", "b_9.nii.gz", "a.hdr", "a.img", ".b_9.nii.gz", "notes.txt")
    cases = find_inputs(tmp_path, "msd", ONE)
    assert [case.id for case in cases] == ["a", "b_9", "b_10"]
    assert cases[0].images == (tmp_path / "a.hdr",)
    assert all(case.label is None for case in cases)


def test_a_folder_within_a_folder_is_no_image(tmp_path: Path):
    touch(tmp_path, "a.nii.gz", "b.nii/c.nii")
    assert [case.id for case in find_inputs(tmp_path, "msd", ONE)] == ["a"]


def test_two_images_whose_results_would_have_one_name(tmp_path: Path):
    touch(tmp_path, "a.nii", "a.nii.gz", "b.nii")
    with pytest.raises(UserError, match=f"{tmp_path}: ids that occur more than once: a;"):
        find_inputs(tmp_path, "msd", ONE)


@pytest.mark.parametrize(
    "layout, modalities, taken",
    [("msd", ONE, True), ("msd", TWO, True), ("iseg", ONE, True), ("iseg", TWO, False)],
)
def test_single_files_serve_where_they_can_hold_all_modalities(
    tmp_path: Path, layout: str, modalities: tuple[str, ...], taken: bool
):
    touch(tmp_path, "a.nii.gz")
    if taken:
        assert [case.id for case in find_inputs(tmp_path, layout, modalities)] == ["a"]
    else:
        with pytest.raises(UserError, match="no data set in the iseg layout.*2 modalities T1, T2"):
            find_inputs(tmp_path, layout, modalities)


def test_a_data_set_in_the_layout_of_the_training(tmp_path: Path):
    root = touch(tmp_path / "iseg", "subject-2-T1.hdr", "subject-2-T2.hdr")
    for ending in ("T1.img", "T2.img"):
        touch(root, f"subject-2-{ending}")
    (case,) = find_inputs(root, "iseg", TWO)
    assert case.images == (root / "subject-2-T1.hdr", root / "subject-2-T2.hdr")

    root = touch(tmp_path / "msd", "imagesTr/a.nii.gz", "labelsTr/a.nii.gz", "imagesTs/b.nii.gz")
    description = {
        "name": "organ",
        "modality": {"0": "MRI"},
        "labels": {"0": "background", "1": "organ"},
        "training": [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}],
        "test": ["./imagesTs/b.nii.gz"],
    }
    (root / "dataset.json").write_text(json.dumps(description))
    assert [case.id for case in find_inputs(root, "msd", ONE)] == ["a", "b"]
    # Its folder of images alone is not the data set, but images.
    touch(root, "imagesTs/new.nii.gz")
    assert [case.id for case in find_inputs(root / "imagesTs", "msd", ONE)] == ["b", "new"]


def test_a_folder_of_nnunet_channels(tmp_path: Path):
    touch(tmp_path, "b_0000.nii.gz", "b_0001.nii.gz", "a_1_0000.nii", "a_1_0001.nii", "notes.txt")
    cases = find_inputs(tmp_path, "nnunet", TWO)
    assert [case.id for case in cases] == ["a_1", "b"]
    assert cases[1].images == (tmp_path / "b_0000.nii.gz", tmp_path / "b_0001.nii.gz")
    # A case that is incomplete does not stop the others.
    (tmp_path / "b_0001.nii.gz").unlink()
    assert find_inputs(tmp_path, "nnunet", TWO) == cases
    (tmp_path / "a_1_0000.nii").unlink()
    with pytest.raises(UserError) as caught:
        find_inputs(tmp_path, "nnunet", TWO)
    assert str(caught.value) == (
        f"--input {tmp_path}: no such file: {tmp_path}/a_1_0000.nii, {tmp_path}/b_0001.nii.gz; "
        "every case needs all of T1, T2"
    )
    touch(tmp_path, "b_0001.nii.gz", "a_1_0000.nii")
    for name in ("b_0002.nii.gz", "c.nii.gz"):  # no channel of two; no channel at all
        (tmp_path / name).touch()
        with pytest.raises(UserError, match=rf"{name}: .* channel, here 0000 to 0001"):
            find_inputs(tmp_path, "nnunet", TWO)
        (tmp_path / name).unlink()
    # Of one modality, any image will do.
    touch(tmp_path / "one", "a.nii.gz", "b.nii.gz")
    assert [case.id for case in find_inputs(tmp_path / "one", "nnunet", ONE)] == ["a", "b"]


def test_the_folder_of_one_case(tmp_path: Path):
    touch(tmp_path, "a/mr.nii", "a/pet.nii", "a/seg.nii", "b/mr.nii", "b/pet.nii", "b/seg.nii")
    plain = PlainSettings(
        images=(("mr", "*/mr.nii"), ("pet", "*/pet.nii")), label="*/seg.nii", classes=(("x", 1),)
    )
    (case,) = find_inputs(tmp_path / "b", "plain", ("mr", "pet"), plain)
    assert case.id == "b"
    assert [image.name for image in case.images] == ["mr.nii", "pet.nii"]
    # Of one modality too: the label map beside the image is none.
    plain = replace(plain, images=plain.images[:1])
    (case,) = find_inputs(tmp_path / "a", "plain", ("mr",), plain)
    assert (case.id, len(case.images)) == ("a", 1)


KEY = "SHA256E-s9--0a.nii.gz"


def test_links_that_lead_nowhere(tmp_path: Path):
    target = f".git/annex/objects/a/b/{KEY}/{KEY}"
    (tmp_path / "a.nii.gz").symlink_to(target)
    (tmp_path / "b.nii.gz").symlink_to(target)
    fetch = f"a link that leads nowhere, to {target}; `git annex get {tmp_path}/a.nii.gz` fetches"
    for path, said in (
        (tmp_path / "a.nii.gz", f"{tmp_path}/a.nii.gz: missing, {fetch} the file"),
        (
            tmp_path,
            f"{tmp_path}: no file: {tmp_path}/a.nii.gz, {tmp_path}/b.nii.gz (the first: "
            f"missing, {fetch} the file); every case needs all of MRI",
        ),
    ):
        with pytest.raises(UserError) as caught:
            find_inputs(path, "msd", ONE)
        assert str(caught.value) == f"--input {said}"
    # Beside an image that is there, they are cases that cannot be read.
    touch(tmp_path, "c.nii.gz")
    assert [case.id for case in find_inputs(tmp_path, "msd", ONE)] == ["a", "b", "c"]
    assert [case.id for case in find_inputs(tmp_path, "iseg", ONE)] == ["a", "b", "c"]
    (tmp_path / "folder").symlink_to("nowhere")
    with pytest.raises(UserError, match="folder: missing, a link that leads nowhere, to nowhere;"):
        find_inputs(tmp_path / "folder", "msd", ONE)


def test_the_data_set_around_a_folder(tmp_path: Path):
    root = touch(tmp_path, "subject-2-T1.hdr", "subject-2-T2.hdr")
    (root / "new").mkdir()
    for folder in (root, root / "new", root / "none"):
        assert [case.id for case in cases_around(folder, "iseg")] == ["subject-2"]
    (tmp_path / "loop").symlink_to("loop")
    assert [case.id for case in cases_around(tmp_path / "loop", "iseg")] == ["subject-2"]
    assert cases_around(tmp_path / "loop" / "a" / "b", "iseg") == ()


def test_halves_of_pairs(tmp_path: Path):
    touch(tmp_path, "a.hdr", "a.img", "b.img", "c.HDR", "d.Img")
    cases = find_inputs(tmp_path, "msd", ONE)
    assert [(case.id, case.images[0].name) for case in cases] == [
        ("a", "a.hdr"),
        ("b", "b.hdr"),
        ("c", "c.HDR"),
        ("d", "d.Hdr"),
    ]


def test_composed_and_decomposed_letters(tmp_path: Path):
    composed, decomposed = "Zo\u00eb", "Zoe\u0308"
    touch(tmp_path, f"{decomposed}.nii.gz", "b.NII.GZ")
    cases = find_inputs(tmp_path, "msd", ONE)
    assert [case.id for case in cases] == [composed, "b"]
    assert cases[0].images == (tmp_path / f"{decomposed}.nii.gz",)
    touch(tmp_path, f"{composed}.nii.gz")
    with pytest.raises(UserError, match=f"ids that occur more than once: {composed};"):
        find_inputs(tmp_path, "msd", ONE)


@pytest.mark.parametrize("layout", ["msd", "nnunet", "iseg"])
def test_a_folder_that_is_closed(
    tmp_path: Path, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(path: str | Path = ".") -> None:  # root may read all folders
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(os, "listdir", closed)
    with pytest.raises(UserError, match=r"--input .*: cannot be read \(Permission denied\)"):
        find_inputs(tmp_path, layout, ONE)


def test_nothing_there(tmp_path: Path):
    with pytest.raises(UserError, match="--input .*nothing does not exist"):
        find_inputs(tmp_path / "nothing", "msd", ONE)
    with pytest.raises(UserError, match="--input a+: the name is too long for the file system"):
        find_inputs(Path("a" * 300), "msd", ONE)
    touch(tmp_path, "notes.txt")
    with pytest.raises(UserError, match="no data set in the msd layout"):
        find_inputs(tmp_path, "msd", ONE)
