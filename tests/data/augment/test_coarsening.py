from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from invseg_jax.data.augment.coarsening import blur_matrix, low_resolution_matrix
from invseg_jax.data.augment.separable import along_axes

SHAPES = [(12, 9, 7), (1, 2, 40)]


def volume(shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def applied(matrix, strength, image):
    @jax.jit
    def apply(strength, image):
        return along_axes([matrix(strength, size) for size in image.shape], image[..., None])

    return np.asarray(apply(np.float32(strength), image))[..., 0]


def test_along_axes_is_a_product_along_each_axis():
    rng = np.random.default_rng(1)
    matrices = [rng.normal(size=shape).astype(np.float32) for shape in ((4, 3), (2, 5), (6, 2))]
    array = rng.normal(size=(3, 5, 2, 2)).astype(np.float32)
    expected = array
    for axis, matrix in enumerate(matrices):
        expected = np.moveaxis(np.tensordot(matrix, expected, (1, axis)), 0, axis)
    np.testing.assert_allclose(along_axes(matrices, jnp.asarray(array)), expected, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("deviation", [0.4, 1.0])
def test_blur_is_scipys(shape, deviation):
    image = volume(shape)
    expected = ndimage.gaussian_filter(
        image.astype(np.float64), deviation, mode="reflect", truncate=9.0
    )
    np.testing.assert_allclose(applied(blur_matrix, deviation, image), expected, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("zoom", [0.5, 0.61, 0.9, 0.01])
def test_low_resolution_is_scipys_zoom_there_and_back(shape, zoom):
    image = volume(shape)
    kept = [max(round(np.float32(zoom) * np.float32(n)), 1) for n in shape]
    settings: Any = {"mode": "nearest", "grid_mode": True}
    coarse = ndimage.zoom(image, np.divide(kept, shape), order=0, **settings)
    assert coarse.shape == tuple(kept)
    expected = np.asarray(ndimage.zoom(coarse, np.divide(shape, kept), order=1, **settings))
    result = applied(low_resolution_matrix, zoom, image)
    np.testing.assert_allclose(result, expected, atol=1e-4)
    if zoom == 0.01:  # one voxel is left
        np.testing.assert_allclose(result, np.full(shape, result.flat[0]), atol=1e-6)


@pytest.mark.parametrize("size", [1, 2, 7, 40])
@pytest.mark.parametrize("matrix, identity", [(blur_matrix, 0.0), (low_resolution_matrix, 1.0)])
def test_at_zero_strength_they_are_the_exact_identity(matrix, identity, size):
    made = jax.jit(matrix, static_argnums=1)(np.float32(identity), size)
    np.testing.assert_array_equal(made, np.eye(size))


@pytest.mark.parametrize("size", [1, 3, 40])
def test_a_constant_stays_constant(size):
    for matrix, strengths in (
        (blur_matrix, (0.0, 0.7, 3.0)),
        (low_resolution_matrix, (0.1, 0.6)),
    ):
        for strength in strengths:
            made = np.asarray(matrix(jnp.float32(strength), size))
            assert (made >= 0).all()
            np.testing.assert_allclose(made.sum(axis=1), 1, atol=1e-6)
