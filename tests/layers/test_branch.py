import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from invseg_jax.layers.branch import ResidualBranch, dropout


def random(shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def test_dropout_zeroes_whole_channels_and_scales_the_others():
    x = random((2, 3, 2, 4, 50))
    y = np.asarray(dropout(x, 0.2, jax.random.key(0)))
    dropped = (y == 0).all(axis=(1, 2, 3))
    assert 0 < dropped.sum() < 50
    assert (dropped[0] != dropped[1]).any()
    kept = np.broadcast_to(~dropped[:, None, None, None, :], y.shape)
    np.testing.assert_allclose(y[kept], np.asarray(x)[kept] / 0.8, rtol=1e-6)


def test_dropout_keeps_the_mean():
    y = dropout(jnp.ones((1, 1, 1, 1, 20_000)), 0.3, jax.random.key(1))
    np.testing.assert_allclose(y.mean(), 1.0, atol=0.02)


def test_the_same_key_gives_the_same_mask():
    x = random((2, 2, 2, 2, 16))
    first = dropout(x, 0.5, jax.random.key(0))
    np.testing.assert_array_equal(dropout(x, 0.5, jax.random.key(0)), first)
    assert (dropout(x, 0.5, jax.random.key(1)) != first).any()


def test_dropout_keeps_the_type():
    x = random((1, 1, 1, 1, 4)).astype(jnp.bfloat16)
    assert dropout(x, 0.5, jax.random.key(0)).dtype == jnp.bfloat16


@pytest.mark.parametrize("convolutions", [1, 2])
def test_branch_is_norm_activation_convolution(assert_close, convolutions):
    branch = ResidualBranch(3, 2, convolutions=convolutions, groups=1, rngs=nnx.Rngs(0))
    x = random((2, 3, 1, 4, 3))
    expected = x
    for norm, conv in zip(branch.norms, branch.convs, strict=True):
        normal = norm(expected)
        expected = conv(jnp.where(normal > 0, normal, 0.01 * normal))
    assert len(branch.convs) == convolutions and expected.shape == (2, 3, 1, 4, 2)
    assert_close(branch(x), expected)


def test_scale_is_of_the_last_convolution_alone(assert_close):
    whole = ResidualBranch(2, 2, convolutions=2, rngs=nnx.Rngs(0))
    small = ResidualBranch(2, 2, convolutions=2, scale=0.25, rngs=nnx.Rngs(0))
    np.testing.assert_array_equal(small.convs[0].kernel[...], whole.convs[0].kernel[...])
    x = random((1, 2, 3, 2, 2))
    assert_close(small(x), 0.25 * whole(x))


def test_dropout_in_the_branch_needs_a_rate_and_a_key(once):
    x, keys = random((1, 2, 2, 2, 8)), [jax.random.key(i) for i in range(2)]
    without = once(ResidualBranch(8, 8, rngs=nnx.Rngs(0)).__call__)
    branch = once(ResidualBranch(8, 8, dropout=0.5, rngs=nnx.Rngs(0)).__call__)
    np.testing.assert_array_equal(without(x, keys[0]), without(x))
    np.testing.assert_array_equal(branch(x), without(x))
    np.testing.assert_array_equal(branch(x, keys[0]), branch(x, keys[0]))
    assert (branch(x, keys[0]) != branch(x)).any()
    assert (branch(x, keys[0]) != branch(x, keys[1])).any()
