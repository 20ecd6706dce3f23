"""Slices between, and beyond, the marked ones."""

from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from scipy import ndimage

from invseg_jax.data.volumes.nifti import read_volume
from invseg_jax.errors import UserError
from invseg_jax.interactive.interpolation import interpolate


def disc(radius: float, spacing=(1.0, 1.0), centre=(32.0, 32.0), size: int = 64) -> np.ndarray:
    """All voxels within `radius` mm; the centre in mm."""
    rows, columns = np.mgrid[:size, :size]
    squared = (rows * spacing[0] - centre[0]) ** 2 + (columns * spacing[1] - centre[1]) ** 2
    return squared <= radius**2


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.5, 0.5), (0.5, 1.0)])
def test_between_two_discs_the_radius_is_interpolated(spacing):
    size, centre = 128, (32.0, 32.0 if spacing[1] == 0.5 else 64.0)
    if spacing == (1.0, 1.0):
        centre = (64.0, 64.0)
    marked = {z: disc(r, spacing, centre, size) for z, r in ((2, 24), (10, 8))}
    found = interpolate(marked, 13, (3.0, *spacing))
    for z in range(3, 10):
        wanted = disc(24 - 2 * (z - 2), spacing, centre, size)
        edge = wanted ^ ndimage.binary_erosion(wanted)
        assert (found[z] ^ wanted).sum() < 0.6 * edge.sum(), z


def test_beyond_the_marked_slices_it_shrinks_and_ends():
    found = interpolate({5: disc(10)}, 30, (2.0, 1.0, 1.0), shrink=0.5)
    areas = found.sum((1, 2))
    radii = np.sqrt(areas / np.pi)
    np.testing.assert_allclose(radii[5:13], 10 - np.arange(8), atol=0.7)
    assert not found[16:].any()
    assert np.array_equal(found[:5], found[6:11][::-1])  # alike on both sides


def test_without_shrinking_a_slice_is_repeated():
    mask = disc(10) | disc(6, centre=(50, 20))
    assert np.array_equal(interpolate({3: mask}, 9, (5, 1, 1), shrink=0), np.stack([mask] * 9))


def test_an_empty_slice_ends_the_object():
    empty = np.zeros((64, 64), bool)
    open_end = interpolate({2: disc(10)}, 12, (1, 1, 1))
    found = interpolate({2: disc(10), 5: empty}, 12, (1, 1, 1))
    assert np.array_equal(found[:5], open_end[:5])
    assert open_end[5].any() and not found[5:].any()
    assert not interpolate({0: empty, 4: empty}, 12, (1, 1, 1)).any()


MASKS = st.integers(0, 2**32 - 1).map(
    lambda seed: (
        ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(24, 20)), 2) > 0.05
    )
)


@settings(max_examples=40)
@given(st.dictionaries(st.integers(0, 8), MASKS, min_size=1, max_size=4))
def test_marked_slices_stay_and_mirrored_volumes_give_mirrored_objects(marked):
    spacing = (2.0, 0.7, 1.1)
    found = interpolate(marked, 9, spacing)
    for number, mask in marked.items():
        assert np.array_equal(found[number], mask)
    turned = interpolate({8 - z: mask[:, ::-1] for z, mask in marked.items()}, 9, spacing)
    assert np.array_equal(turned[::-1, :, ::-1], found)


@given(MASKS, MASKS)
@settings(max_examples=20)
def test_what_is_in_both_slices_is_in_all_between(one, other):
    found = interpolate({0: one, 5: other}, 6, (1, 1, 1))
    assert (found[:, one & other]).all()
    assert not found[:, ~(one | other)].any()


@pytest.mark.parametrize(
    ("marked", "message"),
    [
        ({}, "no slice is marked"),
        ({9: disc(3)}, "slice 9 is marked, and the volume has slices 0 to 8"),
        ({-1: disc(3)}, "slice -1 is marked"),
        ({0: disc(3), 2: disc(3, size=32)}, "several shapes"),
    ],
)
def test_what_cannot_be_interpolated_is_refused(marked, message):
    with pytest.raises(UserError) as error:
        interpolate(marked, 9, (1, 1, 1))
    assert message in str(error.value)


def test_tumours_from_one_to_six_slices(sarcoma: Path):
    """First the largest slice, then always the one with the most wrong voxels; mean Dice."""
    curves = []
    for file in sorted(sarcoma.glob("STS_*/tumour.nii.gz")):
        volume = read_volume(file)
        truth = np.moveaxis(volume.channels[..., 0] > 0, 2, 0)
        rows, columns, depth = volume.spacing
        number, marked, curve = int(truth.sum((1, 2)).argmax()), {}, []
        for _ in range(6):
            marked[number] = truth[number]
            found = interpolate(marked, len(truth), (depth, rows, columns))
            curve.append(2 * (found & truth).sum() / (found.sum() + truth.sum()))
            number = int((found != truth).sum((1, 2)).argmax())
        curves.append(curve)
    mean = np.mean(curves, axis=0)  # 0.686 0.827 0.898 0.922 0.938 0.948 of 37 subjects
    assert (np.diff(mean) > 0).all()
    assert (mean > [0.65, 0.80, 0.87, 0.90, 0.92, 0.93]).all()
