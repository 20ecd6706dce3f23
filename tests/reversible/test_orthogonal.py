import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invseg_jax.reversible import (
    FixedPoint,
    Orthogonal,
    StraightThrough,
    learned_down,
    learned_up,
    partition,
    rotation,
)


def random(shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def turns_of(groups, size, count, seed=0):
    parts = [partition(size, turn) for turn in range(count)]
    return [random((groups, len(a), len(b)), seed + i) for i, (a, b) in enumerate(parts)]


def same(params):
    return params


def test_partitions_of_a_squeezed_voxel_are_the_axes_of_space():
    # Channel p holds position p of the block, counted in depth, height, width order.
    front, behind = partition(8, 0)
    assert (front, behind) == ((0, 1, 2, 3), (4, 5, 6, 7))
    assert partition(8, 1) == ((0, 1, 4, 5), (2, 3, 6, 7))
    assert partition(8, 2) == ((0, 2, 4, 6), (1, 3, 5, 7))


@given(size=st.integers(2, 40), turn=st.integers(0, 4))
def test_partitions_part_all_channels(size, turn):
    first, second = partition(size, turn)
    assert first and second
    assert sorted(first + second) == list(range(size))


@settings(max_examples=10)
@given(
    groups=st.integers(1, 3),
    size=st.integers(2, 9),
    count=st.integers(1, 3),
    seed=st.integers(0, 2**16),
)
def test_the_shears_make_the_cayley_transform(groups, size, count, seed):
    turns = turns_of(groups, size, count, seed)
    expected = np.tile(np.eye(size), (groups, 1, 1))
    for i, k in enumerate(np.asarray(turn, np.float64) for turn in turns):
        first, second = (list(part) for part in partition(size, i))
        skew = np.zeros((groups, size, size))
        skew[np.ix_(range(groups), first, second)] = k
        skew -= skew.swapaxes(1, 2)
        identity = np.eye(size)
        cayley = np.linalg.inv(identity + skew) @ (identity - skew)
        expected = expected @ cayley.swapaxes(1, 2)
    q = np.asarray(rotation(turns), np.float64)
    np.testing.assert_allclose(q, expected, atol=1e-4)
    np.testing.assert_allclose(
        q @ q.swapaxes(1, 2), np.tile(np.eye(size), (groups, 1, 1)), atol=1e-4
    )


def test_one_turn_of_two_channels_is_a_rotation_by_an_angle():
    angle = 0.7
    q = rotation([jnp.full((1, 1, 1), np.tan(angle / 2), jnp.float32)])
    expected = [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]
    np.testing.assert_allclose(q[0], expected, atol=1e-6)


@settings(max_examples=6)
@given(
    groups=st.integers(1, 3),
    size=st.integers(2, 4),
    shape=st.tuples(*[st.integers(1, 3)] * 4),
    seed=st.integers(0, 2**16),
)
def test_inverse_and_pullback_fit_forward(check_layer, groups, size, shape, seed):
    x = random((*shape, groups * size), seed + 9)
    check_layer(Orthogonal(same), turns_of(groups, size, 2, seed), x)


@settings(max_examples=6)
@given(
    groups=st.integers(1, 3),
    size=st.integers(2, 8),
    bits=st.integers(4, 20),
    seed=st.integers(0, 2**16),
)
def test_in_fixed_point_the_inverse_gives_the_same_bits(groups, size, bits, seed):
    numbers = FixedPoint(bits)
    layer, turns = Orthogonal(same, numbers), turns_of(groups, size, 3, seed)
    x = numbers.encode(random((2, 3, 2, 2, groups * size), seed + 9))
    y, _ = jax.jit(lambda turns, x: layer.forward(turns, x))(turns, x)
    back = jax.jit(lambda turns, y: layer.inverse(turns, y))(turns, y)
    np.testing.assert_array_equal(back, x)
    exact, _ = Orthogonal(same).forward(turns, numbers.decode(x))
    # Nine roundings, each of half a step, turned on by shears of some size.
    scale = 1.0 + max(float(jnp.abs(k).max()) for k in turns)
    np.testing.assert_allclose(numbers.decode(y), exact, atol=300 * scale**3 * 2.0**-bits + 1e-4)


def test_fixed_point_pullback_is_that_of_rounding_straight_through(assert_close):
    turns, dy = turns_of(2, 5, 2), random((1, 3, 2, 2, 10), 5)
    numbers, plain = FixedPoint(), StraightThrough()
    x = plain.encode(random((1, 3, 2, 2, 10), 4))
    _, transpose = jax.vjp(lambda p, x: Orthogonal(same, plain).forward(p, x)[0], turns, x)
    dturns, dx = transpose(dy)

    @jax.jit
    def there_and_back(turns, x, dy):
        layer = Orthogonal(same, numbers)
        y, _ = layer.forward(turns, numbers.encode(x))
        return layer.pullback(turns, y, dy, {})

    back, *gradients = there_and_back(turns, x, dy)
    np.testing.assert_array_equal(numbers.decode(back), x)
    assert_close(gradients, [dx, dturns], relative=1e-4)


@pytest.mark.parametrize("size", [1e-3, 1.0, 10.0])
def test_the_sine_of_small_and_of_large_turns(size):
    # A turn's matrix is orthogonal only if Newton's iteration has found the inverse.
    k = size * random((3, 6, 5)) / 3.0
    q = np.asarray(rotation([k, 0.1 * k]), np.float64)
    np.testing.assert_allclose(q @ q.swapaxes(1, 2), np.tile(np.eye(11), (3, 1, 1)), atol=1e-4)
    back = np.asarray(rotation([k, 0.1 * k], inverse=True), np.float64)
    np.testing.assert_allclose(back, q.swapaxes(1, 2), atol=1e-4)


def test_groups_are_a_block_diagonal_matrix():
    turns, x = turns_of(2, 3, 2), random((2, 1, 3, 2, 6))
    q = rotation(turns)
    blocks = np.zeros((6, 6))
    blocks[:3, :3], blocks[3:, 3:] = q[0], q[1]
    y, _ = Orthogonal(same).forward(turns, x)
    np.testing.assert_allclose(y, np.asarray(x) @ blocks, atol=1e-5)


@pytest.mark.parametrize(("factor", "channels"), [((2, 2, 2), 1), ((1, 2, 3), 3)])
def test_learned_resampling(check_layer, factor, channels):
    a, b, e = factor
    turns = turns_of(channels, a * b * e, 3)
    fine = random((2, 2 * a, b, 2 * e, channels), 1)
    coarse = random((2, 2, 1, 2, channels * a * b * e), 2)
    down, up = learned_down(same, factor), learned_up(same, factor)
    of_down, of_up = {"squeeze": (), "rotation": turns}, {"rotation": turns, "unsqueeze": ()}
    assert down.forward(of_down, fine)[0].shape == coarse.shape
    assert up.forward(of_up, coarse)[0].shape == fine.shape
    check_layer(down, of_down, fine)
    check_layer(up, of_up, coarse)


def test_learned_resampling_keeps_every_block_s_length():
    turns, x = turns_of(2, 8, 3), random((1, 4, 2, 2, 2), 1)
    y, _ = learned_down(same).forward({"squeeze": (), "rotation": turns}, x)
    lengths = np.square(x.reshape(2, 2, 2, 2, 2)).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(np.square(y.reshape(2, 2, 8)).sum(axis=-1), lengths, rtol=1e-4)


def test_wrong_channels_are_named():
    sentence = r"^orthogonal: 5 channels, but 2 matrices of size 3$"
    for numbers in (None, FixedPoint()):
        layer = Orthogonal(same) if numbers is None else Orthogonal(same, numbers)
        with pytest.raises(ValueError, match=sentence):
            layer.forward(turns_of(2, 3, 1), random((1, 1, 1, 1, 5)))
