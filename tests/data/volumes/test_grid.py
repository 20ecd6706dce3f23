"""Two volumes have their voxels in the same places, or not; reorientation is nibabel's."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from invseg_jax.data.volumes.grid import Grid
from tests.nifti_bytes import affine as straight

SHAPE = (5, 4, 3)
# Oblique, and of three different spacings.
AFFINE = np.array(
    [[1.9, 0.2, -0.1, 7.0], [-0.25, 1.4, 0.3, -20.0], [0.1, -0.2, 3.1, 4.0], [0, 0, 0, 1.0]]
)


def grid(affine: np.ndarray, shape: tuple[int, ...] = SHAPE, oriented: bool = True) -> Grid:
    return Grid(Path("volume.nii"), shape, affine, oriented)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_however_the_other_is_stored_its_array_is_brought_along(scale: float) -> None:
    rng = np.random.default_rng(0)
    array = rng.integers(0, 99, SHAPE).astype(np.int16)
    place = AFFINE.copy()
    place[:3] *= scale
    for order in permutations(range(3)):
        for signs in product((1, -1), repeat=3):
            turned = nib.Nifti2Image(array, place).as_reoriented(
                np.array([order, signs]).T.tolist()
            )
            stored = np.asarray(turned.dataobj)
            axes = grid(place).axes_of(grid(np.array(turned.affine), stored.shape))
            assert axes is not None, (order, signs)
            np.testing.assert_array_equal(axes.bring(stored), array)
            assert grid(place).differs(grid(np.array(turned.affine), stored.shape)) is None


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("spacing", [0.004, 0.02, 1.0, 5.0])
def test_the_tolerance_is_a_tenth_of_a_voxel(spacing: float, axis: int) -> None:
    here = straight((spacing,) * 3, (3, 3, 3))
    for voxels, same in ((0.03, True), (0.09, True), (0.11, False), (1.0, False), (4.0, False)):
        moved = here.copy()
        moved[axis, 3] += voxels * spacing
        fault = grid(here).differs(grid(moved))
        assert (fault is None) is same, voxels
        if fault is not None:
            assert f"put a corner {voxels * spacing:.3g} mm apart" in fault


def test_what_grows_over_the_volume_is_found_at_its_far_corner() -> None:
    here, shape = straight((1, 1, 1)), (200, 4, 3)
    stretched = straight((1.0004, 1, 1))
    assert grid(here, shape).differs(grid(stretched, shape)) is None  # 0.08 mm after 199 voxels
    stretched = straight((1.0006, 1, 1))
    assert "0.119 mm apart" in str(grid(here, shape).differs(grid(stretched, shape)))


def test_how_far_apart_volumes_stored_along_other_axes_are() -> None:
    """The distance of one place from the other, not of the first voxels in the files."""
    for order in permutations(range(3)):
        for signs in product((1, -1), repeat=3):
            turned = nib.Nifti2Image(np.zeros(SHAPE, np.uint8), AFFINE).as_reoriented(
                np.array([order, signs]).T.tolist()
            )
            moved = np.array(turned.affine)
            moved[:3, 3] += AFFINE[:3, 1] / 2
            fault = str(grid(AFFINE).differs(grid(moved, turned.shape)))
            distance = np.linalg.norm(AFFINE[:3, 1]) / 2
            assert fault.startswith(f"the affines put a corner {distance:.3g} mm apart")


def test_spacings_are_compared_along_an_axis_of_a_single_voxel() -> None:
    here, shape = straight((1, 1, 5)), (6, 5, 1)
    assert grid(here, shape).differs(grid(straight((1, 1, 4.9)), shape)) is None
    for thickness in (4.0, 1.0):
        fault = str(grid(here, shape).differs(grid(straight((1, 1, thickness)), shape)))
        assert fault.startswith("spacings differ: 1 x 1 x 5 mm in ")
        assert f"1 x 1 x {thickness:g} mm in " in fault


def test_mirrored_about_another_centre_is_another_place() -> None:
    here = straight((0.5, 0.5, 0.5), (-5.5, 0, 0))
    mirrored = straight((0.5, 0.5, 0.5), (6.5, 0, 0), (-1, 1, 1))
    assert "mm apart" in str(grid(here, (24, 4, 3)).differs(grid(mirrored, (24, 4, 3))))
    # About its own centre it is the same lattice, counted from the other end.
    mirrored[0, 3] = -5.5 + 23 * 0.5
    axes = grid(here, (24, 4, 3)).axes_of(grid(mirrored, (24, 4, 3)))
    assert axes is not None and axes.reversed == (True, False, False)


@pytest.mark.parametrize("oriented", [(False, True), (True, False), (False, False)])
def test_without_a_place_shapes_and_spacings_are_compared(oriented: tuple[bool, bool]) -> None:
    one, other = oriented
    here = straight((1, 1, 3))
    elsewhere = straight((1, 1, 3), (50, 0, 0), (-1, 1, 1))
    assert grid(here, oriented=one).differs(grid(elsewhere, oriented=other)) is None
    thin = straight((1, 1, 1))
    fault = grid(here, oriented=one).differs(grid(thin, oriented=other))
    assert "spacings differ: 1 x 1 x 3 mm in volume.nii, 1 x 1 x 1 mm" in str(fault)
    rounded = straight((1, 1, 3.02))
    assert grid(here, oriented=one).differs(grid(rounded, oriented=other)) is None
    fault = grid(here, oriented=one).differs(grid(here, (4, 5, 3), oriented=other))
    assert "shapes differ: (5, 4, 3)" in str(fault)


def test_a_turned_lattice_is_another_one() -> None:
    angle = np.deg2rad(30)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    assert grid(AFFINE).axes_of(grid(turn @ AFFINE)) is None
    assert "mm apart" in str(grid(AFFINE).differs(grid(turn @ AFFINE)))
    # Half the spacing and twice the voxels cover the same, and are not the same voxels.
    finer = AFFINE @ np.diag([0.5, 1, 1, 1])
    assert "shapes differ" in str(grid(AFFINE).differs(grid(finer, (10, 4, 3))))
