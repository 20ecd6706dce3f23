"""Four mirror images of a slice, and their mean."""

import jax.numpy as jnp
import numpy as np

from invseg_jax.interactive.mirrors import mean_of, mirrored


def test_mirror_images_come_back_as_they_were():
    x = jnp.asarray(np.random.default_rng(0).random((6, 6, 3)), jnp.float32)
    views = mirrored(x)
    assert views.shape == (4, 6, 6, 3)
    assert len({np.asarray(view).tobytes() for view in views}) == 4
    np.testing.assert_allclose(mean_of(views[..., 0]), x[..., 0], rtol=1e-6)


def test_channels_of_places_stay():
    x = jnp.arange(2 * 2 * 3, dtype=jnp.float32).reshape(2, 2, 3)
    views = np.asarray(mirrored(x, fixed=1))
    assert all(np.array_equal(view[..., 2], x[..., 2]) for view in views)
    assert np.array_equal(views[1][..., :2], np.asarray(x)[::-1, :, :2])
    assert np.array_equal(views[2][..., :2], np.asarray(x)[:, ::-1, :2])
