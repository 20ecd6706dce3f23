from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from invseg_jax.layers.execution import Execution
from invseg_jax.models import UNet3D, UNet3DSettings

PUBLISHED = UNet3DSettings(channels=(64, 128, 256, 512), auxiliary=0)


def random(shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def network(**settings: Any) -> UNet3D:
    how = {"execution": settings.pop("execution")} if "execution" in settings else {}
    settings = {"channels": (4, 6), "groups": 2, "auxiliary": 0} | settings
    return UNet3D(2, 3, UNet3DSettings(**settings), **how, rngs=nnx.Rngs(0))


def parameters(model):
    """Sizes of the parameters by path."""
    flat = nnx.to_flat_state(nnx.state(model, nnx.Param))
    return {path: variable.size for path, variable in flat}


def test_the_convolutions_have_the_parameters_that_the_paper_counts():
    model = nnx.eval_shape(lambda: UNet3D(3, 3, PUBLISHED, rngs=nnx.Rngs(0)))
    sizes = parameters(model)
    assert sum(size for path, size in sizes.items() if "norms" not in path) == 19_069_955


def test_channels_double_before_the_pooling():
    model = nnx.eval_shape(lambda: UNet3D(1, 2, PUBLISHED, rngs=nnx.Rngs(0)))

    def widths(pairs):
        # A kernel's last axis is the depth's three taps of all outputs.
        shapes = [[conv.kernel.shape for conv in pair.convs] for pair in pairs]
        return [[(shape[2], shape[3] // 3) for shape in pair] for pair in shapes]

    # Cicek et al. 2016, figure 2.
    assert widths(model.encoder) == [
        [(1, 32), (32, 64)],
        [(64, 64), (64, 128)],
        [(128, 128), (128, 256)],
        [(256, 256), (256, 512)],
    ]
    assert widths(model.decoder) == [
        [(64 + 128, 64), (64, 64)],
        [(128 + 256, 128), (128, 128)],
        [(256 + 512, 256), (256, 256)],
    ]


def test_shapes_at_odd_sizes():
    model = network(channels=(4, 6, 8), auxiliary=2)
    outputs = nnx.eval_shape(lambda model, x: model.outputs(x), model, random((2, 13, 8, 10, 2)))
    assert outputs.logits.shape == (2, 13, 8, 10, 3)
    assert [a.shape for a in outputs.auxiliary] == [(2, 7, 4, 5, 3), (2, 4, 2, 3, 3)]


def test_one_level():
    model, x = network(channels=(4,)), random((1, 3, 1, 5, 2))
    assert len(model.ups) == 0
    assert jax.jit(model.__call__)(x).shape == (1, 3, 1, 5, 3)


def test_remat_has_the_gradients_of_plain(assert_close):
    x = random((2, 5, 4, 7, 2))

    @jax.jit
    def pull(model, x):
        y, transpose = jax.vjp(lambda model, x: tuple(model.outputs(x)), model, x)
        dmodel, dx = transpose(jax.tree.map(jnp.cos, y))
        return y, nnx.to_pure_dict(nnx.state(dmodel)), dx

    plain = pull(network(auxiliary=1), x)
    assert_close(pull(network(auxiliary=1, execution=Execution(memory="remat")), x), plain)


def test_examples_do_not_see_each_other(assert_close):
    model, x = network(), random((2, 4, 4, 4, 2))
    call = jax.jit(model.__call__)
    assert_close(call(x)[1:], call(x[1:]))


def test_reversible_is_refused():
    with pytest.raises(ValueError) as caught:
        network(execution=Execution(memory="reversible"))
    with pytest.raises(ValueError, match=r"^UNet3D with stream='fixed': only invertible layers"):
        network(execution=Execution(memory="plain", stream="fixed"))
    assert str(caught.value) == (
        "UNet3D with memory='reversible': it has no invertible layers; use plain or remat, or "
        "PartialInvRes or FullInvRes"
    )


def test_too_many_auxiliary_outputs_are_refused():
    with pytest.raises(ValueError, match=r"^auxiliary 2: there are 1 coarser levels$"):
        network(auxiliary=2)
