"""What is segmented on the network's grid stands in the same place on the file's."""

import dataclasses
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from invseg_jax.data.batches.regions import Regions
from invseg_jax.data.layouts import open_dataset
from invseg_jax.data.layouts.case import Region
from invseg_jax.data.prepare.loaded_case import LoadedCase, load_case
from invseg_jax.data.prepare.normalise import Intensities
from invseg_jax.errors import UserError
from invseg_jax.evaluation import prediction
from invseg_jax.experiment import Preprocessing, base_experiment
from invseg_jax.inference.segmentation import TrainedNetwork, segment
from invseg_jax.inference.trained_run import DataDescription


class Bright:
    """A network that takes what is brighter than average for the organ, and remembers its input."""

    def __init__(self, threshold: float = 0.0):
        self.threshold = threshold
        self.seen: list[np.ndarray] = []

    def probabilities(self, image: np.ndarray) -> np.ndarray:
        self.seen.append(image)
        organ = 1 / (1 + np.exp(self.threshold - image[..., 0]))
        return np.stack([1 - organ, organ], axis=-1).astype(np.float32)


AFFINE = np.array([[-1.5, 0, 0.2, 30], [0.1, 2.0, 0, -20], [0, 0, 1.0, 5], [0, 0, 0, 1]])


@pytest.fixture
def scan() -> nib.Nifti1Image:
    """A bright ball off the centre of a dimmer box in air; no axis and no side like another."""
    axes = np.meshgrid(*(np.arange(n, dtype=float) for n in (21, 17, 25)), indexing="ij")
    centre, spacing = (7, 9, 16), (1.5, 2.0, 1.0)
    squares = ((s * (a - c)) ** 2 for a, c, s in zip(axes, centre, spacing, strict=True))
    radius = np.sqrt(sum(squares))
    image = np.where(radius < 8, 300.0, 100.0)
    image[:2] = image[:, -3:] = image[..., :4] = 0
    return nib.Nifti1Image(image.astype(np.float32), AFFINE)


def loaded(image: nib.Nifti1Image) -> LoadedCase:
    array = image.get_fdata(dtype=np.float32)[..., None]
    return LoadedCase("scan", array, None, np.array(image.affine))


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "SAR", "PIL", "IRA"])
def test_the_way_a_scan_is_stored_does_not_matter(scan: nib.Nifti1Image, orientation: str) -> None:
    network = Bright()
    one = TrainedNetwork(network, Preprocessing(crop=True))
    expected = segment(loaded(scan), [one])
    np.testing.assert_array_equal(expected, scan.get_fdata() == 300)
    turn = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(AFFINE), nib.orientations.axcodes2ornt(orientation)
    ).tolist()
    stored = scan.as_reoriented(turn)
    found = segment(loaded(stored), [one])
    # In space: the map of the first scan, stored as the second is.
    there = nib.Nifti1Image(expected, AFFINE).as_reoriented(turn)
    np.testing.assert_array_equal(found, np.asarray(there.dataobj))
    np.testing.assert_array_equal(network.seen[0], network.seen[1])


@pytest.mark.parametrize("spacing", [None, (1.0, 1.0, 1.0)])
def test_regions_are_decided_upon_on_the_grid_of_the_file(scan: nib.Nifti1Image, spacing) -> None:
    class Nested(Bright):
        """The same as two regions, the one whatever is not air and the other the ball."""

        def probabilities(self, image: np.ndarray) -> np.ndarray:
            level = (image - image.min()) / np.ptp(image)  # air 0, box 1/3, ball 1
            return 1 / (1 + np.exp(20 * (np.array([1 / 6, 2 / 3], np.float32) - level)))

    regions = Regions(("whole", "ball"), ((1, 2), (2,)), (1, 2))
    settings = Preprocessing(spacing=spacing, normalisation=("z_score",))
    one = TrainedNetwork(Nested(), settings, regions=regions)
    found, image = segment(loaded(scan), [one, one]), scan.get_fdata()
    expected = np.where(image == 300, 2, np.where(image > 0, 1, 0))
    assert (found == expected).mean() > (0.9999 if spacing is None else 0.95)
    assert set(np.unique(found)) == {0, 1, 2}
    with pytest.raises(ValueError, match="the same regions"):
        segment(loaded(scan), [one, TrainedNetwork(Nested(), settings)])


@pytest.mark.parametrize("spacing, least", [((1.0, 1.0, 1.0), 0.98), ((2.0, 2.0, 2.0), 0.97)])
def test_on_another_spacing_it_stands_where_it_stood(scan, spacing, least: float) -> None:
    network = Bright()
    found = segment(
        loaded(scan), [TrainedNetwork(network, Preprocessing(spacing=spacing, crop=True))]
    )
    assert network.seen[0].shape[:3] != scan.shape
    assert found.shape == scan.shape
    ball = scan.get_fdata() == 300
    assert (found == ball).mean() > least
    # Its border is blurred, its centre is where it was.
    moved = np.argwhere(found).mean(axis=0) - np.argwhere(ball).mean(axis=0)
    assert np.abs(moved).max() < 0.2


def test_the_mean_of_several_networks_counts(scan: nib.Nifti1Image) -> None:
    settings = Preprocessing(normalisation=("ct",))
    low = Intensities(mean=150.0, std=50.0, median=0.0, low=0.0, high=400.0)
    high = dataclasses.replace(low, mean=500.0)
    # Each with the scale of its own training cases: +3 and -4 in the ball, which is background.
    pair = [TrainedNetwork(Bright(), settings, (low,)), TrainedNetwork(Bright(), settings, (high,))]
    assert segment(loaded(scan), pair[:1]).any()
    assert not segment(loaded(scan), pair).any()
    nearly = TrainedNetwork(Bright(), settings, (dataclasses.replace(low, mean=400.0),))
    assert segment(loaded(scan), [pair[0], nearly]).any()
    with pytest.raises(ValueError, match="the same grid"):
        segment(loaded(scan), [pair[0], TrainedNetwork(Bright(), Preprocessing(canonical=False))])


def run_of(settings: Preprocessing, network: Bright):
    """What `load_trained_network` gives of a run on one modality and two classes."""
    data = DataDescription("msd", None, ("CT",), ("background", "organ"), (0, 7), (), ())
    return TrainedNetwork(network, settings), base_experiment(), data


def test_predict_writes_the_label_map_on_the_grid_of_the_file(
    scan: nib.Nifti1Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(Preprocessing(crop=True, spacing=(1.5, 2.0, 0.9)), Bright())
    monkeypatch.setattr(prediction, "load_trained_network", lambda workdir, mirror: run)
    scan.to_filename(tmp_path / "scan.nii.gz")
    (target,) = prediction.predict([tmp_path], tmp_path / "scan.nii.gz", tmp_path / "maps")
    found = nib.Nifti1Image.from_filename(target)
    assert found.shape == scan.shape
    np.testing.assert_allclose(np.asarray(found.affine), AFFINE, atol=1e-6)
    label = np.asarray(found.dataobj)
    assert set(np.unique(label)) == {0, 7}
    assert ((label == 7) == (scan.get_fdata() == 300)).mean() > 0.98
    assert (tmp_path / "maps" / "scan.png").stat().st_size > 1000


def test_an_affine_that_only_a_quaternion_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    angle = np.radians(17)
    affine = np.diag([1.0, 1.0, -3.3, 1.0])
    affine[:2, :2] = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    affine[:3, :3] *= (1.2, 0.7, 1.0)
    affine[:3, 3] = (-123.456, 98.765, -609.417)
    image = nib.Nifti1Image(np.random.default_rng(0).random((5, 6, 7), np.float32), None)
    image.set_qform(affine, code=1)
    image.to_filename(tmp_path / "scan.nii")
    run = run_of(Preprocessing(), Bright())
    monkeypatch.setattr(prediction, "load_trained_network", lambda workdir, mirror: run)
    (target,) = prediction.predict([tmp_path], tmp_path / "scan.nii", tmp_path / "maps")
    before = np.asarray(nib.Nifti1Image.from_filename(tmp_path / "scan.nii").affine)
    after = np.asarray(nib.Nifti1Image.from_filename(target).affine)
    np.testing.assert_allclose(before, affine, atol=1e-3)
    np.testing.assert_allclose(after, before, atol=1e-6, rtol=0)


def test_runs_on_different_grids_cannot_be_averaged(
    scan: nib.Nifti1Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = {
        "a": run_of(Preprocessing(), Bright()),
        "b": run_of(Preprocessing(spacing=(1, 1, 1)), Bright()),
    }
    monkeypatch.setattr(
        prediction, "load_trained_network", lambda workdir, mirror: runs[workdir.name]
    )
    scan.to_filename(tmp_path / "scan.nii.gz")
    with pytest.raises(UserError, match="b and .*a differ in what config.data.preprocess"):
        prediction.predict([Path("a"), Path("b")], tmp_path / "scan.nii.gz", tmp_path / "maps")
    # What is resampled onto a reference, and how it is written where it overlaps.
    segmenter, experiment, data = run_of(Preprocessing(interpolation="cubic"), Bright())
    runs["b"] = segmenter, experiment, dataclasses.replace(data, reference=0)
    runs["a"] = *runs["a"][:2], dataclasses.replace(data, reference=0)
    with pytest.raises(UserError, match="interpolation=cubic, a with linear; they cannot be"):
        prediction.predict([Path("a"), Path("b")], tmp_path / "scan.nii.gz", tmp_path / "maps")
    for name, written in (("a", 1), ("b", 0)):
        region = Region("whole", data.values[1:], written)
        runs[name] = (
            *run_of(Preprocessing(), Bright())[:2],
            dataclasses.replace(data, regions=(region,)),
        )
    with pytest.raises(UserError, match="or with other values; they cannot be averaged"):
        prediction.predict([Path("a"), Path("b")], tmp_path / "scan.nii.gz", tmp_path / "maps")
    assert not (tmp_path / "maps").exists()


def test_real_cases_on_another_grid(hippocampus: Path) -> None:
    """A threshold on a finer grid gives the map of the threshold on the file's."""
    dataset = open_dataset("msd", hippocampus)
    for case in dataset.cases[::70]:
        scan = load_case(dataset, case)
        plain, fine = (
            segment(scan, [TrainedNetwork(Bright(1.0), Preprocessing(spacing=spacing))])
            for spacing in (None, (0.8, 0.8, 0.8))
        )
        assert plain.shape == fine.shape == scan.image.shape[:3] and plain.any()
        assert (plain == fine).mean() > 0.94, case.id  # noise about the threshold
