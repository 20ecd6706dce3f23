"""Evaluation and prediction by a run on tiny data: the same grids, the same scores."""

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from invseg_jax.data.prepare import loaded_case, shortage
from invseg_jax.data.volumes import nifti as nifti_reader
from invseg_jax.errors import SomeFailed, UserError
from invseg_jax.evaluation import case_files, prediction, scoring
from invseg_jax.evaluation.prediction import predict
from invseg_jax.evaluation.scoring import evaluate
from tests.nifti_bytes import METRE, MICRON, MM, affine, nifti, save
from tests.tiny_run import ball, load, tiny_config
from tests.trained import train


def test_evaluation_scores_the_held_out_cases(balls: Path, trained_run: Path, tmp_path: Path):
    summary = evaluate(trained_run, tmp_path / "eval")
    held_out = {id for id, _ in json.loads((trained_run / "data.json").read_text())["held_out"]}
    assert {case["id"] for case in summary["cases"]} == held_out
    assert json.loads((tmp_path / "eval" / "summary.json").read_text()) == summary
    for case in summary["cases"]:
        map_file = load(tmp_path / "eval" / f"{case['id']}.nii.gz")
        truth = np.asarray(load(balls / "labelsTr" / f"{case['id']}.nii.gz").dataobj)
        prediction = np.asarray(map_file.dataobj)
        for value, name in ((1, "ball"), (2, "shell")):
            a, b = prediction == value, truth == value
            expected = 2 * (a & b).sum() / (a.sum() + b.sum())
            assert case["dice"][name] == pytest.approx(expected, abs=1e-9)
        assert (tmp_path / "eval" / f"{case['id']}.png").stat().st_size > 5000
    assert len(evaluate(trained_run, tmp_path / "train", split="train")["cases"]) == 4


def test_prediction_keeps_grid_and_affine(balls: Path, trained_run: Path, tmp_path: Path):
    image = balls / "imagesTr" / "ball_003.nii.gz"
    (target,) = predict([trained_run, trained_run], image, tmp_path)
    source, result = load(image), load(target)
    assert result.shape == source.shape
    np.testing.assert_array_equal(result.affine, source.affine)
    assert set(np.unique(np.asarray(result.dataobj))) <= {0, 1, 2}
    assert len(predict([trained_run], balls / "imagesTr", tmp_path / "folder")) == 6
    assert len(predict([trained_run], balls, tmp_path / "data set")) == 6


@pytest.mark.parametrize(
    ("units", "scale", "fields"),
    [
        (MM, 1.0, {"sform": 1, "qform": 1, "quat": (0, 1, 0), "qoff": (12, -13, -9)}),  # mirrored
        (MICRON, 1e3, {"sform": 4, "qform": 1, "qoff": (-40, -20, -10)}),  # elsewhere
        (METRE, 1e-3, {"sform": 0, "qform": 2, "qoff": (-11, -13, -9)}),
        (0, 1.0, {"sform": 0, "qform": 0}),
    ],
)
def test_a_predicted_label_map_has_the_header_of_its_image(
    trained_run: Path, tmp_path: Path, units: int, scale: float, fields: dict
):
    """The image's own fields, and so its place in ITK; in all units the same prediction."""
    voxels, _ = ball(3)
    matrix = affine(np.array([1.5, 1.0, 2.0]) * scale, np.array([-7, 3, 11]) * scale)
    fields = fields | {"qoff": np.array(fields.get("qoff", (0, 0, 0))) * scale}
    image = save(tmp_path / "scan.nii.gz", nifti(voxels, matrix, units=units, **fields))
    (target,) = predict([trained_run], image, tmp_path / "maps")
    source, result = load(image).header, load(target).header
    names = [f"srow_{x}" for x in "xyz"] + [f"qoffset_{x}" for x in "xyz"]
    names += ["sform_code", "qform_code", "xyzt_units", "quatern_b", "quatern_c", "quatern_d"]
    for name in names:
        np.testing.assert_array_equal(result[name], source[name], name)
    here, there = sitk.ReadImage(str(image)), sitk.ReadImage(str(target))
    for get in ("GetOrigin", "GetSpacing", "GetDirection", "GetSize"):
        np.testing.assert_allclose(
            getattr(there, get)(), getattr(here, get)(), rtol=1e-6, err_msg=get
        )
    found = np.asarray(load(target).dataobj)
    save(tmp_path / "in_mm.nii.gz", nifti(voxels, affine((1.5, 1.0, 2.0), (-7, 3, 11))))
    (plain,) = predict([trained_run], tmp_path / "in_mm.nii.gz", tmp_path / "maps")
    np.testing.assert_array_equal(found, np.asarray(load(plain).dataobj))


def test_what_is_odd_about_a_header_is_told(
    trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    """Each in a line of its own with the file's path; of a sound header there is nothing to say."""
    voxels, _ = ball(3)
    matrix = affine((1.5, 1.0, 2.0), (-7, 3, 11))
    headers = {
        "sound": {},
        "apart": {"qform": 1, "qoff": (-7, 3, 23)},
        "within": {"vox_offset": 0},
        "no_pixdim": {"pixdim": [1, 0, 0, 0, 0, 0, 0, 0]},
    }
    for name, fields in headers.items():
        save(tmp_path / "scans" / f"{name}.nii.gz", nifti(voxels, matrix, **fields))
    predict([trained_run], tmp_path / "scans", tmp_path / "maps")
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("case ")]
    expected = {
        "apart": "sform and qform put a corner 12 mm apart",
        "no_pixdim": "pixdim gives voxels of 0 x 0 x 0 mm",
        "within": "vox_offset is 0, within the header",
    }
    assert len(told) == len(expected)
    for line, (name, text) in zip(told, expected.items(), strict=True):
        assert line.startswith(f"case {name}: {tmp_path}/scans/{name}.nii.gz: {text}")


def test_cases_of_one_id_are_not_scored(balls: Path, trained_run: Path, tmp_path: Path):
    shutil.copytree(balls, tmp_path / "twice")
    description = json.loads((balls / "dataset.json").read_text())
    description["training"].append(description["training"][0])
    (tmp_path / "twice" / "dataset.json").write_text(json.dumps(description))
    with pytest.raises(UserError, match="ids that occur more than once: ball_000"):
        evaluate(trained_run, tmp_path / "eval", root=str(tmp_path / "twice"), split="all")
    assert not (tmp_path / "eval").exists()


def test_plain_folders_are_trained_on_scored_and_segmented(balls: Path, tmp_path: Path):
    root = tmp_path / "plain"
    for image in sorted((balls / "imagesTr").iterdir()):
        folder = root / image.name.removesuffix(".nii.gz")
        folder.mkdir(parents=True)
        shutil.copy(image, folder / "mr.nii.gz")
        shutil.copy(balls / "labelsTr" / image.name, folder / "seg.nii.gz")
    experiment = tiny_config().changed(
        {
            "data.layout": "plain",
            "data.plain.images": (("mr", "*/mr.nii.gz"),),
            "data.plain.label": "*/seg.nii.gz",
            "data.plain.classes": (("ball", 1), ("shell", 2)),
        }
    )
    train(experiment, tmp_path / "run", str(root))
    assert len(evaluate(tmp_path / "run", tmp_path / "eval")["cases"]) == 2

    # What is which stands in the run; label maps are not needed, and never overwritten.
    for label in list(root.glob("*/seg.nii.gz"))[1:]:
        label.unlink()
    targets = predict([tmp_path / "run"], root, tmp_path / "maps")
    assert [target.name for target in targets] == [f"ball_{i:03}.nii.gz" for i in range(6)]
    (root / "ball_003" / "mr.nii.gz").unlink()
    (root / "ball_003" / "seg.nii.gz").touch()
    with pytest.raises(UserError, match=r"1 of 6 .* case ball_003: .*/mr.nii.gz: no such file"):
        predict([tmp_path / "run"], root, tmp_path / "others")
    assert len(list((tmp_path / "others").glob("*.nii.gz"))) == 5
    experiment = experiment.changed({"data.folds": 1})  # few label maps are left
    with pytest.raises(UserError, match="a fault in the data, the first: case ball_003: ball_003/"):
        train(experiment, tmp_path / "run", str(root))


def test_prediction_leaves_out_what_cannot_be_read(balls: Path, trained_run: Path, tmp_path: Path):
    images = tmp_path / "images"
    shutil.copytree(balls / "imagesTr", images)
    (images / "ball_001.nii.gz").write_bytes(b"\x1f\x8bno")
    with pytest.raises(
        SomeFailed, match="1 of 6 cases could not be segmented, the first: case ball_001"
    ):
        predict([trained_run], images, tmp_path / "maps")
    written = sorted(path.name for path in (tmp_path / "maps").glob("*.nii.gz"))
    assert written == [f"ball_{i:03}.nii.gz" for i in (0, 2, 3, 4, 5)]


def test_prediction_leaves_out_what_was_not_fetched(
    balls: Path, trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    root = tmp_path / "balls"
    shutil.copytree(balls, root)
    key = "SHA256E-s9--0a1b.nii.gz"
    for number in (1, 4):
        image = root / "imagesTr" / f"ball_{number:03}.nii.gz"
        image.unlink()
        image.symlink_to(f"../.git/annex/objects/aa/bb/{key}/{key}")
    fetch = f"`git annex get {root}/imagesTr/ball_001.nii.gz` fetches the file"
    for source in (root, root / "imagesTr"):
        output = tmp_path / f"maps of {source.name}"
        with pytest.raises(UserError, match=f"2 of 6 cases .*case ball_001: .*nowhere.*; {fetch}"):
            predict([trained_run], source, output)
        left_out = [line for line in capsys.readouterr().out.splitlines() if "left out" in line]
        assert [line.split()[:2] for line in left_out] == [["2/6", "ball_001"], ["5/6", "ball_004"]]
        written = sorted(path.name for path in output.glob("*.nii.gz"))
        assert written == [f"ball_{i:03}.nii.gz" for i in (0, 2, 3, 5)]
    # A file alone, before the network is loaded; and a training.
    image = root / "imagesTr" / "ball_001.nii.gz"
    with pytest.raises(UserError, match=rf"^--input {image}: missing, a link .*; {fetch}$"):
        predict([tmp_path / "no run"], image, tmp_path / "one")
    with pytest.raises(UserError, match=r"2 faults in the data, the first: case ball_001: .*annex"):
        train(tiny_config(), tmp_path / "run", str(root))


def test_names_that_would_be_too_long_are_refused_first(
    balls: Path, trained_run: Path, tmp_path: Path
):
    long = "b" * 250
    (tmp_path / "images").mkdir()
    shutil.copy(balls / "imagesTr" / "ball_003.nii.gz", tmp_path / "images" / f"{long}.nii")
    shutil.copy(balls / "imagesTr" / "ball_003.nii.gz", tmp_path / "images" / "a.nii.gz")
    with pytest.raises(UserError, match=f"case {long} would have a name of 257 bytes"):
        predict([trained_run], tmp_path / "images", tmp_path / "maps")
    assert not (tmp_path / "maps").exists()


def test_prediction_refuses_to_overwrite_its_input(balls: Path, trained_run: Path):
    image = balls / "imagesTr" / "ball_003.nii.gz"
    before = image.read_bytes()
    with pytest.raises(UserError, match="belongs to the data"):
        predict([trained_run], image, balls / "imagesTr")
    assert image.read_bytes() == before
    # Nor the label maps of images that were given without them.
    label = balls / "labelsTr" / "ball_003.nii.gz"
    before = label.read_bytes()
    for source in (image, balls / "imagesTr"):
        with pytest.raises(UserError, match=r"labelsTr: ball_\d+.nii.gz there belongs to the data"):
            predict([trained_run], source, balls / "labelsTr")
    assert label.read_bytes() == before


def test_a_case_that_memory_does_not_hold_is_left_out(
    balls: Path, trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    images = tmp_path / "images"
    shutil.copytree(balls / "imagesTr", images)
    large = np.ones((90, 80, 70), np.int16)
    (images / "ball_000 large.nii.gz").write_bytes(
        gzip.compress(nifti(large, affine((1.5, 1.0, 2.0))))
    )
    # Thirty bytes a voxel would be 15 MiB; a ball needs little beside what a process takes.
    monkeypatch.setattr(shortage, "_LITTLE", 0)
    monkeypatch.setattr(shortage, "available", lambda: 8 << 20)
    read = []
    load_case = loaded_case.load_case
    monkeypatch.setattr(
        prediction, "load_case", lambda *given: read.append(given[1].id) or load_case(*given)
    )
    said = r"1 of 7 cases .*: case ball_000 large: would take 1\d\.\d MiB \(grid 90 x 80 x 70"
    with pytest.raises(UserError, match=said):
        predict([trained_run], images, tmp_path / "maps")
    assert read == [f"ball_{number:03}" for number in range(6)]
    assert len(list((tmp_path / "maps").glob("*.nii.gz"))) == 6
    # The scores of an evaluation would be those of other cases: nothing is scored.
    monkeypatch.setattr(shortage, "available", lambda: 1 << 20)
    with pytest.raises(UserError, match=r"ball_00\d: would take .* 1\.00 MiB are free"):
        evaluate(trained_run, tmp_path / "eval")
    assert not (tmp_path / "eval").exists()


def test_memory_that_runs_out_over_a_case_ends_that_case_alone(
    balls: Path, trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    load_case, overlay = loaded_case.load_case, case_files.overlay

    def load(dataset, case, *settings):
        if case.id == "ball_001":
            np.empty(1 << 48, np.uint8)
        return load_case(dataset, case, *settings)

    def draw(path: Path, **options) -> None:
        if path.name == "ball_003.png":
            raise MemoryError
        overlay(path, **options)

    monkeypatch.setattr(prediction, "load_case", load)
    monkeypatch.setattr(case_files, "overlay", draw)
    with pytest.raises(UserError, match="2 of 6 cases could not be segmented"):
        predict([trained_run], balls / "imagesTr", tmp_path / "maps")
    lines = [line for line in capsys.readouterr().out.splitlines() if "/6  " in line]
    assert "case ball_001: memory ran out (Unable to allocate 256. TiB" in lines[1]
    assert "case ball_003: memory ran out; crop" in lines[3]
    assert [line.count(" -> ") for line in lines] == [1, 0, 1, 0, 1, 1]
    monkeypatch.setattr(scoring, "load_case", load)
    with pytest.raises(UserError, match="case ball_001: memory ran out"):
        evaluate(trained_run, tmp_path / "eval", split="all")


def test_the_limit_of_a_volume_can_be_raised_by_hand(
    balls: Path, trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(nifti_reader, "_limit", nifti_reader.MAX_BYTES)
    size = 11 * 13 * 9 * 4
    image = balls / "imagesTr" / "ball_000.nii.gz"
    with pytest.raises(UserError, match=r"above the limit .* or --max_bytes of predict and eval"):
        predict([trained_run], image, tmp_path / "maps", max_bytes=size - 1)
    assert len(predict([trained_run], image, tmp_path / "maps", max_bytes=size)) == 1
    with pytest.raises(UserError, match=f"--max_bytes {size - 1}"):
        evaluate(trained_run, tmp_path / "eval", max_bytes=size - 1)
    # What one call was given, the next one does not find.
    assert len(predict([trained_run], image, tmp_path / "maps")) == 1
