"""What a network's trunk keeps between the forward and the backward pass, counted from shapes.

Differentiation is traced, not run: what `jax.vjp` hands from the forward to the backward pass is
what has to stay in memory until the gradient is taken, before a compiler rearranges anything.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.extend.core import Literal

from invseg_jax.experiment import Experiment
from invseg_jax.models import FullInvRes, Model, PartialInvRes


def trunk_activations(experiment: Experiment, model: Model, modalities: int) -> int:
    """The bytes of activations that the trunk keeps for the gradient of one batch.

    The trunk is the bijective U of FullInvRes, the coupling sequences of PartialInvRes, and of
    UNet3D, which has none, the whole network.

    Args:
        experiment: of the batch, the patch and the channels.
        model: the network, its parameters arrays or shapes.
        modalities: channels of the image.
    """
    key = jax.eval_shape(lambda: jax.random.key(0))
    return sum(
        kept_bytes(lambda part, x, key: part(x, key), part, x, key)
        for part, x in _parts(experiment, model, modalities)
    )


def kept_bytes(f: Callable[..., Any], params: Any, x: jax.ShapeDtypeStruct, key: Any) -> int:
    """The bytes that `jax.vjp(f, params, x, key)` keeps and that depend on x, itself left out.

    Args:
        f: a function of the three; x is one array.
        params: a pytree of arrays or shapes; a Flax module is one.
        x: the input.
        key: a random key, or None.
    """
    leaves, tree = jax.tree.flatten(params)

    def residuals(x, key, *leaves):
        _, pull = jax.vjp(lambda params, x: f(params, x, key), tree.unflatten(leaves), x)
        return jax.tree.leaves(pull)

    program = jax.make_jaxpr(residuals)(x, key, *leaves).jaxpr
    given = program.invars[0]
    # What does not depend on x (parameters, rearranged or not) is no activation.
    from_x = {given}
    for equation in program.eqns:
        if any(not isinstance(v, Literal) and v in from_x for v in equation.invars):
            from_x.update(equation.outvars)
    kept = {v for v in program.outvars if not isinstance(v, Literal) and v in from_x}
    return sum(math.prod(v.aval.shape) * v.aval.dtype.itemsize for v in kept - {given})


def _parts(
    experiment: Experiment, model: Model, modalities: int
) -> Iterator[tuple[nnx.Module, jax.ShapeDtypeStruct]]:
    """The trunk's pieces and the shapes that they are given."""

    def shape(level: int, channels: int) -> jax.ShapeDtypeStruct:
        every = model.multiple
        sizes = (-(-size // every) * every // 2**level for size in experiment.data.patch)
        return jax.ShapeDtypeStruct((experiment.data.batch, *sizes, channels), jnp.float32)

    channels = experiment.model.network("channels")
    if isinstance(model, FullInvRes):
        yield model.trunk, shape(0, channels[0])
    elif isinstance(model, PartialInvRes):
        for sequences in (model.encoder, model.decoder):
            for level, sequence in enumerate(sequences):
                yield sequence, shape(level, channels[level])
    else:
        yield model, shape(0, modalities)
