import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from invseg_jax.layers.branch import ResidualBranch, dropout_mask


def random(shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def test_dropout_zeroes_whole_channels_and_scales_the_others():
    mask = np.asarray(dropout_mask(2, 50, 0.2, jax.random.key(0)))
    assert mask.shape == (2, 50)
    assert 0 < (mask == 0).sum() < 50
    assert (mask[0] != mask[1]).any()
    np.testing.assert_allclose(mask[mask > 0], 1 / 0.8, rtol=1e-6)


def test_dropout_keeps_the_mean():
    mask = dropout_mask(1, 20_000, 0.3, jax.random.key(1))
    np.testing.assert_allclose(mask.mean(), 1.0, atol=0.02)


def test_the_same_key_gives_the_same_mask():
    first = dropout_mask(2, 16, 0.5, jax.random.key(0))
    np.testing.assert_array_equal(dropout_mask(2, 16, 0.5, jax.random.key(0)), first)
    assert (dropout_mask(2, 16, 0.5, jax.random.key(1)) != first).any()


def test_without_a_key_or_a_rate_nothing_is_dropped():
    np.testing.assert_array_equal(dropout_mask(2, 3, 0.5, None), np.ones((2, 3)))
    np.testing.assert_array_equal(dropout_mask(2, 3, 0.0, jax.random.key(0)), np.ones((2, 3)))


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


def test_dropout_in_the_branch_needs_a_rate_and_a_key():
    x, keys = random((1, 2, 2, 2, 8)), [jax.random.key(i) for i in range(2)]
    without = jax.jit(ResidualBranch(8, 8, rngs=nnx.Rngs(0)).__call__)
    branch = jax.jit(ResidualBranch(8, 8, dropout=0.5, rngs=nnx.Rngs(0)).__call__)
    np.testing.assert_array_equal(without(x, keys[0]), without(x))
    np.testing.assert_array_equal(branch(x), without(x))
    np.testing.assert_array_equal(branch(x, keys[0]), branch(x, keys[0]))
    assert (branch(x, keys[0]) != branch(x)).any()
    assert (branch(x, keys[0]) != branch(x, keys[1])).any()
