"""Resampling is compared with nibabel.processing, and with truth that has a formula."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.processing import resample_from_to, resample_to_output

from invseg_jax.data.layouts.case import IGNORED
from invseg_jax.data.prepare.geometry import Geometry
from invseg_jax.data.prepare.resampling import (
    resample,
    resample_label,
    resample_onto,
    resampled_shape,
)

OBLIQUE = np.array(
    [[-1.9, 0.3, 0.1, 20.0], [0.2, 1.4, -0.5, -31.0], [0.1, 0.4, 2.7, 7.0], [0, 0, 0, 1]]
)


def blob(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=shape).astype(np.float32)


def depth(shape, affine: np.ndarray, target: np.ndarray, size) -> np.ndarray:
    """How far inside of the old grid's outermost centres each new voxel lies, in old voxels."""
    mapping = np.linalg.inv(affine) @ target
    x = mapping[:3, :3] @ np.indices(size).reshape(3, -1) + mapping[:3, 3:]
    last = np.array(shape)[:, None] - 1
    return np.minimum(x, last - x).min(axis=0).reshape(size)


# Splines differ near the border by what each takes to lie beyond it; six voxels off that is 3e-4.
ORDERS = pytest.mark.parametrize("interpolation, order, least", [("linear", 1, 0), ("cubic", 3, 6)])


@ORDERS
def test_to_a_finer_spacing_is_what_nibabel_gives(rng, interpolation: str, order, least) -> None:
    image = blob((19, 17, 15), rng)
    spacing = np.linalg.norm(OBLIQUE[:3, :3], axis=0)
    grid = Geometry.plan(image.shape, OBLIQUE, spacing=(spacing * (0.5, 0.7, 0.9)).tolist())
    result = resample(image, grid.step, grid.size, interpolation=interpolation)
    target = grid.network_affine
    found = nib.Nifti1Image(image, OBLIQUE)
    expected = resample_from_to(found, (grid.size, target), order=order).get_fdata()
    inside = depth(image.shape, OBLIQUE, target, grid.size) >= least
    assert inside.mean() > (0.7 if order == 1 else 0.01)
    np.testing.assert_allclose(result[inside], expected[inside], atol=1e-5 if order == 1 else 1e-3)


@ORDERS
def test_onto_another_grid_is_what_nibabel_gives(rng, interpolation: str, order, least) -> None:
    image = blob((19, 18, 17), rng)
    target = OBLIQUE @ np.diag([0.6, 0.9, 0.5, 1.0])
    target[:3, :3] @= np.array([[0.98, -0.199, 0], [0.199, 0.98, 0], [0, 0, 1]])
    target[:3, 3] += (2.0, -1.0, 3.0)
    shape = (24, 19, 31)
    result = resample_onto(image, OBLIQUE, target, shape, interpolation=interpolation)
    found = nib.Nifti1Image(image, OBLIQUE)
    expected = resample_from_to(found, (shape, target), order=order).get_fdata()
    inside = depth(image.shape, OBLIQUE, target, shape)
    assert (inside < -1).any() and (result[inside < -1] == image.min()).all()
    inside = inside >= least
    assert inside.mean() > (0.6 if order == 1 else 0.02)
    np.testing.assert_allclose(result[inside], expected[inside], atol=1e-5 if order == 1 else 1e-3)


def test_is_what_nibabel_resamples_to_a_spacing(rng) -> None:
    image = blob((9, 8, 7), rng)
    expected = resample_to_output(nib.Nifti1Image(image, OBLIQUE), (1.5, 1.0, 2.0), order=1)
    target, there = np.asarray(expected.affine), expected.get_fdata()
    result = resample_onto(image, OBLIQUE, target, there.shape)
    inside = depth(image.shape, OBLIQUE, target, there.shape) >= 0
    assert inside.mean() > 0.3
    steps = np.linalg.norm((np.linalg.inv(OBLIQUE) @ target)[:3, :3], axis=1)
    assert steps.max() < 1  # nothing is smoothed
    np.testing.assert_allclose(result[inside], there[inside], atol=1e-5)


def test_beyond_the_other_image_there_is_nothing() -> None:
    image = np.full((4, 4, 1), 5.0, np.float32)
    affine, target = np.diag([2.0, 2.0, 8.0, 1.0]), np.eye(4)
    target[:3, 3] = (-3, 0, 0)
    result = resample_onto(image, affine, target, (14, 7, 6))
    # Voxel i of the new grid lies at i - 3 mm; the image reaches from -1 to 7 mm along the first
    # axis, and its only plane from -4 to 4 mm along the last.
    reached = (np.arange(14) - 3 >= -1) & (np.arange(14) - 3 <= 7)
    expected = np.where(reached[:, None, None] & (np.arange(6) <= 4), 5.0, 0.0)
    np.testing.assert_array_equal(result, np.broadcast_to(expected, (14, 7, 6)))


@pytest.mark.parametrize("offset, air", [(1.0, 0.0), (0.0, 0.0), (-1000.0, -1000.0)])
def test_what_lies_outside_is_air(rng, offset: float, air: float) -> None:
    """Of a CT it is not 0, which is water, but the smallest value."""
    image = rng.integers(1, 90, (4, 4, 4)).astype(np.float32)
    image[1, 1, 1] = 0
    image += np.float32(offset)
    target = np.eye(4)
    target[:3, 3] = -2
    result = resample_onto(image, np.eye(4), target, (8, 8, 8))
    expected = np.full((8, 8, 8), air, np.float32)
    expected[2:6, 2:6, 2:6] = image
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
def test_the_largest_values_stay_finite(interpolation: str) -> None:
    image = np.zeros((6, 6, 6), np.float32)
    image[2:4] = np.finfo(np.float32).max
    image[4] = np.finfo(np.float32).min
    target = np.diag([0.4, 0.4, 0.4, 1.0])
    result = resample_onto(image, np.eye(4), target, (14, 14, 14), interpolation=interpolation)
    assert np.isfinite(result).all() and result.max() > 1e38


def test_the_same_grid_changes_nothing(rng) -> None:
    image = blob((5, 4, 3), rng)
    # Not to the last digit the same, as two headers' float32 are not.
    result = resample_onto(image, OBLIQUE, OBLIQUE + 1e-7, image.shape)
    np.testing.assert_allclose(result, image, atol=1e-4)
    assert (result != 0).all()


@settings(max_examples=50)
@given(
    st.tuples(*[st.integers(1, 40)] * 3),
    st.tuples(*[st.floats(0.3, 6.0)] * 3),
    st.tuples(*[st.floats(0.3, 6.0)] * 3),
)
def test_the_new_grid_covers_the_old_one(shape, spacing, target) -> None:
    for n, old, m, new in zip(
        shape, spacing, resampled_shape(shape, spacing, target), target, strict=True
    ):
        assert m == 1 or abs(n * old - m * new) <= new / 2 + 1e-9


def test_a_ramp_stays_the_same_ramp() -> None:
    """The grids share their centre, whatever the sizes: a shift would show as an offset."""
    ramp = np.broadcast_to(np.arange(9.0)[:, None, None], (9, 2, 2)).astype(np.float32)
    for step, size in ((0.5, 18), (1.5, 6), (0.75, 12)):
        result = resample(ramp, (step, 1, 1), (size, 2, 2))[:, 0, 0]
        expected = 4 + (np.arange(size) - (size - 1) / 2) * step
        np.testing.assert_allclose(result, np.clip(expected, 0, 8), atol=1e-5)


def test_what_a_coarse_grid_cannot_hold_is_smoothed_away() -> None:
    fine = np.zeros((24, 3, 3), np.float32)
    fine[::2] = 1.0
    flat = resample(fine, (3, 1, 1), (8, 3, 3), smooth=True)[1:-1]
    np.testing.assert_allclose(flat, 0.5, atol=0.05)
    assert np.ptp(resample(fine, (3, 1, 1), (8, 3, 3))) == 1.0
    # Nothing is smoothed along the axes that keep their spacing, or get a finer one.
    np.testing.assert_array_equal(resample(fine, (1, 1, 1), fine.shape, smooth=True), fine)


def test_voxels_far_too_small_are_smoothed_over_a_bounded_reach(rng) -> None:
    """As a header in metres makes them; the kernel of a step of 10^30 would hold 10^30 weights."""
    array = rng.normal(size=(9, 8, 7)).astype(np.float32)
    expected = array.astype(np.float64)
    for axis in range(3):  # a kernel so wide is flat; it reaches 64 voxels beyond the border
        padded = np.pad(expected, [(64, 64) if k == axis else (0, 0) for k in range(3)], "edge")
        windows = np.lib.stride_tricks.sliding_window_view(padded, 129, axis)
        expected = windows.mean(axis=-1)
    centre = expected[4:5, 3:5, 3:4].mean()  # of the two nearest along an axis of 8
    for step in (1e6, 1e30):
        result = resample(array, (step,) * 3, (1, 1, 1), smooth=True)
        np.testing.assert_allclose(result, centre, atol=1e-6)


def test_planes_are_part_of_the_whole(rng) -> None:
    image = blob((6, 5, 4), rng)
    whole = resample(image, (0.4, 1.7, 1.0), (15, 3, 4))
    parts = [resample(image, (0.4, 1.7, 1.0), (15, 3, 4), planes=slice(i, i + 4)) for i in (0, 4)]
    np.testing.assert_allclose(np.concatenate(parts), whole[:8], atol=1e-6)
    last = resample(image, (0.4, 1.7, 1.0), (15, 3, 4), planes=slice(12, 99))
    np.testing.assert_allclose(last, whole[12:], atol=1e-6)


@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
def test_labels_are_never_mixed(interpolation: str) -> None:
    label = np.zeros((8, 8, 8), np.uint8)
    label[4:], label[:, 6:] = 9, 255
    for step in (0.5, 1.3, 2.0):
        size = (round(8 / step),) * 3
        result = resample_label(label, (step,) * 3, size, interpolation=interpolation)
        assert result.dtype == np.uint8 and result.shape == size
        assert set(np.unique(result)) == {0, 9, 255}


def test_a_coarse_label_is_that_of_most_voxels(rng) -> None:
    label = (rng.random((30, 30, 30)) < 0.7).astype(np.uint8)
    assert resample_label(label, (5, 5, 5), (6, 6, 6), interpolation="linear").mean() > 0.95
    nearest = resample_label(label, (5, 5, 5), (6, 6, 6), interpolation="nearest")
    np.testing.assert_array_equal(nearest, label[2::5, 2::5, 2::5])


@pytest.mark.parametrize("size", [23, 24, 25])
@pytest.mark.parametrize(
    "step", [(1.0,) * 3, (2.0,) * 3, (1.5, 1.0, 3.0), (0.7,) * 3, (0.5, 0.5, 4.0), (2.5, 1.2, 5.0)]
)
def test_an_annotated_plane_stays_a_plane(step, size):
    """On a coarser grid its neighbours, which nobody labelled, would outnumber it."""
    classes = np.zeros((size,) * 3, np.uint8)
    classes[:, 8:16] = 1
    shape = [max(1, round(size / s)) for s in step]
    for axis in range(3):
        for place in range(7, size - 7):
            label = np.full_like(classes, IGNORED)
            plane = (slice(None),) * axis + (place,)
            label[plane] = classes[plane]
            found = resample_label(label, step, shape, interpolation="linear")
            known = found != IGNORED
            planes = np.flatnonzero(known.any(axis=tuple({0, 1, 2} - {axis})))
            assert 1 <= len(planes) <= 1 + np.ceil(1 / step[axis])
            centre = (planes.mean() - (shape[axis] - 1) / 2) * step[axis] + (size - 1) / 2
            assert abs(centre - place) <= max(1.0, step[axis]) / 2 + 1e-6
            assert known.take(planes[0], axis).all()
            # And it is labelled as the dense map would be there, unless the classes change nearby.
            dense = resample_label(classes, step, shape, interpolation="linear")
            if axis != 1:
                assert np.mean(found[known] == dense[known]) > 0.9
    assert set(np.unique(dense)) == {0, 1}


def test_nothing_changes_where_all_is_labelled():
    rng = np.random.default_rng(5)
    label = rng.integers(0, 3, (9, 8, 7)).astype(np.uint8)
    found = resample_label(label, (1.3, 0.8, 1.0), (7, 10, 7), interpolation="linear")
    assert IGNORED not in found
