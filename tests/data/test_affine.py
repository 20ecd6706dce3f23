import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from invseg_jax.data.affine import affine_coordinates, affine_matrix, resample_affine

resample = jax.jit(resample_affine)
SHAPES = [(9, 12, 7), (8, 8, 8), (1, 10, 6)]


def matrix_of(angles, scale=(1.0, 1.0, 1.0), spacing=(1.0, 1.0, 1.0)):
    return affine_matrix(jnp.float32(np.array(angles)), jnp.float32(np.array(scale)), spacing)


def volume(shape, channels=2, seed=0):
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(*shape, channels)).astype(np.float32)
    return image, rng.integers(0, 4, shape).astype(np.int32)


def test_matrix_is_rx_ry_rz_then_magnification():
    angles, scale = [0.3, -0.7, 1.1], [0.8, 1.25, 2.0]
    expected = Rotation.from_euler("XYZ", angles).as_matrix() @ np.diag(1 / np.array(scale))
    np.testing.assert_allclose(matrix_of(angles, scale), expected, atol=1e-6)


def test_rotation_acts_in_mm_on_anisotropic_voxels():
    angles, spacing = [0.4, 0.2, -0.9], (3.0, 1.0, 0.5)
    to_mm = np.diag(spacing)
    rotation = Rotation.from_euler("XYZ", angles).as_matrix()
    expected = np.linalg.inv(to_mm) @ rotation @ to_mm
    np.testing.assert_allclose(matrix_of(angles, spacing=spacing), expected, atol=1e-6)


def test_no_rotation_and_unit_scale_are_the_exact_identity():
    spacing = (0.7, 3.1, 1.3)
    np.testing.assert_array_equal(matrix_of([0, 0, 0], spacing=spacing), np.eye(3))


@pytest.mark.parametrize("shape", SHAPES)
def test_identity_returns_the_input_bit_for_bit(shape):
    image, label = volume(shape)
    new_image, new_label = resample(image, label, jnp.eye(3, dtype=jnp.float32))
    np.testing.assert_array_equal(new_image, image)
    np.testing.assert_array_equal(new_label, label)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("channels", [1, 3])
def test_agrees_with_scipy_on_the_same_coordinates(shape, channels):
    image, label = volume(shape, channels)
    matrix = matrix_of([0.3, -0.2, 0.5], [0.9, 1.1, 1.3])
    where = np.stack([np.asarray(c) for c in affine_coordinates(matrix, shape)])
    centre = (np.array(shape) - 1) / 2
    offsets = np.indices(shape) - centre[:, None, None, None]
    by_product = np.einsum("ab,bdhw->adhw", np.asarray(matrix, np.float64), offsets)
    np.testing.assert_allclose(where, by_product + centre[:, None, None, None], atol=1e-5)

    new_image, new_label = resample(image, label, matrix)
    # Rounding may decide otherwise on a voxel boundary or on the border of the volume.
    limits = np.array(shape)[:, None, None, None] - 1
    clear = np.minimum(np.abs(where), np.abs(where - limits)).min(0) > 1e-4
    halves = np.abs(where - np.floor(where) - 0.5).min(0) > 1e-4
    for c in range(channels):
        expected = ndimage.map_coordinates(image[..., c], where, order=1, mode="constant")
        np.testing.assert_allclose(np.asarray(new_image)[clear, c], expected[clear], atol=1e-4)
    expected = ndimage.map_coordinates(label, where, order=0, mode="constant")
    sure = clear & halves
    np.testing.assert_array_equal(np.asarray(new_label)[sure], expected[sure])
    if min(shape) > 1:
        assert sure.mean() > 0.9 and 0.05 < (expected[sure] > 0).mean() < 0.95


def test_scale_magnifies():
    label = np.zeros((21, 21, 21), np.int32)
    label[8:13, 8:13, 8:13] = 1  # 5 voxels wide about the centre
    matrix = matrix_of([0, 0, 0], [2.0, 1.0, 1.0])
    _, larger = resample(label[..., None].astype(np.float32), label, matrix)
    depth, height, width = (np.asarray(larger).any(axis=a).sum() for a in [(1, 2), (0, 2), (0, 1)])
    assert (height, width) == (5, 5)
    assert depth in (9, 10, 11)


def test_a_quarter_turn_moves_the_second_axis_onto_the_third():
    image, label = volume((5, 9, 9), 1)
    new_image, _ = resample(image, label, matrix_of([np.pi / 2, 0, 0]))
    inner = np.s_[:, 1:-1, 1:-1]
    expected = np.rot90(image, 1, axes=(1, 2))
    other = np.rot90(image, -1, axes=(1, 2))
    # Coordinates in mm turn by +90 degrees: output (h, w) shows input (-w, h).
    np.testing.assert_allclose(np.asarray(new_image)[inner], other[inner], atol=1e-4)
    assert not np.allclose(expected[inner], other[inner], atol=0.1)
