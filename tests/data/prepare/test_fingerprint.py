"""The fingerprint is compared with NumPy over all voxels of the training cases at once."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from invseg_jax.data.batches.source import labelled_cases, prepared_split, training_fingerprint
from invseg_jax.data.batches.split import hold_out
from invseg_jax.data.layouts import Dataset, open_dataset
from invseg_jax.data.layouts.case import IGNORED
from invseg_jax.data.prepare import fingerprint as module
from invseg_jax.data.prepare.cache import CaseCache
from invseg_jax.data.prepare.fingerprint import Fingerprint, WholeImage, measure
from invseg_jax.data.prepare.loaded_case import LoadedCase
from invseg_jax.errors import UserError
from invseg_jax.experiment import DataSettings, Preprocessing

Write = Callable[..., Path]


@pytest.fixture
def dataset(write_msd: Write) -> Dataset:
    return open_dataset("msd", write_msd(ids=("a", "b", "c", "d"), modalities=2))


def voxels(dataset: Dataset, ids: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Images (cases, ..., 2) and labels of some cases, as nibabel reads them."""
    cases = [case for case in dataset.cases if case.id in ids]
    images = [nib.Nifti1Image.from_filename(case.images[0]).get_fdata() for case in cases]
    labels = [nib.Nifti1Image.from_filename(case.label).get_fdata() for case in cases]  # type: ignore
    return np.stack(images), np.stack(labels)


def test_is_that_of_all_foreground_voxels(dataset: Dataset, tmp_path: Path) -> None:
    found = CaseCache(dataset, folder=tmp_path).fingerprint(dataset.cases[1:])
    assert found.cases == ("b", "c", "d")
    assert found.shapes == ((7, 6, 5),) * 3 and found.spacings == ((2.0, 1.0, 0.5),) * 3
    assert (found.modalities, found.classes) == (dataset.modalities, dataset.classes)
    image, label = voxels(dataset, found.cases)
    for channel, entry in enumerate(found.intensities):
        values = image[label > 0, channel]
        expected = [values.mean(), values.std(), *np.percentile(values, (50, 0.5, 99.5))]
        np.testing.assert_allclose(dataclasses.astuple(entry), expected, rtol=1e-6)
    np.testing.assert_allclose(found.frequencies, [(label == k).mean() for k in range(3)])
    assert len(found.whole) == 3
    for case, modalities in zip(image, found.whole, strict=True):
        assert len(modalities) == 2
        for channel, entry in enumerate(modalities):
            values = case[..., channel]
            expected = [values.min(), *np.percentile(values, (0.5, 50, 99.5))]
            np.testing.assert_allclose(dataclasses.astuple(entry), expected, rtol=1e-6)
    assert Fingerprint.from_json(found.to_json()) == found
    assert json.loads(found.to_json())["shapes"][0] == [7, 6, 5]


def test_one_of_an_earlier_version_says_nothing_of_whole_images(
    dataset: Dataset, tmp_path: Path
) -> None:
    found = CaseCache(dataset, folder=tmp_path).fingerprint(dataset.cases)
    earlier = json.loads(found.to_json())
    del earlier["whole"]
    read = Fingerprint.from_json(json.dumps(earlier))
    assert read == dataclasses.replace(found, whole=())


@pytest.mark.parametrize("shape", [(40, 50, 60), (16, 256, 64), (64, 64, 64), (1, 1, 70_001)])
def test_percentiles_of_a_large_image_are_near_those_of_all_voxels(
    rng, shape: tuple[int, int, int]
) -> None:
    """Each axis has a ramp of its own: a sample that passes by planes would be far off."""
    ramps = np.meshgrid(*(np.linspace(0, 100, n) for n in shape), indexing="ij")
    image = np.sum(ramps, axis=0).astype(np.float32)
    place = tuple(rng.integers(0, n) for n in shape)
    image[place] = -3000  # of one voxel, which no sample need hold
    found = WholeImage.of(image)
    assert found.minimum == -3000
    expected = np.percentile(image, (0.5, 50, 99.5))
    np.testing.assert_allclose([found.low, found.median, found.high], expected, atol=3)


def test_the_largest_values_of_float32_do_not_overflow() -> None:
    image = np.full((2, 3, 4), -3e38, np.float32)
    image[1] = 3e38
    found = WholeImage.of(image)
    assert found.minimum == found.low == np.float32(-3e38) and found.high == np.float32(3e38)
    assert np.isfinite(found.median)


def test_a_large_foreground_is_sampled(rng, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SAMPLED_VOXELS", 500)
    label = (rng.random((20, 20, 20)) < 0.5).astype(np.uint8)
    image = rng.normal(50 * label[..., None], 1.0, (20, 20, 20, 1)).astype(np.float32)
    loaded = LoadedCase("noise", image, label, np.eye(4))
    sample = measure(loaded, 2, np.random.default_rng(0)).sample
    assert sample.shape == (500, 1) and len(np.unique(sample)) == 500
    assert abs(sample.mean() - 50) < 0.2 and sample.min() > 40
    np.testing.assert_array_equal(sample, measure(loaded, 2, np.random.default_rng(0)).sample)


def test_ignored_voxels_do_not_count() -> None:
    label = np.array([[[0, 1, IGNORED, 2, IGNORED, 0]]], np.uint8)
    image = np.arange(6, dtype=np.float32).reshape(1, 1, 6, 1)
    measured = measure(LoadedCase("x", image, label, np.eye(4)), 3, np.random.default_rng(0))
    assert measured.voxels == (2, 1, 1)
    np.testing.assert_array_equal(measured.sample, [[1], [3]])


def test_sizes_are_those_that_a_network_sees() -> None:
    image = np.zeros((10, 6, 8, 1), np.float32)
    image[2:6, 1:5, 3:8] = 1
    affine = np.diag([3.0, 2, 1, 1])[[1, 0, 2, 3]]  # the second axis runs to the right
    loaded = LoadedCase("x", image, np.zeros((10, 6, 8), np.uint8), affine)
    measured = {"x": measure(loaded, 2, np.random.default_rng(0))}

    def of(**changes: Any) -> Fingerprint:
        return Fingerprint.of(measured, ["M"], ["background", "a"], Preprocessing(**changes))

    assert of().shapes == ((6, 10, 8),) and of().spacings == ((2.0, 3.0, 1.0),)
    assert of(canonical=False).shapes == ((10, 6, 8),)
    assert of(crop=True, margin=1).shapes == ((6, 6, 6),)
    assert of(crop=True).median_size(None) == (4, 4, 5)
    assert of().median_size((1, 1, 2)) == (12, 30, 4)
    assert of().intensities == () and of().frequencies == (1.0, 0.0)


def test_each_case_is_measured_once(dataset: Dataset, tmp_path: Path) -> None:
    lines: list[str] = []

    def find(dataset: Dataset = dataset, **changes: Any) -> Fingerprint:
        lines.clear()
        cache = CaseCache(dataset, Preprocessing(**changes), tmp_path, lines.append)
        return cache.fingerprint(dataset.cases)

    first = find()
    assert lines[0] == "measuring case a (1 of 4)" and len(lines) == 4
    assert find() == first and lines == []
    # How a case is prepared later does not change what it is.
    assert find(spacing=(1, 1, 1), normalisation=("ct",)) == first and lines == []
    (entry, *_) = (tmp_path / "measurements").iterdir()
    (entry / "sample.npy").write_bytes(b"")
    assert find() == first and len(lines) == 1
    image = dataset.cases[2].images[0]
    image.write_bytes(dataset.cases[0].images[0].read_bytes())
    assert find() != first and lines == ["measuring case c (3 of 4)"]
    find(dataclasses.replace(dataset, ignore=9))
    assert len(lines) == 4


def test_preparing_measures_in_passing(dataset: Dataset, tmp_path: Path) -> None:
    lines: list[str] = []
    cache = CaseCache(dataset, None, tmp_path, lines.append)
    cache.prepared(dataset.cases)
    assert len(lines) == 4
    found = cache.fingerprint(dataset.cases)
    assert len(lines) == 4
    assert found == CaseCache(dataset, folder=tmp_path / "other").fingerprint(dataset.cases)


def test_held_out_cases_are_never_part_of_it(dataset: Dataset) -> None:
    """A held-out case of other intensities changes nothing; a training case does."""
    settings = DataSettings(folds=4, preprocess=Preprocessing(normalisation=("ct",)))
    training, held_out = hold_out(labelled_cases(dataset), 4, 0)

    def prepare() -> tuple[Fingerprint, list, list]:
        trained, held, found = prepared_split(settings, dataset, lambda line: None)
        assert found == training_fingerprint(settings, dataset, lambda line: None)
        assert set(found.cases) == {case.id for case in training}
        return found, trained, held

    def brighten(path: Path) -> None:
        image = nib.Nifti1Image.from_filename(path)
        nib.Nifti1Image(image.get_fdata() + 1000, image.affine).to_filename(path)

    first, trained, held = prepare()
    mean = first.intensities[0].mean
    raw = voxels(dataset, (held[0].id,))[0][0, ..., 0]
    seen = first.intensities[0]
    expected = (np.clip(raw, seen.low, seen.high) - mean) / seen.std
    np.testing.assert_allclose(held[0].image[..., 0], expected, atol=1e-5)

    brighten(held_out[0].images[0])
    second, same, other = prepare()
    assert second == first and same == trained and other != held
    brighten(training[0].images[0])
    third, changed, _ = prepare()
    assert third.intensities[0].mean > mean
    # On another scale now, all of them.
    assert not {case.folder for case in changed} & {case.folder for case in trained}


def test_ct_needs_a_foreground(write_msd: Write, tmp_path: Path) -> None:
    root = write_msd()
    for path in (root / "labelsTr").iterdir():
        image = nib.Nifti1Image.from_filename(path)
        nib.Nifti1Image(np.zeros(image.shape, np.uint8), image.affine).to_filename(path)
    dataset = open_dataset("msd", root)
    cache = CaseCache(dataset, Preprocessing(normalisation=("ct",)), tmp_path)
    found = cache.fingerprint(dataset.cases)
    assert found.intensities == () and found.frequencies == (1.0, 0.0, 0.0)
    with pytest.raises(UserError, match="case organ_2: .* the training cases have none"):
        cache.prepared(dataset.cases, found)
