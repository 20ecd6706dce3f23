import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invseg_jax.reversible import Orthogonal, cayley, learned_down, learned_up


def random(shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def rotations(groups, size, seed=0):
    """Orthogonal matrices, (groups, size, size)."""
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(groups, size, size)))
    return jnp.asarray(q, jnp.float32)


@settings(max_examples=10)
@given(shape=st.sampled_from([(1, 1), (1, 5), (3, 8)]), seed=st.integers(0, 2**16))
def test_cayley_is_a_rotation(shape, seed):
    groups, size = shape
    weights = random((groups, size, size), seed)
    q = np.asarray(cayley(weights), np.float64)
    skew = np.asarray(weights, np.float64)
    skew = skew - skew.swapaxes(1, 2)
    identity = np.eye(size)
    np.testing.assert_allclose(q, np.linalg.inv(identity + skew) @ (identity - skew), atol=2e-5)
    np.testing.assert_allclose(q @ q.swapaxes(1, 2), np.tile(identity, (groups, 1, 1)), atol=2e-6)
    np.testing.assert_allclose(np.linalg.det(q), 1.0, atol=1e-5)


def test_cayley_of_zero_is_the_identity():
    np.testing.assert_array_equal(cayley(jnp.zeros((4, 4))), np.eye(4))


@settings(max_examples=8)
@given(
    groups=st.integers(1, 3),
    size=st.integers(1, 4),
    shape=st.tuples(*[st.integers(1, 3)] * 4),
    seed=st.integers(0, 2**16),
)
def test_inverse_and_pullback_fit_forward(check_layer, groups, size, shape, seed):
    layer, x = Orthogonal(lambda q: q), random((*shape, groups * size), seed + 1)
    check_layer(layer, rotations(groups, size, seed), x)


def test_pullback_goes_through_the_parametrisation(check_layer):
    check_layer(Orthogonal(cayley), random((2, 3, 3)), random((2, 1, 3, 2, 6), 1))


def test_groups_are_a_block_diagonal_matrix():
    q, x = cayley(random((2, 3, 3))), random((2, 1, 3, 2, 6))
    blocks = np.zeros((6, 6))
    blocks[:3, :3], blocks[3:, 3:] = q[0], q[1]
    y, _ = Orthogonal(lambda q: q).forward(q, x)
    np.testing.assert_allclose(y, np.asarray(x) @ blocks, atol=1e-5)


@pytest.mark.parametrize(("factor", "channels"), [((2, 2, 2), 1), ((1, 2, 3), 3)])
def test_learned_resampling(check_layer, factor, channels):
    a, b, e = factor
    block = a * b * e
    weights = random((channels, block, block))
    fine = random((2, 2 * a, b, 2 * e, channels), 1)
    coarse = random((2, 2, 1, 2, channels * block), 2)
    down, up = learned_down(cayley, factor), learned_up(cayley, factor)
    assert down.forward(((), weights), fine)[0].shape == coarse.shape
    assert up.forward((weights, ()), coarse)[0].shape == fine.shape
    check_layer(down, ((), weights), fine)
    check_layer(up, (weights, ()), coarse)


def test_learned_resampling_keeps_every_block_s_length():
    weights, x = random((2, 8, 8)), random((1, 4, 2, 2, 2), 1)
    y, _ = learned_down(cayley).forward(((), weights), x)
    lengths = np.square(x.reshape(2, 2, 2, 2, 2)).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(np.square(y.reshape(2, 2, 8)).sum(axis=-1), lengths, rtol=1e-5)


def test_up_with_the_transposes_undoes_down():
    weights, x = random((1, 8, 8)), random((1, 2, 2, 4, 1), 1)
    y, _ = learned_down(cayley).forward(((), weights), x)
    # The Cayley transform of -W is the transpose of that of W.
    back, _ = learned_up(cayley).forward((-weights, ()), y)
    np.testing.assert_allclose(back, x, atol=1e-5)


def test_wrong_channels_are_named():
    layer, weights = Orthogonal(cayley), random((2, 3, 3))
    with pytest.raises(ValueError, match=r"^orthogonal: 5 channels, but 2 matrices of size 3$"):
        layer.forward(weights, random((1, 1, 1, 1, 5)))
