"""Why a file is not there, and what to do about it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from invseg_jax.files.missing import leads_nowhere, stands_for_file, why_missing

KEY = "SHA256E-s5023--b5bb9d80.nii.gz"
ANNEXED = f".git/annex/objects/aa/bb/{KEY}/{KEY}"


def test_a_file_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "a.nii").touch()
    (tmp_path / "link.nii").symlink_to("a.nii")
    assert why_missing(tmp_path / "a.nii") == why_missing(str(tmp_path / "link.nii")) == ""
    assert not leads_nowhere(tmp_path / "link.nii")


def test_no_such_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "a.nii", tmp_path / "none" / "a.nii", tmp_path / "file" / "a.nii"):
        assert why_missing(path) == "no such file; check the path"
        assert not leads_nowhere(path)


def test_what_is_no_file(tmp_path: Path) -> None:
    assert why_missing(tmp_path) == "is a folder, not a file; check the path"
    os.mkfifo(tmp_path / "pipe.nii")
    assert why_missing(tmp_path / "pipe.nii").startswith("is a pipe, a socket or a device, not a f")
    assert why_missing(f"{'a' * 300}.nii").startswith("the name is too long for the file system;")
    assert why_missing("a\0.nii") != "" and why_missing("\ud800.nii") != ""


def test_a_link_that_leads_nowhere(tmp_path: Path) -> None:
    link = tmp_path / "a.nii"
    link.symlink_to("../gone/b.nii")
    assert leads_nowhere(link) and not stands_for_file(link)
    assert why_missing(link) == (
        "missing, a link that leads nowhere, to ../gone/b.nii; mend the link, or fetch what it "
        "stands for"
    )
    (tmp_path / "sub-1").symlink_to("gone")
    assert why_missing(tmp_path / "sub-1" / "t1" / "a.nii").startswith(
        f"missing, because {tmp_path / 'sub-1'} is a link that leads nowhere, to gone; mend"
    )


def test_a_link_to_itself(tmp_path: Path) -> None:
    (tmp_path / "a.nii").symlink_to("b.nii")
    (tmp_path / "b.nii").symlink_to("a.nii")
    assert why_missing(tmp_path / "a.nii") == "a link that leads back to itself; mend the link"
    assert leads_nowhere(tmp_path / "a.nii")


@pytest.mark.parametrize(
    "target", [ANNEXED, f"../{ANNEXED}", ANNEXED.replace(".git/", ".git/modules/inner/")]
)
def test_git_annex(tmp_path: Path, target: str) -> None:
    link = tmp_path / "a b.nii.gz"
    link.symlink_to(target)
    assert why_missing(link) == (
        f"missing, a link that leads nowhere, to {target}; `git annex get '{link}'` fetches the "
        "file"
    )
    assert stands_for_file(link)
    # Through another link, as of a folder of chosen cases.
    (tmp_path / "chosen").mkdir()
    other = tmp_path / "chosen" / "c.nii.gz"
    other.symlink_to("../a b.nii.gz")
    assert why_missing(other).endswith(f"; `git annex get {other}` fetches the file")


def test_a_folder_that_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "stat", closed)
    assert why_missing(tmp_path / "a.nii") == "cannot be read (Permission denied); check the path"
