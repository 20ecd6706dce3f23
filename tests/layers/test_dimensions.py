"""Sequences, images and volumes: one algebra, one set of layers."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from jax import lax

from invseg_jax.layers import invertible
from invseg_jax.layers.branch import ResidualBranch
from invseg_jax.layers.conv import Conv
from invseg_jax.layers.execution import Execution
from invseg_jax.layers.invertible import Trunk
from tests.compiling import IN_USE

PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
LAYOUT = {1: ("NWC", "WIO", "NWC"), 2: ("NHWC", "HWIO", "NHWC"), 3: ("NDHWC", "DHWIO", "NDHWC")}


def random(shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def spaces(most: int) -> st.SearchStrategy[tuple[int, ...]]:
    return st.integers(1, 3).flatmap(lambda dims: st.tuples(*[st.integers(1, most)] * dims))


def u(dims: int, features: int, execution: Execution = Execution()) -> Trunk:
    """A coupling, mixing, down, a tapped coupling, up, mixing: everything that a trunk has."""
    rngs, blocks = nnx.Rngs(0), 2**dims

    def couplings(channels: int) -> invertible.Weighted:
        return invertible.couplings(
            channels,
            1,
            dims=dims,
            convolutions=1,
            groups=2,
            scale=0.5,
            execution=execution,
            rngs=rngs,
        )

    def mixing() -> invertible.Weighted:
        return invertible.mixing(features, execution=execution, rngs=rngs)

    weighted = invertible.u(
        invertible.chain(couplings=couplings(features), mixing=mixing()),
        features - 1,
        invertible.down(1, dims=dims, execution=execution, rngs=rngs),
        invertible.tapped(couplings(blocks), "deep"),
        invertible.up(1, dims=dims, execution=execution, rngs=rngs),
        invertible.chain(blending=mixing()),
    )
    return Trunk(weighted, execution=execution)


def kernel_of(conv: Conv, dims: int) -> jax.Array:
    """(height, width, in, depth, out) as a kernel of the compiler's; images are walked by rows."""
    weights = conv.weights
    if dims == 3:
        return weights.transpose(3, 0, 1, 2, 4)
    return weights[0].transpose(2, 0, 1, 3) if dims == 2 else weights[0, :, :, 0]


@settings(max_examples=8, phases=PHASES)
@given(space=spaces(4), batch=st.integers(1, 2), channels=st.integers(1, 3), out=st.integers(1, 3))
def test_convolution_is_the_compiler_s(assert_close, space, batch, channels, out):
    dims = len(space)
    conv, x = Conv(channels, out, dims=dims, rngs=nnx.Rngs(0)), random((batch, *space, channels))
    assert conv.kernel[...].size == 3**dims * channels * out

    @jax.jit
    def both(conv, x):
        def compiler(conv, x):
            kernel = kernel_of(conv, dims)
            ones = (1,) * dims
            return lax.conv_general_dilated(x, kernel, ones, "SAME", dimension_numbers=LAYOUT[dims])

        def pulled(function):
            y, transpose = jax.vjp(function, conv, x)
            return y, transpose(jnp.cos(y))

        return pulled(lambda conv, x: conv(x)), pulled(compiler)

    ours, expected = both(conv, x)
    assert_close(ours, expected, least=1.0)


@settings(max_examples=6, phases=PHASES)
@given(space=spaces(4), batch=st.integers(1, 2), channels=st.integers(1, 3))
def test_branch_is_norm_activation_convolution(assert_close, space, batch, channels):
    branch = ResidualBranch(channels, 2, dims=len(space), groups=1, rngs=nnx.Rngs(0))
    x = random((batch, *space, channels))

    @jax.jit
    def both(branch, x):
        normal = branch.norms[0](x)
        return branch(x), branch.convs[0](jnp.where(normal > 0, normal, 0.01 * normal))

    assert_close(*both(branch, x), least=1.0)


@pytest.mark.slow
@settings(max_examples=4, phases=PHASES)
@given(blocks=spaces(2), batch=st.integers(1, 2), features=st.integers(2, 5))
def test_the_three_functions_of_a_trunk_fit(check_layer, blocks, batch, features):
    trunk = u(len(blocks), features)
    check_layer(trunk.layer, trunk.params, random((batch, *(2 * n for n in blocks), features)))


@pytest.mark.slow
@settings(max_examples=4, phases=PHASES)
@given(blocks=spaces(3), batch=st.integers(1, 2), features=st.integers(2, 5))
def test_the_bits_come_back_in_fixed_point(blocks, batch, features):
    execution = Execution(stream="fixed")
    trunk = u(len(blocks), features, execution)
    x = random((batch, *(2 * n for n in blocks), features))

    @partial(jax.jit, compiler_options=IN_USE)
    def there_and_back(trunk, x):
        numbers = trunk.layer.forward(trunk.params, execution.arithmetic.encode(x))[0]
        dtaps = {"deep": jnp.zeros((batch, *blocks, 2 ** len(blocks)))}
        pulled = trunk.layer.pullback(trunk.params, numbers, x, dtaps)[0]
        return trunk.layer.inverse(trunk.params, numbers), pulled

    expected = execution.arithmetic.encode(x)
    inverted, pulled = there_and_back(trunk, x)
    np.testing.assert_array_equal(inverted, expected)
    np.testing.assert_array_equal(pulled, expected)


@pytest.mark.parametrize("stream", ["float32", pytest.param("fixed", marks=pytest.mark.slow)])
@pytest.mark.parametrize("space", [(6,), (4, 6)])
def test_three_memories_one_gradient(assert_close, space, stream):
    features = 3
    x = random((2, *space, features))

    def pulled(memory):
        trunk = u(len(space), features, Execution(memory=memory, stream=stream))

        @jax.jit
        def pull(trunk, x):
            (y, taps), transpose = jax.vjp(lambda trunk, x: trunk(x), trunk, x)
            dtrunk, dx = transpose((jnp.cos(y), {"deep": jnp.sin(taps["deep"])}))
            return y, taps, jax.tree.leaves(nnx.state(dtrunk)), dx, trunk.inverse(y)

        return pull(trunk, x)

    plain = pulled("plain")
    tolerance = 1e-5 if stream == "float32" else 1e-4
    assert_close(plain[-1], x, least=1.0, relative=1e-3)
    for memory in ("reversible", "remat"):
        assert_close(pulled(memory), plain, least=1.0, relative=tolerance)


def test_other_dimensions_are_refused():
    with pytest.raises(ValueError, match=r"^convolution in 4 dimensions; there are 1, 2 and 3$"):
        Conv(1, 1, dims=4, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"has not 1, 2 or 3 axes of space$"):
        Conv(1, 1, rngs=nnx.Rngs(0))(random((2, 3)))
