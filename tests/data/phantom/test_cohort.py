"""The cohort on disk: its layout, when it is built again, and what may go wrong.

One cohort is simulated in earnest; where only files and folders matter, small arrays stand in.
"""

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
from nibabel.analyze import AnalyzeImage

from invseg_jax.data.layouts import open_dataset
from invseg_jax.data.phantom import embedded_cohort, scan
from invseg_jax.data.prepare.loaded_case import load_case
from invseg_jax.errors import UserError

KINDS = ("T1", "T2", "label")


@pytest.fixture(scope="module")
def root(atlas, spacing, tmp_path_factory) -> Path:
    """One simulated subject."""
    folder = tmp_path_factory.mktemp("phantom") / "cohort"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("invseg_jax.data.phantom.atlas.load_atlas", lambda: atlas)
        return embedded_cohort(folder, subjects=1, spacing=spacing)


@pytest.fixture
def quick(monkeypatch) -> list[int]:
    """Replaces the simulation by small arrays; lists the numbers of the subjects made."""
    made = []

    def simulate(atlas, seed, number, spacing):
        made.append(number)
        classes = np.random.default_rng([seed, number, int(spacing)]).integers(0, 4, (5, 4, 3))
        return classes.astype(np.int16), classes.astype(np.int16), classes

    monkeypatch.setattr("invseg_jax.data.phantom.atlas.load_atlas", lambda: None)
    monkeypatch.setattr(scan, "simulate_subject", simulate)
    return made


def load(root: Path, kind: str) -> AnalyzeImage:
    return AnalyzeImage.from_filename(root / f"subject-1-{kind}.hdr")


def contents(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in root.iterdir()}


def test_layout_on_disk(root, spacing):
    files = {f"subject-1-{kind}.{end}" for kind in KINDS for end in ("hdr", "img")}
    assert contents(root).keys() == files | {"README.txt", "cohort.json"}
    readme = (root / "README.txt").read_text()
    assert "ICBM 152" in readme and "NOT images of the iSeg-2019" in readme
    assert "1 subjects at 3 mm" in readme
    for kind in KINDS:
        image = load(root, kind)
        assert image.get_data_dtype() == np.int16
        np.testing.assert_allclose(image.header.get_zooms(), spacing)
    assert list(root.parent.iterdir()) == [root]  # no temporary folder is left


def test_files_hold_the_simulated_subject(root, subjects):
    t1, t2, classes = subjects[0]
    label = np.array([0, 10, 150, 250])[classes]
    for kind, expected in zip(KINDS, (t1, t2, label), strict=True):
        np.testing.assert_array_equal(np.asarray(load(root, kind).dataobj), expected)


def test_opens_as_the_iseg_layout(root):
    dataset = open_dataset("iseg", root)
    assert [case.id for case in dataset.cases] == ["subject-1"]
    loaded = load_case(dataset, dataset.cases[0])
    label = np.asarray(load(root, "label").dataobj)
    assert loaded.image.shape == (*label.shape, 2) and loaded.label is not None
    np.testing.assert_array_equal(np.array([0, 10, 150, 250])[loaded.label], label)
    np.testing.assert_array_equal((loaded.image != 0).all(axis=-1), label > 0)


def test_a_subject_depends_on_seed_number_and_spacing_alone(quick, tmp_path):
    one = contents(embedded_cohort(tmp_path / "one", subjects=1))
    three = contents(embedded_cohort(tmp_path / "three", subjects=3))
    for name in one.keys() - {"README.txt", "cohort.json"}:
        assert one[name] == three[name]
    changes: tuple[dict, ...] = ({"seed": 1}, {"spacing": 2.0})
    for change in changes:
        other = contents(embedded_cohort(tmp_path / f"{change}", subjects=1, **change))
        assert other["subject-1-label.img"] != one["subject-1-label.img"]
    assert three["subject-2-label.img"] != one["subject-1-label.img"]


def test_reports_each_subject_in_one_line(quick, tmp_path):
    lines: list[str] = []
    embedded_cohort(tmp_path / "cohort", subjects=3, progress=lines.append)
    assert lines == [f"embedded cohort: subject {n} of 3" for n in (1, 2, 3)]
    embedded_cohort(tmp_path / "cohort", subjects=3, progress=lines.append)
    assert len(lines) == 3  # found, not built


def test_reuses_a_complete_cohort(quick, tmp_path):
    root = embedded_cohort(tmp_path / "cohort", subjects=2, spacing=3.0)
    before = {path: path.stat().st_mtime_ns for path in root.iterdir()}
    # an integer spacing and a NumPy seed name the same cohort
    again = embedded_cohort(root, subjects=2, spacing=3, seed=np.int64(0))  # type: ignore
    assert again == root and quick == [1, 2]
    assert before == {path: path.stat().st_mtime_ns for path in root.iterdir()}


def test_default_folder_lies_in_the_cache_and_is_mended(quick, tmp_path, monkeypatch):
    monkeypatch.setenv("INVSEG_CACHE", str(tmp_path / "cache"))
    root = embedded_cohort(subjects=1)
    assert root.parent == tmp_path / "cache" / "embedded-iseg"
    assert embedded_cohort(subjects=1, spacing=1) == root and quick == [1]
    good = contents(root)
    image = root / "subject-1-T2.img"
    image.write_bytes(image.read_bytes()[:100])  # as a crash of the machine would leave it
    assert embedded_cohort(subjects=1) == root and quick == [1, 1]
    assert contents(root) == good
    assert list(root.parent.iterdir()) == [root]


@pytest.mark.parametrize("change", [{"subjects": 2}, {"spacing": 1.0000001}, {"seed": 1}])
def test_other_parameters_have_another_default_folder(quick, tmp_path, monkeypatch, change):
    monkeypatch.setenv("INVSEG_CACHE", str(tmp_path))
    usual: dict = {"subjects": 1, "spacing": 1.0, "seed": 0}
    assert embedded_cohort(**usual) != embedded_cohort(**{**usual, **change})


def test_default_folder_is_swept_of_old_partial_builds(quick, tmp_path, monkeypatch):
    monkeypatch.setenv("INVSEG_CACHE", str(tmp_path))
    old, new = (tmp_path / "embedded-iseg" / f".partial-{name}" for name in ("old", "new"))
    old.mkdir(parents=True)
    new.mkdir()
    os.utime(old, (0, 0))
    embedded_cohort(subjects=1)
    assert not old.exists() and new.exists()  # the new one may belong to a running process


@pytest.mark.parametrize("manifest", ["", "{", "[]", "null", '{"settings": {}}', '{"files": 3}'])
def test_a_broken_manifest_is_not_a_complete_cohort(quick, tmp_path, manifest):
    (tmp_path / "cohort.json").write_text(manifest)
    with pytest.raises(UserError, match="not empty and is not this embedded cohort"):
        embedded_cohort(tmp_path)


def test_leaves_foreign_folders_alone(quick, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="not empty"):
        embedded_cohort(tmp_path)
    with pytest.raises(UserError, match="not empty"):
        embedded_cohort(tmp_path / "notes.txt")
    assert contents(tmp_path) == {"notes.txt": b"mine"}
    other = embedded_cohort(tmp_path / "other", subjects=1)
    with pytest.raises(UserError, match="not empty"):  # another cohort lies there
        embedded_cohort(other, subjects=2)


def test_fills_an_empty_folder(quick, tmp_path):
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to("target")
    built = embedded_cohort(tmp_path / "link", subjects=1)
    assert built == tmp_path / "link" and built.is_symlink()
    assert (tmp_path / "target" / "subject-1-label.img").is_file()


def test_folder_is_as_open_to_others_as_any_new_one(quick, tmp_path):
    (tmp_path / "usual").mkdir()
    built = embedded_cohort(tmp_path / "cohort", subjects=1)
    assert built.stat().st_mode == (tmp_path / "usual").stat().st_mode


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_failing_disk_leaves_nothing_behind(quick, tmp_path, monkeypatch, number):
    def to_filename(self, path):
        Path(path).write_bytes(b"half")
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(AnalyzeImage, "to_filename", to_filename)
    expected = "disk is full" if number == errno.ENOSPC else "Permission denied"
    with pytest.raises(UserError, match=expected):
        embedded_cohort(tmp_path / "cohort", subjects=1)
    assert list(tmp_path.iterdir()) == []


def test_two_builders_at_once(quick, tmp_path, monkeypatch):
    simulate = scan.simulate_subject
    finished = []

    def simulate_while_another_finishes(*arguments):
        with monkeypatch.context() as patch:
            patch.setattr(scan, "simulate_subject", simulate)
            embedded_cohort(tmp_path / "cohort", subjects=1)
        finished.append((tmp_path / "cohort").stat().st_ino)
        return simulate(*arguments)

    monkeypatch.setattr(scan, "simulate_subject", simulate_while_another_finishes)
    built = embedded_cohort(tmp_path / "cohort", subjects=1)
    assert quick == [1, 1] and finished == [built.stat().st_ino]  # the first one's stays
    assert json.loads((built / "cohort.json").read_text())["settings"]["subjects"] == 1
    assert list(tmp_path.iterdir()) == [built]


@pytest.mark.parametrize(
    "wrong",
    [{"subjects": 0}, {"spacing": 0.0}, {"spacing": float("nan")}, {"spacing": 20.0}, {"seed": -1}],
)
def test_refuses_wrong_parameters(tmp_path, wrong):
    with pytest.raises(UserError, match=next(iter(wrong)).rstrip("s")):
        embedded_cohort(tmp_path / "cohort", **wrong)
    assert list(tmp_path.iterdir()) == []


def test_without_the_template_nothing_is_left_behind(tmp_path, monkeypatch):
    def load_atlas():
        raise UserError("no template")

    monkeypatch.setattr("invseg_jax.data.phantom.atlas.load_atlas", load_atlas)
    with pytest.raises(UserError, match="no template"):
        embedded_cohort(tmp_path / "cohort")
    assert list(tmp_path.iterdir()) == []
