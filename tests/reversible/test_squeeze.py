import itertools
import math

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invseg_jax.reversible import Halve, Squeeze, depth_to_space, space_to_depth

sizes = st.tuples(*[st.integers(1, 3)] * 3)
dims = st.integers(1, 3)


def random(shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def brute_force(x, factor):
    n, *space, c = x.shape
    voxels = math.prod(factor)
    y = np.empty((n, *(size // by for size, by in zip(space, factor, strict=True)), c * voxels))
    for channel in range(c):
        for p, start in enumerate(itertools.product(*map(range, factor))):
            steps = tuple(slice(i, None, by) for i, by in zip(start, factor, strict=True))
            y[..., channel * voxels + p] = x[(slice(None), *steps, channel)]
    return y


@settings(max_examples=10)
@given(dims=dims, batch=st.integers(1, 2), blocks=sizes, factor=sizes, channels=st.integers(1, 3))
def test_against_brute_force_there_and_back(dims, batch, blocks, factor, channels):
    blocks, factor = blocks[:dims], factor[:dims]
    space = tuple(m * f for m, f in zip(blocks, factor, strict=True))
    x = random((batch, *space, channels))
    y = space_to_depth(x, factor)
    np.testing.assert_array_equal(y, brute_force(np.asarray(x), factor))
    np.testing.assert_array_equal(depth_to_space(y, factor), x)


@settings(max_examples=6)
@given(dims=dims, blocks=sizes, channels=st.integers(1, 3), factor=st.integers(1, 3))
def test_one_number_is_a_factor_for_every_axis(dims, blocks, channels, factor):
    x = random((2, *(factor * size for size in blocks[:dims]), channels))
    np.testing.assert_array_equal(space_to_depth(x, factor), space_to_depth(x, (factor,) * dims))
    np.testing.assert_array_equal(depth_to_space(space_to_depth(x, factor), factor), x)


@settings(max_examples=4)
@given(blocks=sizes, channels=st.integers(1, 3), batch=st.integers(1, 2))
def test_squeeze_is_invertible(check_layer, blocks, channels, batch):
    d, h, w = blocks
    check_layer(Squeeze((2, 1, 2)), (), random((batch, 2 * d, h, 2 * w, channels)))


def test_integers_and_other_types_pass_unchanged():
    x = jnp.arange(2 * 8).reshape(1, 2, 2, 2, 2)
    y, _ = Squeeze().forward((), x)
    assert y.dtype == x.dtype
    assert y.ravel().tolist() == [0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15]


@pytest.mark.parametrize("channels", [2, 3, 4, 5])
@pytest.mark.parametrize("first", [None, 1])
def test_halve_is_invertible(check_layer, channels, first):
    x = random((2, 1, 3, 2, channels))
    layer = Halve(first)
    (x1, x2), _ = layer.forward((), x)
    larger = (channels + 1) // 2 if first is None else first
    assert (x1.shape[-1], x2.shape[-1]) == (larger, channels - larger)
    check_layer(layer, (), x)


def test_bad_sizes_are_named():
    with pytest.raises(
        ValueError, match=r"^squeeze: height 5 is not a multiple of 2; pad it to 6$"
    ):
        space_to_depth(random((1, 4, 5, 2, 1)))
    with pytest.raises(ValueError, match=r"^unsqueeze: 12 channels are not a multiple of 8$"):
        depth_to_space(random((1, 2, 2, 2, 12)))
    with pytest.raises(ValueError, match=r"^squeeze: depth 1 is not a multiple of 3; pad it to 3$"):
        Squeeze((3, 1, 1)).forward((), random((1, 1, 1, 1, 1)))
    with pytest.raises(ValueError, match=r"^squeeze: 3 factors for 2 axes of space$"):
        space_to_depth(random((1, 2, 2, 1)), (2, 2, 2))
    with pytest.raises(ValueError, match=r"^squeeze: 0 axes of space; there are 1, 2 or 3$"):
        depth_to_space(random((1, 8)))
    with pytest.raises(
        ValueError, match=r"^squeeze: length 3 is not a multiple of 2; pad it to 4$"
    ):
        space_to_depth(random((1, 3, 2)))
