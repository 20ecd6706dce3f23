"""Cases are scored on the files' own grid, and known again whatever was done to them since."""

import gzip
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import apply_orientation, inv_ornt_aff

from invseg_jax.data.layouts import open_dataset
from invseg_jax.data.layouts.case import IGNORED, Dataset
from invseg_jax.data.prepare.content import case_digest, images_digest
from invseg_jax.errors import UserError
from invseg_jax.evaluation import scoring
from invseg_jax.evaluation.metrics import confusion
from invseg_jax.evaluation.scoring import evaluate
from invseg_jax.experiment import Preprocessing, base_experiment
from invseg_jax.inference.segmentation import TrainedNetwork
from invseg_jax.inference.trained_run import DataDescription
from tests.nifti_bytes import nifti, save
from tests.tiny_run import load

AFFINE = np.array([[0, -1.0, 0, 3], [0, 0, 1.5, 4], [-2.0, 0, 0, 5], [0, 0, 0, 1]])


class Bright:
    """Takes what is brighter than average for the organ."""

    def probabilities(self, image: np.ndarray) -> np.ndarray:
        return np.concatenate([image < 0.5, image >= 0.5], axis=-1).astype(np.float32)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Four scans of a bright block; no label map holds as many voxels as another."""
    root, entries = tmp_path / "data", []
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
    for number in range(4):
        label = np.zeros((12, 14, 10), np.uint8)
        label[3 : 8 + number, 4:11, 2:8] = 1
        image = np.float32(100) * label + 10
        image[:, :2] = 0
        name = f"block_{number}.nii.gz"
        for folder, array in (("imagesTr", image), ("labelsTr", label)):
            nib.Nifti1Image(array, AFFINE).to_filename(root / folder / name)
        entries.append({"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"})
    described = {"name": "blocks", "modality": {"0": "CT"}, "labels": {"0": "no", "1": "organ"}}
    (root / "dataset.json").write_text(json.dumps(described | {"training": entries, "test": []}))
    return open_dataset("msd", root)


@pytest.fixture(params=["voxels"])
def workdir(
    dataset: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> Path:
    """A run that was trained on the first two; one of an earlier version knows them by files."""
    known_by = request.param
    keys = [(case.id, case_digest(case, known_by)) for case in dataset.cases]
    data = DataDescription(
        "msd",
        str(dataset.root),
        dataset.modalities,
        dataset.classes,
        dataset.values,
        training=tuple(keys[:2]),
        held_out=tuple(keys[2:]),
        images=tuple(images_digest(case, known_by) for case in dataset.cases[:2]),
        known_by=known_by,
    )
    settings = Preprocessing(spacing=(0.5, 0.75, 0.8), crop=True)
    run = TrainedNetwork(Bright(), settings), base_experiment(), data
    monkeypatch.setattr(scoring, "load_trained_network", lambda workdir, mirror=None: run)
    return tmp_path / "run"


@pytest.fixture
def sparse(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same run, as if of its cases only some slices had been annotated."""
    segmenter, experiment, data = scoring.load_trained_network(workdir)
    experiment = experiment.changed({"data.annotated_slices": (1, 0, 2)})
    monkeypatch.setattr(scoring, "load_trained_network", lambda *_: (segmenter, experiment, data))
    return workdir


def ids(summary: dict) -> list[str]:
    return [case["id"] for case in summary["cases"]]


def test_scores_are_those_of_the_written_maps(dataset: Dataset, workdir: Path) -> None:
    summary = evaluate(workdir, workdir / "eval")
    assert ids(summary) == ["block_2", "block_3"]
    for case, result in zip(dataset.cases[2:], summary["cases"], strict=True):
        truth = nib.Nifti1Image.from_filename(case.label)  # type: ignore[arg-type]
        found = nib.Nifti1Image.from_filename(workdir / "eval" / f"{case.id}.nii.gz")
        assert found.shape == truth.shape
        np.testing.assert_allclose(np.asarray(found.affine), AFFINE, atol=1e-6)
        a, b = truth.get_fdata() == 1, found.get_fdata() == 1
        assert result["voxels"]["organ"] == {"truth": a.sum(), "prediction": b.sum()}
        assert result["dice"]["organ"] == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()))
        assert result["dice"]["organ"] > 0.9


@pytest.mark.parametrize("workdir", ["voxels", "files"], indirect=True)
def test_a_case_is_known_by_its_content_or_in_its_own_data_by_its_name(
    dataset: Dataset, workdir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A label map that was mended since: the network has seen the image all the same.
    path = dataset.cases[0].label
    assert path is not None
    label = nib.Nifti1Image.from_filename(path).get_fdata().astype(np.uint8)
    label[0, 3] = 1
    nib.Nifti1Image(label, AFFINE).to_filename(path)
    for root in (None, str(dataset.root)):
        assert ids(evaluate(workdir, tmp_path / "a", root=root)) == ["block_2", "block_3"]
        assert ids(evaluate(workdir, tmp_path / "b", root=root, split="train")) == [
            "block_0",
            "block_1",
        ]
    # Elsewhere a name says nothing, and the images all; earlier runs know whole cases alone.
    other = tmp_path / "other"
    dataset.root.rename(other)
    summary = evaluate(workdir, tmp_path / "c", root=str(other))
    assert ids(summary) == ["block_2", "block_3"]
    assert summary["scored"] == {"split": "val", "data": str(other)}
    page = (tmp_path / "c" / "report.html").read_text()
    assert "2 cases the network was not trained on" in page and str(other) in page
    segmenter, experiment, data = scoring.load_trained_network(workdir)
    earlier = segmenter, experiment, replace(data, images=())
    monkeypatch.setattr(scoring, "load_trained_network", lambda *_: earlier)
    assert ids(evaluate(workdir, tmp_path / "d", root=str(other)))[0] == "block_0"
    # The embedded cohort has no folder that could be the one at hand.
    embedded = segmenter, experiment, replace(data, root=None, images=())
    monkeypatch.setattr(scoring, "load_trained_network", lambda *_: embedded)
    monkeypatch.chdir(other)
    assert ids(evaluate(workdir, tmp_path / "e", root="."))[0] == "block_0"


def compressed_anew(path: Path) -> None:
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), 1))


def described_otherwise(path: Path) -> None:
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[148:158] = b"exported 2"
    path.write_bytes(gzip.compress(content))


def as_double(path: Path) -> None:
    image = load(path)
    nib.Nifti1Image(image.get_fdata(), image.affine).to_filename(path)


def in_other_axes(path: Path) -> None:
    image, orientation = load(path), np.array([[1, -1], [2, 1], [0, -1]])
    array = apply_orientation(image.get_fdata(), orientation)
    place = np.asarray(image.affine) @ inv_ornt_aff(orientation, image.shape)
    nib.Nifti1Image(array.astype(np.float32), place).to_filename(path)


def as_scaled_integers(path: Path) -> None:
    image = load(path)
    values = (image.get_fdata() * 2).astype(np.int16)
    save(path, nifti(values, np.asarray(image.affine), slope=0.5, end=">"))


def at_another_origin(path: Path) -> None:
    image = load(path)
    moved = np.array(image.affine)
    moved[:3, 3] += (5, -80, 300)
    nib.Nifti1Image(image.get_fdata(), moved).to_filename(path)


def uncompressed(path: Path) -> None:
    plain = path.with_suffix("")
    plain.write_bytes(gzip.decompress(path.read_bytes()))
    path.unlink()


@pytest.mark.parametrize(
    "store",
    [
        compressed_anew,
        described_otherwise,
        as_double,
        in_other_axes,
        as_scaled_integers,
        at_another_origin,
        uncompressed,
    ],
)
@pytest.mark.parametrize("mended", [False, True])
def test_a_training_set_stored_another_way_is_never_scored_as_held_out(
    dataset: Dataset, workdir: Path, tmp_path: Path, store: Callable, mended: bool
) -> None:
    other = shutil.copytree(dataset.root, tmp_path / "other")
    for case in dataset.cases:
        image = other / "imagesTr" / f"{case.id}.nii.gz"
        label = other / "labelsTr" / f"{case.id}.nii.gz"
        if mended:
            content = load(label)
            array = content.get_fdata().astype(np.uint8)
            array[0, 0, :3] = 1
            nib.Nifti1Image(array, content.affine).to_filename(label)
        for path in (image, label):
            store(path)
    if store is uncompressed:
        listed = (other / "dataset.json").read_text().replace(".nii.gz", ".nii")
        (other / "dataset.json").write_text(listed)
    found = ids(evaluate(workdir, tmp_path / "a", root=str(other)))
    assert found == ["block_2", "block_3"]
    found = ids(evaluate(workdir, tmp_path / "b", root=str(other), split="train"))
    assert found == ["block_0", "block_1"]


def test_of_sparsely_annotated_cases_the_rest_is_scored(dataset: Dataset, sparse: Path) -> None:
    summary = evaluate(sparse, sparse / "eval", split="all")
    assert ids(summary) == [f"block_{number}" for number in range(4)]
    for number, result in enumerate(summary["cases"]):
        truth = np.zeros((12, 14, 10), bool)
        truth[3 : 8 + number, 4:11, 2:8] = True
        found = nib.Nifti1Image.from_filename(sparse / "eval" / f"block_{number}.nii.gz")
        counted = np.ones_like(truth)
        if number < 2:  # trained on
            counted[3 + (5 + number) // 2] = False
            counted[..., [3, 6]] = False  # the middles of both halves of 2 to 8
        a, b = truth & counted, (found.get_fdata() == 1) & counted
        assert result["voxels"]["organ"] == {"truth": a.sum(), "prediction": b.sum()}
        assert result["iou"]["organ"] == pytest.approx((a & b).sum() / (a | b).sum())


def test_a_case_without_foreground_is_scored(dataset: Dataset, workdir: Path) -> None:
    path = dataset.cases[2].label
    assert path is not None
    nib.Nifti1Image(np.zeros((12, 14, 10), np.uint8), AFFINE).to_filename(path)
    summary = evaluate(workdir, workdir / "eval")
    assert [case["dice"]["organ"] > 0.9 for case in summary["cases"]] == [False, True]
    assert summary["cases"][0]["dice"]["organ"] == 0  # the image is bright all the same


def test_the_data_are_never_written_over(dataset: Dataset, workdir: Path, tmp_path: Path) -> None:
    path = dataset.cases[0].label
    assert path is not None
    before = path.read_bytes()
    with pytest.raises(UserError, match=r"labelsTr: block_0.nii.gz there belongs to the data"):
        evaluate(workdir, path.parent, split="all")
    assert path.read_bytes() == before
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"--output .*file/x cannot be made"):
        evaluate(workdir, tmp_path / "file" / "x")


def test_modalities_in_another_order_are_refused(dataset: Dataset, workdir: Path) -> None:
    _, _, data = scoring.load_trained_network(workdir)
    object.__setattr__(data, "modalities", ("T1", "T2"))
    described = json.loads((dataset.root / "dataset.json").read_text())
    described["modality"] = {"0": "T2", "1": "T1"}
    (dataset.root / "dataset.json").write_text(json.dumps(described))
    with pytest.raises(UserError, match="modalities T2, T1; .* in the order T1, T2"):
        evaluate(workdir, workdir / "eval")


def chosen_by(monkeypatch: pytest.MonkeyPatch, workdir: Path, **keys: str) -> None:
    """The same run, which held out block_2 alone, as if a pattern or a file had said so."""
    segmenter, experiment, data = scoring.load_trained_network(workdir)
    experiment = experiment.changed({f"data.{key}": value for key, value in keys.items()})
    data = replace(data, held_out=data.held_out[:1])
    monkeypatch.setattr(scoring, "load_trained_network", lambda *_: (segmenter, experiment, data))


@pytest.mark.parametrize(
    ("keys", "scored"),
    [
        ({}, ["block_2", "block_3"]),
        # Each scan is of another patient; then block_3, added since, is of the one of block_1.
        ({"group": r"block_(\d)"}, ["block_2", "block_3"]),
        ({"group": r"(block(?=_[13])|block_.)"}, ["block_2"]),
        # What a split file leaves out. The run knows it; the file need not be there any more.
        ({"split": "gone.json"}, ["block_2"]),
    ],
)
def test_what_is_not_fair_to_score_is_left_out_and_told(
    dataset: Dataset,
    workdir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    keys: dict[str, str],
    scored: list[str],
) -> None:
    chosen_by(monkeypatch, workdir, **keys)
    assert ids(evaluate(workdir, workdir / "eval")) == scored
    told = [line for line in capsys.readouterr().out.splitlines() if "not scored" in line]
    assert [line.rpartition(": ")[2] for line in told] == ([] if len(scored) == 2 else ["block_3"])
    everything = ids(evaluate(workdir, workdir / "eval", split="all"))
    assert everything == ["block_0", "block_1", *scored]


def test_a_split_without_cases(dataset: Dataset, workdir: Path) -> None:
    data = json.loads((dataset.root / "dataset.json").read_text())
    data["training"] = data["training"][:2]
    (dataset.root / "dataset.json").write_text(json.dumps(data))
    with pytest.raises(UserError, match="no labelled case of the split 'val'; .* train, all"):
        evaluate(workdir, workdir / "eval")


def test_a_damaged_file_is_found_before_the_first_score(dataset: Dataset, workdir: Path) -> None:
    last = dataset.cases[-1].images[0]
    last.write_bytes(last.read_bytes()[:-20])
    with pytest.raises(UserError, match="a fault in the data, the first: case block_3: .*trunc"):
        evaluate(workdir, workdir / "eval", root=str(dataset.root), split="all")
    assert not (workdir / "eval").exists()


def test_a_test_image_may_have_the_name_of_a_training_image(
    dataset: Dataset, workdir: Path
) -> None:
    (dataset.root / "imagesTs").mkdir()
    name = "block_2.nii.gz"
    image = nib.Nifti1Image(np.full((3, 4, 5), 7, np.int16), AFFINE)
    image.to_filename(dataset.root / "imagesTs" / name)
    described = json.loads((dataset.root / "dataset.json").read_text())
    described["test"] = [f"./imagesTs/{name}"]
    (dataset.root / "dataset.json").write_text(json.dumps(described))
    assert ids(evaluate(workdir, workdir / "eval")) == ["block_2", "block_3"]


def test_data_of_other_classes_are_refused(dataset: Dataset, workdir: Path) -> None:
    description = dataset.root / "dataset.json"
    description.write_text(description.read_text().replace("organ", "tumour"))
    with pytest.raises(UserError, match="has the classes background, tumour"):
        evaluate(workdir, workdir / "eval")


def test_voxels_that_nobody_labelled_do_not_count() -> None:
    truth = np.array([0, 1, 1, IGNORED, IGNORED], np.uint8)
    prediction = np.array([0, 1, 0, 1, 0], np.uint8)
    np.testing.assert_array_equal(confusion(prediction, truth, 2), [[1, 0], [1, 1]])
    ignored = np.full(3, IGNORED, np.uint8)
    assert not confusion(np.ones(3, np.uint8), ignored, 2).any()
    with pytest.raises(ValueError, match="prediction holds values"):
        confusion(ignored, ignored * 0, 2)
