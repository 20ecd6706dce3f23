import jax
import numpy as np
import pytest
from scipy import ndimage

from invseg_jax.data.augment.elastic import control_points, displacement, spline_matrix


@pytest.mark.parametrize("size", [1, 2, 33, 40, 56, 65, 66])
@pytest.mark.parametrize("spacing", [32.0, 5.5])
def test_control_points_reach_around_the_patch(size, spacing):
    points = control_points(size, spacing)
    assert len(points) >= 2
    np.testing.assert_allclose(np.diff(points), spacing)
    assert points[0] <= 0 and points[-1] >= size - 1
    assert max(-points[0], points[-1] - (size - 1)) < max(spacing, 1.0)
    np.testing.assert_allclose(points + points[::-1], size - 1)


@pytest.mark.parametrize("shape", [(40, 56, 40), (33, 7, 70), (1, 20, 1)])
def test_the_field_is_scipys_cubic_b_spline_through_the_drawn_vectors(shape):
    spacing, sigma, key = 32.0, 4.0, jax.random.key(5)
    field = np.asarray(displacement(key, shape, spacing, sigma))
    points = [control_points(size, spacing) for size in shape]
    drawn = sigma * np.asarray(jax.random.normal(key, (*map(len, points), 3), np.float32))
    # ndimage counts in control points, from the first one.
    voxels = np.meshgrid(
        *((np.arange(n) - p[0]) / spacing for n, p in zip(shape, points, strict=True)),
        indexing="ij",
    )
    assert field.shape == (*shape, 3) and field.dtype == np.float32
    for axis in range(3):
        expected = ndimage.map_coordinates(
            drawn[..., axis].astype(np.float64), voxels, order=3, mode="mirror"
        )
        np.testing.assert_allclose(field[..., axis], expected, atol=1e-4)


def test_it_passes_through_what_was_drawn_at_the_control_points():
    matrix = spline_matrix(65, 32.0)  # control points at voxels 0, 32 and 64
    np.testing.assert_allclose(matrix[[0, 32, 64]], np.eye(3), atol=1e-6)


def test_a_constant_stays_constant():
    for size in (1, 2, 40, 100):
        np.testing.assert_allclose(spline_matrix(size, 32.0).sum(axis=1), 1, atol=1e-6)


def test_displacements_have_the_standard_deviation_asked_for():
    many = jax.vmap(lambda key: displacement(key, (33, 33, 33), 32.0, 4.0))
    field = np.asarray(many(jax.random.split(jax.random.key(0), 300)))
    corners = field[:, ::32, ::32, ::32]  # here are the control points
    assert abs(corners.std() - 4.0) < 0.15 and abs(corners.mean()) < 0.15
    neighbours = np.abs(np.diff(field, axis=1)).max()
    assert neighbours < 2.0  # smooth: no fold from one voxel to the next
