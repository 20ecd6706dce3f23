"""What many cases have in common, and what is remembered of them."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from invseg_jax.data.batches.source import labelled_cases
from invseg_jax.data.checks import cases as checks
from invseg_jax.data.checks.cases import check_cases, refuse_faults
from invseg_jax.data.checks.passed import PassedCases
from invseg_jax.data.layouts import Case, Dataset, open_dataset
from invseg_jax.data.prepare import shortage
from invseg_jax.data.prepare.content import volume_content
from invseg_jax.data.volumes import nifti as volumes
from invseg_jax.errors import UserError
from invseg_jax.experiment import DataSettings, Preprocessing
from invseg_jax.files import file_times
from tests.nifti_bytes import affine, nifti, phantom, save

Write = Callable[..., Path]


@pytest.fixture
def dataset(write_msd: Write) -> Dataset:
    return open_dataset("msd", write_msd(ids=("organ_1", "organ_2", "organ_3")))


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The cases whose files are read."""
    ids: list[str] = []
    check = checks.check_case

    def check_and_tell(dataset: Dataset, case: Case, contents: dict):
        ids.append(case.id)
        return check(dataset, case, contents)

    monkeypatch.setattr(checks, "check_case", check_and_tell)
    return ids


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in a file is remembered however new the file is."""
    monkeypatch.setattr(file_times, "_SETTLED_NS", -(10**9))


def test_the_same_scan_under_two_ids(dataset: Dataset) -> None:
    first, second, third = (case.images[0] for case in dataset.cases)
    shutil.copy(first, third)
    shutil.copy(first, second)
    # A file that is missing hides no other fault; label maps may well be the same.
    labels = [case.label for case in dataset.cases if case.label]
    shutil.copy(labels[0], labels[1])
    faults = check_cases(dataset, dataset.cases)
    assert [(fault.case, fault.kind) for fault in faults] == [
        ("organ_2", "duplicate"),
        ("organ_3", "duplicate"),
    ]
    (dataset.root / "labelsTr" / "organ_3.nii.gz").unlink()
    assert [(fault.case, fault.kind) for fault in check_cases(dataset, dataset.cases)] == [
        ("organ_2", "duplicate"),
        ("organ_3", "file"),
        ("organ_3", "duplicate"),
    ]
    assert faults[1].text == (
        "imagesTr/organ_3.nii.gz: the same scan as imagesTr/organ_1.nii.gz of case organ_1; leave "
        "one of them out"
    )


def test_a_scan_stored_in_another_way_is_a_duplicate(tmp_path: Path) -> None:
    place = affine((1, 0.9, 2.5), (-11, -13, -9))
    scan, _ = phantom(200)
    turned = place @ np.array([[-1, 0, 0, 23], [0, -1, 0, 27], [0, 0, 1, 0], [0, 0, 0, 1]])
    moved = affine((1, 0.9, 2.5), (50, 0, 0))
    stored = [
        nifti(scan, place),
        nifti(scan, place, descrip=b"exported 2024"),
        nifti(scan.astype(np.float32), place),
        nifti(scan[::-1, ::-1], turned),
        nifti(scan * 2, place, slope=0.5),
        nifti(scan, moved),  # at another origin, as where a header was mended
        nifti(phantom(201)[0], place),
        nifti(np.roll(scan, 1, axis=2), place),
        nifti(scan, affine((1, 0.9, 2.7), (-11, -13, -9))),
    ]
    cases = []
    for number, content in enumerate(stored):
        sform = np.vstack([np.frombuffer(content[280:328], "<f4").reshape(3, 4), [0, 0, 0, 1]])
        label = nifti(np.ones((24, 28, 20), np.uint8), sform)
        images = (save(tmp_path / f"{number}.nii.gz", content, level=1 + number % 9),)
        cases.append(Case(f"c{number}", images, save(tmp_path / f"label{number}.nii", label)))
    plain = save(tmp_path / "plain.nii", stored[0])
    cases.append(Case("plain", (plain,), cases[0].label))
    data = Dataset("x", tmp_path, ("MR",), ("background", "a"), (0, 1), tuple(cases))
    for sound in (PassedCases(), PassedCases(), None):
        faults = check_cases(data, cases, sound=sound)
        assert [(fault.case, fault.kind) for fault in faults] == [
            (id, "duplicate") for id in ("c1", "c2", "c3", "c4", "c5", "plain")
        ]
        assert all("the same scan as 0.nii.gz of case c0;" in fault.text for fault in faults)


def test_images_that_are_empty_are_not_one_scan_twice(dataset: Dataset) -> None:
    """Modalities that were not taken are often files of zeros."""
    for case in dataset.cases[:2]:
        image = nib.Nifti1Image(np.zeros((7, 6, 5), np.int16), np.diag([2.0, 1, 0.5, 1]))
        image.to_filename(case.images[0])
    faults = check_cases(dataset, dataset.cases)
    assert [fault.kind for fault in faults] == ["empty-image", "empty-image"]


def test_headers_that_are_the_same_are_no_duplicate(write_iseg: Write) -> None:
    dataset = open_dataset("iseg", write_iseg())
    root = dataset.root
    assert (root / "subject-1-T1.hdr").read_bytes() == (root / "subject-2-T1.hdr").read_bytes()
    assert check_cases(dataset, dataset.cases) == []
    for ending in ("hdr", "img"):
        shutil.copy(root / f"subject-1-T1.{ending}", root / f"subject-1-T2.{ending}")
    (fault,) = check_cases(dataset, dataset.cases)
    assert fault.text.startswith("subject-1-T2.hdr: the same scan as subject-1-T1.hdr; leave")


def test_what_is_tolerated(dataset: Dataset) -> None:
    first, second, third = dataset.cases
    shutil.copy(first.images[0], second.images[0])
    assert third.label
    nib.Nifti1Image(np.zeros((7, 6, 5), np.uint8), np.diag([2.0, 1, 0.5, 1])).to_filename(
        third.label
    )
    assert len(check_cases(dataset, dataset.cases)) == 2
    (fault,) = check_cases(dataset, dataset.cases, tolerate=("duplicate",))
    assert fault.kind == "empty-label"
    tolerate = ("duplicate", "empty-label")
    assert check_cases(dataset, dataset.cases, tolerate=tolerate, sound=PassedCases()) == []
    # What was tolerated is not sound.
    assert len(check_cases(dataset, dataset.cases, sound=PassedCases())) == 2
    with pytest.raises(UserError, match="'file' cannot be tolerated; there are empty-image, "):
        check_cases(dataset, dataset.cases, tolerate=("file",))


def test_progress_is_told_before_each_case(dataset: Dataset) -> None:
    told = []
    check_cases(
        dataset, dataset.cases, progress=lambda number, case: told.append((number, case.id))
    )
    assert told == [(0, "organ_1"), (1, "organ_2"), (2, "organ_3")]
    sound = PassedCases()
    check_cases(dataset, dataset.cases[:2], sound=sound)
    told.clear()
    check_cases(
        dataset, dataset.cases, sound=sound, progress=lambda number, case: told.append(case.id)
    )
    assert told == ["organ_3"]


def test_sound_cases_are_read_once(dataset: Dataset, checked: list[str], tmp_path: Path) -> None:
    sound = PassedCases(tmp_path / "sound")
    label = dataset.cases[1].label
    assert label
    content = label.read_bytes()
    label.write_bytes(content[:-20])
    for _ in range(2):
        (fault,) = check_cases(dataset, dataset.cases, sound=sound)
        assert fault.case == "organ_2"
    assert checked == ["organ_1", "organ_2", "organ_3", "organ_2"]
    checked.clear()
    label.write_bytes(content)
    # Content counts: neither the folder nor the id does.
    root = shutil.copytree(dataset.root, tmp_path / "copy")
    copy = open_dataset("msd", root)
    for case in copy.cases:
        for path in (*case.images, case.label):
            assert path and volume_content(path)
    for opened in (dataset, copy):
        assert check_cases(opened, opened.cases, sound=sound) == []
    assert checked == ["organ_2"]
    # What is found without reading is found again.
    shutil.copy(dataset.cases[0].images[0], dataset.cases[1].images[0])
    (fault,) = check_cases(dataset, dataset.cases, sound=sound)
    assert fault.kind == "duplicate"


def test_what_a_case_was_checked_against_counts(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound, case = PassedCases(), dataset.cases[0]
    image, label = case.images[0], case.label
    assert label is not None
    contents = {path: volume_content(path) for path in (image, label)}

    def key(dataset: Dataset = dataset, case: Case = case, *tolerate: str) -> str | None:
        return sound.key(dataset, case, contents, tolerate)

    keys = {
        key(),
        key(replace(dataset, values=(0, 1, 3))),
        key(replace(dataset, ignore=3)),
        key(replace(dataset, reference=0)),
        key(dataset, replace(case, images=(label,), label=image)),
        key(dataset, replace(case, label=None)),
        key(dataset, replace(case, images=(image, label), label=None)),
        key(dataset, case, "empty-label"),
    }
    monkeypatch.setattr(volumes, "_limit", 5000)
    keys.add(key())
    assert len(keys) == 9 and None not in keys
    assert key(replace(dataset, name="other", root=Path("/other")), replace(case, id="b")) in keys
    del contents[label]
    assert key() is None and not sound.remembers(None)


def test_a_memory_that_cannot_be_written_costs_a_second_check(
    dataset: Dataset, checked: list[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    for _ in range(2):
        assert check_cases(dataset, dataset.cases, sound=PassedCases(tmp_path / "file")) == []
    assert len(checked) == 6


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> DataSettings:
    """Of a training that remembers nothing yet."""
    monkeypatch.setenv("INVSEG_CACHE", str(tmp_path / "cache"))
    return DataSettings()


def test_training_counts_the_faults_and_names_the_first(
    settings: DataSettings, dataset: Dataset
) -> None:
    said: list[str] = []
    refuse_faults(settings, dataset, labelled_cases(dataset), said.append)
    assert said == ["checking case organ_1 (1 of 3)"]
    assert dataset.cases[1].label
    dataset.cases[1].label.unlink()
    dataset.cases[2].images[0].write_bytes(b"")
    with pytest.raises(UserError, match="^2 faults in the data, the first: case organ_2: labels"):
        refuse_faults(settings, dataset, labelled_cases(dataset), said.append)
    with pytest.raises(UserError, match="--layout plain --data .* --config FILE` shows them all"):
        plain = dataclasses.replace(settings, layout="plain")
        refuse_faults(plain, dataset, labelled_cases(dataset), said.append)
    # Without the configuration, check_data would not know how much memory this asks for.
    fine = dataclasses.replace(settings, preprocess=Preprocessing(spacing=(1e-4, 1e-4, 1e-4)))
    with pytest.raises(UserError, match="--layout msd --data .* --config FILE` shows them all"):
        refuse_faults(fine, dataset, labelled_cases(dataset), said.append)


def test_training_checks_what_it_reads(settings: DataSettings, write_iseg: Write) -> None:
    root = write_iseg(labelled=(1, 2), unlabelled=(3,))
    (root / "subject-3-T1.img").unlink()
    dataset = open_dataset("iseg", root)
    assert len(check_cases(dataset, dataset.cases)) == 1
    refuse_faults(settings, dataset, labelled_cases(dataset), lambda _: None)


def test_the_limit_of_a_volume(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(volumes, "_limit", volumes.MAX_BYTES)
    volumes.limit_volumes(7 * 6 * 5 * 2 - 1)
    faults = check_cases(dataset, dataset.cases)
    assert [fault.kind for fault in faults] == ["file"] * 3
    assert "above the limit" in faults[0].text
    volumes.limit_volumes(7 * 6 * 5 * 2)
    assert check_cases(dataset, dataset.cases) == []
    with pytest.raises(UserError, match="at least 1"):
        volumes.limit_volumes(0)


def test_the_real_hippocampus_data(hippocampus: Path) -> None:
    dataset = open_dataset("msd", hippocampus)
    assert check_cases(dataset, dataset.cases) == []


def test_memory_that_runs_out_is_a_fault_of_the_case(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = checks.check_case

    def check_or_run_out(dataset: Dataset, case: Case, contents: dict):
        if case.id == "organ_2":
            np.empty(1 << 48, np.uint8)
        return check(dataset, case, contents)

    monkeypatch.setattr(checks, "check_case", check_or_run_out)
    (fault,) = check_cases(dataset, dataset.cases)
    assert (fault.case, fault.kind) == ("organ_2", "memory")
    assert fault.text.startswith("memory ran out (Unable to allocate 256. TiB")


def test_of_a_case_that_does_not_fit_no_voxel_is_read(
    dataset: Dataset, checked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shortage, "_LITTLE", 0)
    monkeypatch.setattr(shortage, "available", lambda: 1 << 20)
    faults = check_cases(dataset, dataset.cases)
    assert [(fault.case, fault.kind) for fault in faults] == [
        (f"organ_{number}", "memory") for number in (1, 2, 3)
    ]
    assert checked == []
