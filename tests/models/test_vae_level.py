import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from invseg_jax.layers.branch import ResidualBranch
from invseg_jax.layers.conv import Conv
from invseg_jax.models.vae_level import level, level_again
from invseg_jax.reversible.barrier import _tied
from tests import compiling

COARSE, CHANNELS, MODALITIES = 5, 4, 2


def parts(channels=CHANNELS, *, block=True, end=True):
    rngs = nnx.Rngs(0)
    return (
        Conv(COARSE, channels, 1, bias=True, rngs=rngs),
        ResidualBranch(channels, channels, convolutions=2, rngs=rngs) if block else None,
        Conv(channels, MODALITIES, 1, bias=True, rngs=rngs) if end else None,
    )


def random(shape):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


@pytest.mark.parametrize("shape, size", [((3, 2, 2), (5, 4, 3)), ((1, 2, 3), (1, 3, 6))])
@pytest.mark.parametrize("block, end", [(True, True), (True, False), (False, True), (False, False)])
def test_the_rule_gives_the_gradients_of_autodiff(shape, size, block, end, assert_close):
    def pull(step):
        def output_and_gradients(conv, block, end, x):
            y, transpose = jax.vjp(lambda *inputs: step(*inputs, size), conv, block, end, x)
            return y, [
                nnx.to_pure_dict(nnx.state(g)) if isinstance(g, nnx.Module) else g
                for g in transpose(jnp.cos(y))
            ]

        return jax.jit(output_and_gradients)(
            *parts(block=block, end=end), random((2, *shape, COARSE))
        )

    assert_close(pull(level_again), pull(level))


def test_so_does_what_accelerators_take(assert_close, monkeypatch):
    def gradients(step):
        def loss(conv, block, end, x):
            return jnp.sin(step(conv, block, end, x, (5, 4, 3))).sum()

        found = jax.jit(jax.grad(loss, (0, 1, 2, 3)))(*parts(), random((2, 3, 2, 2, COARSE)))
        return [nnx.to_pure_dict(nnx.state(module)) for module in found[:3]], found[3]

    expected = gradients(level)
    monkeypatch.setattr(
        "invseg_jax.models.vae_level.materialize",
        lambda function, *arrays: _tied(function, arrays, ()),
    )
    assert_close(gradients(level_again), expected)


@pytest.mark.parametrize("end", [True, False])
def test_its_memory_is_less_than_that_of_autodiff_and_of_remat(end):
    n, channels = 32, 16
    conv, block, last = parts(channels, end=end)
    x = jnp.zeros((1, n // 2, n // 2, n // 2, COARSE))
    image = jnp.zeros((1, n, n, n, MODALITIES if end else channels))

    def temporary_bytes(step):
        def loss(conv, block, last, x):
            return jnp.square(step(conv, block, last, x, (n, n, n)) - image).mean()

        program = jax.jit(jax.grad(loss, (0, 1, 2, 3))).lower(conv, block, last, x)
        return compiling.temporary_bytes(program)

    remat = jax.checkpoint(level, static_argnums=4)
    bound = 0.75 * min(temporary_bytes(level), temporary_bytes(remat))
    assert temporary_bytes(level_again) <= bound
