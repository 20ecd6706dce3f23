"""Names in another spelling than they are written in."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invseg_jax.data.layouts.names import Folders, composed, ending_of, spelling, without_ending

NFC, NFD = "J\u00fcrgen", "Ju\u0308rgen"


@pytest.mark.parametrize(
    ("name", "ending", "id"),
    [
        ("a.nii.gz", ".nii.gz", "a"),
        ("a.NII.GZ", ".NII.GZ", "a"),
        ("A.Nii", ".Nii", "A"),
        ("a.nii.nii", ".nii", "a.nii"),
        ("a.HDR", ".HDR", "a"),
        (f"{NFD}.img", ".img", NFC),
        ("a.gz", "", "a.gz"),
        ("nii", "", "nii"),
    ],
)
def test_endings(name: str, ending: str, id: str) -> None:
    assert ending_of(name) == ending
    assert without_ending(name) == id


@given(st.text(), st.sampled_from(["", ".nii", ".NII.gz", ".Hdr"]))
def test_all_spellings_of_a_name_are_one(stem: str, ending: str) -> None:
    forms = {spelling(unicodedata.normalize(form, stem) + ending) for form in ("NFC", "NFD")}
    forms.add(spelling(composed(stem) + ending.upper()))
    assert len(forms) == 1


def test_what_is_there_is_found_as_it_is_spelt_there(tmp_path: Path) -> None:
    (tmp_path / NFD / "a").mkdir(parents=True)
    file = tmp_path / NFD / "a" / f"{NFD}.NII.GZ"
    file.touch()
    folders = Folders()
    for inner in (f"{NFC}/a/{NFC}.nii.gz", f"{NFD}/a/{NFC}.nii.GZ", f"{NFD}/a/{NFD}.NII.GZ"):
        assert folders.find(tmp_path, inner) == file
        assert folders.find(Path("/nowhere"), f"{tmp_path}/{inner}") == file
    # The letters of a name count.
    for inner in (f"{NFC}/A/{NFC}.nii.gz", f"{NFC}/a/{NFC}.nii", "none/a.nii"):
        assert folders.find(tmp_path, inner) == tmp_path / inner
    # The name as it is written comes first.
    exact = tmp_path / NFD / "a" / f"{NFC}.nii.gz"
    exact.touch()
    assert Folders().find(tmp_path, f"{NFC}/a/{NFC}.nii.gz") == exact


def test_folders(tmp_path: Path) -> None:
    for name in ("b.nii", "a.nii", ".hidden.nii"):
        (tmp_path / name).touch()
    (tmp_path / "c.nii").symlink_to("nowhere")
    (tmp_path / "round").symlink_to("round")
    folders = Folders()
    assert folders.names(tmp_path) == ["a.nii", "b.nii", "c.nii", "round"]
    assert folders.all_names(tmp_path)[0] == ".hidden.nii"
    for nothing in ("none", "a.nii", "a.nii/b", "c.nii", "round", "x" * 300):
        assert folders.names(tmp_path / nothing) == []
    (tmp_path / "d.nii").touch()
    assert "d.nii" not in folders.names(tmp_path)  # listed once
