"""Simulated subjects: their anatomy, their contrast, and what they depend on."""

import numpy as np
from scipy import ndimage

from invseg_jax.data.phantom import scan
from invseg_jax.data.phantom.scan import Contrast, simulate_subject


def largest_part(mask: np.ndarray) -> int:
    parts = np.empty(mask.shape, np.int32)
    ndimage.label(mask, output=parts)
    return int(np.bincount(parts[mask]).max())


def test_images_are_stripped_and_cropped(subjects, spacing):
    for t1, t2, classes in subjects:
        assert t1.dtype == t2.dtype == np.int16
        assert t1.shape == t2.shape == classes.shape
        assert set(np.unique(classes)) == {0, 1, 2, 3}
        np.testing.assert_array_equal(t1 > 0, classes > 0)
        np.testing.assert_array_equal(t2 > 0, classes > 0)
        assert t1.min() == t2.min() == 0
        # a margin of background on each face, and no more than 15 mm of it
        for axis in range(3):
            inside = np.flatnonzero(np.moveaxis(classes > 0, axis, 0).any(axis=(1, 2)))
            before, after = inside[0], classes.shape[axis] - 1 - inside[-1]
            assert 1 <= before <= 15 / spacing and 1 <= after <= 15 / spacing


def test_anatomy_is_that_of_an_infant_brain(subjects, spacing):
    millilitres = spacing**3 / 1000
    for _, _, classes in subjects:
        fluid, grey, white = ((classes == k).sum() * millilitres for k in (1, 2, 3))
        assert 120 < fluid < 400 and 380 < grey < 680 and 200 < white < 430
        assert largest_part(classes > 0) == (classes > 0).sum()
        rim = (classes > 0) & np.logical_not(ndimage.binary_erosion(classes > 0))
        assert (classes[rim] == 1).mean() > 0.75  # the brain lies in fluid
        depth = np.asarray(ndimage.distance_transform_edt(classes > 0, spacing))
        assert ((classes == 1) & (depth > 25)).sum() * millilitres > 2  # the ventricles


def test_grey_and_white_matter_are_nearly_isointense_and_fluid_is_not(subjects):
    for t1, t2, classes in subjects:
        for image, sign in ((t1, 1), (t2, -1)):  # CSF is dark in T1 and bright in T2
            c, g, w = (image[classes == k].astype(float) for k in (1, 2, 3))
            assert sign * (g.mean() - c.mean()) > 3 * g.std()
            assert 0.1 < sign * (w.mean() - g.mean()) / g.std() < 1.5


def test_a_voxels_own_values_do_not_settle_grey_against_white(subjects):
    features, labels = [], []
    for *images, classes in subjects:
        brain = [image[classes > 0].astype(float) for image in images]
        features.append(np.stack([(v - v.mean()) / v.std() for v in brain], axis=1))
        labels.append(classes[classes > 0])
    x, y = np.concatenate(features[:2]), np.concatenate(labels[:2])
    scores = []
    for k in (1, 2, 3):  # quadratic discriminant analysis, tried on the third subject
        mean, covariance = x[y == k].mean(0), np.cov(x[y == k].T)
        d = features[2] - mean
        distance = (d @ np.linalg.inv(covariance) * d).sum(1) + np.linalg.slogdet(covariance)[1]
        scores.append(np.log((y == k).mean()) - distance / 2)
    found = np.argmax(scores, axis=0) + 1
    pairs = [(found == k, labels[2] == k) for k in (1, 2, 3)]
    dice = [2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in pairs]
    assert dice[0] > 0.85
    assert 0.55 < dice[1] < 0.85 and 0.5 < dice[2] < 0.85


def test_subjects_and_seeds_differ(atlas, subjects, spacing):
    one, two = subjects[0][2], subjects[1][2]
    corner = tuple(slice(0, min(a, b)) for a, b in zip(one.shape, two.shape, strict=True))
    assert (one[corner] != two[corner]).mean() > 0.05
    other = simulate_subject(atlas, 1, 1, spacing)
    assert not np.array_equal(other[2], one)


def test_other_spacing_is_the_same_anatomy(atlas, subjects, spacing):
    fine, coarse = simulate_subject(atlas, 0, 1, 1.5)[2], subjects[0][2]
    for k, tolerance in ((1, 0.25), (2, 0.1), (3, 0.1)):
        a, b = (fine == k).sum() * 1.5**3, (coarse == k).sum() * spacing**3
        assert abs(a - b) < tolerance * a


def test_result_does_not_depend_on_the_slabs(atlas, subjects, spacing, monkeypatch):
    monkeypatch.setattr(scan, "SLAB_POINTS", 100_000)  # a few planes at once
    for array, expected in zip(simulate_subject(atlas, 0, 1, spacing), subjects[0], strict=True):
        assert (array == expected).mean() > 0.999  # but for rounding in the last bit


def test_noise_is_rician():
    contrast = Contrast(np.random.default_rng(0))
    contrast.bias = [lambda axes: np.zeros(())] * 2  # type: ignore
    signal = np.array([0.0, 30.0])[:, None] * np.ones(200_000)
    air, tissue = contrast.acquire(signal, [], np.random.default_rng(1))
    air_sd, tissue_sd = contrast.gain * contrast.noise
    # without signal a Rayleigh distribution; with it, the second moment is A^2 + 2 sd^2
    np.testing.assert_allclose(air.mean(), air_sd * np.sqrt(np.pi / 2), rtol=0.01)
    second = (30.0 * contrast.gain[1]) ** 2 + 2 * tissue_sd**2
    np.testing.assert_allclose((tissue**2).mean(), second, rtol=0.01)
