import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from invseg_jax.data.augment.affine import affine_matrix
from invseg_jax.data.augment.elastic import displacement
from invseg_jax.data.augment.resample import resample, source_coordinates
from invseg_jax.data.layouts.case import IGNORED

EYE = jnp.eye(3, dtype=jnp.float32)


def matrix_of(angles, scale=(1.0, 1.0, 1.0)):
    return affine_matrix(jnp.float32(np.array(angles)), jnp.float32(np.array(scale)), (1, 1, 1))


def volume(shape, channels=2, seed=0):
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(*shape, channels)).astype(np.float32)
    return image, rng.choice([0, 1, 2, IGNORED], shape).astype(np.int32)


@jax.jit
def resampled(image, label, matrix, moved=None):
    coordinates = source_coordinates(matrix, moved, label.shape)
    return *resample(image, label, coordinates), jnp.stack(coordinates)


@pytest.mark.parametrize("shape", [(9, 12, 7), (1, 10, 6), (1, 1, 1)])
def test_identity_returns_the_input_bit_for_bit(shape):
    image, label = volume(shape)
    for moved in (None, np.zeros((*shape, 3), np.float32)):
        new_image, new_label, _ = resampled(image, label, EYE, moved)
        np.testing.assert_array_equal(new_image, image)
        np.testing.assert_array_equal(new_label, label)


@pytest.mark.parametrize("shape, channels", [((9, 12, 7), 2), ((8, 8, 8), 1), ((1, 10, 6), 3)])
@pytest.mark.parametrize("map_, sigma", [("rotated", 0.0), ("straight", 1.5), ("rotated", 1.5)])
def test_agrees_with_scipy_on_the_same_coordinates(shape, channels, map_, sigma):
    image, label = volume(shape, channels)
    rotated = matrix_of([0.3, -0.2, 0.5], [0.9, 1.1, 1.3])
    matrix = rotated if map_ == "rotated" else EYE
    moved = displacement(jax.random.key(1), shape, 4.0, sigma) if sigma else None
    new_image, new_label, where = map(np.asarray, resampled(image, label, matrix, moved))

    centre = ((np.array(shape) - 1) / 2)[:, None, None, None]
    offsets = np.indices(shape) - centre
    if moved is not None:
        offsets += np.moveaxis(np.asarray(moved, np.float64), -1, 0)
    thin = np.array(shape)[:, None, None, None] == 1
    offsets = np.where(thin, 0, offsets)
    by_product = np.einsum("ab,bdhw->adhw", np.asarray(matrix, np.float64), offsets) + centre
    np.testing.assert_allclose(where, np.where(thin, 0, by_product), atol=1e-5)

    # Rounding may decide otherwise on a voxel boundary or on the border of the volume.
    limits = np.array(shape)[:, None, None, None] - 1
    near = np.minimum(np.abs(where), np.abs(where - limits))
    clear = np.where(thin, 1, near).min(0) > 1e-4
    halves = np.abs(where - np.floor(where) - 0.5).min(0) > 1e-4
    for c in range(channels):
        expected = ndimage.map_coordinates(image[..., c], where, order=1, mode="constant")
        np.testing.assert_allclose(new_image[clear, c], expected[clear], atol=1e-4)
    expected = ndimage.map_coordinates(label, where, order=0, mode="constant", cval=IGNORED)
    sure = clear & halves
    np.testing.assert_array_equal(new_label[sure], expected[sure])
    assert sure.mean() > 0.9 and 0.05 < (expected[sure] > 0).mean() < 0.95


def test_from_beyond_a_patch_comes_background_or_where_voxels_are_unlabelled_such_a_voxel():
    image, label = np.ones((6, 6, 6, 1), np.float32), np.ones((6, 6, 6), np.int32)
    smaller = matrix_of([0, 0, 0], [0.7, 0.7, 0.7])
    shown, dense, _ = resampled(image, label, smaller)
    seen = np.asarray(shown[..., 0]) == 1
    assert 0.1 < seen.mean() < 0.5
    np.testing.assert_array_equal(dense, np.where(seen, 1, 0))

    label[0, 0, 0] = IGNORED
    sparse = np.asarray(resampled(image, label, smaller)[1])
    assert (sparse[~seen] == IGNORED).all() and (sparse[seen] == 1).sum() >= seen.sum() - 1


def test_a_single_slice_stays_in_its_plane():
    image, label = volume((1, 12, 10), 1)
    moved = displacement(jax.random.key(0), label.shape, 4.0, 2.0)
    tilted = matrix_of([0.0, 0.4, -0.3])
    _, new_label, where = map(np.asarray, resampled(image, label, tilted, moved))
    np.testing.assert_array_equal(where[0], 0)
    inside = ((where >= 0) & (where <= np.array([0, 11, 9])[:, None, None, None])).all(0)
    nearest = np.floor(where + 0.5).astype(int)
    np.testing.assert_array_equal(new_label[inside], label[tuple(axis[inside] for axis in nearest)])
    assert inside.mean() > 0.5


def test_scale_magnifies():
    label = np.zeros((21, 21, 21), np.int32)
    label[8:13, 8:13, 8:13] = 1  # 5 voxels wide about the centre
    matrix = matrix_of([0, 0, 0], [2.0, 1.0, 1.0])
    _, larger, _ = resampled(label[..., None].astype(np.float32), label, matrix)
    depth, height, width = (np.asarray(larger).any(axis=a).sum() for a in [(1, 2), (0, 2), (0, 1)])
    assert (height, width) == (5, 5)
    assert depth in (9, 10, 11)


def test_a_quarter_turn_moves_the_second_axis_onto_the_third():
    image, label = volume((5, 9, 9), 1)
    new_image, *_ = resampled(image, label, matrix_of([np.pi / 2, 0, 0]))
    inner = np.s_[:, 1:-1, 1:-1]
    expected = np.rot90(image, 1, axes=(1, 2))
    other = np.rot90(image, -1, axes=(1, 2))
    # Coordinates in mm turn by +90 degrees: output (h, w) shows input (-w, h).
    np.testing.assert_allclose(np.asarray(new_image)[inner], other[inner], atol=1e-4)
    assert not np.allclose(expected[inner], other[inner], atol=0.1)


@pytest.mark.parametrize("shape", [(6, 7, 5), (1, 4, 4)])
def test_the_mirroring_matrix_mirrors_bit_for_bit(shape):
    image, label = volume(shape)
    mirror = jnp.diag(jnp.float32(np.array([-1, 1, -1])))
    new_image, new_label, _ = resampled(image, label, mirror)
    np.testing.assert_array_equal(new_image, image[::-1, :, ::-1])
    np.testing.assert_array_equal(new_label, label[::-1, :, ::-1])
