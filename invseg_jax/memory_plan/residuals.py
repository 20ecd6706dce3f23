"""What a network's trunk keeps between the forward and the backward pass, counted from shapes.

Differentiation is traced, not run: what `jax.vjp` hands from the forward to the backward pass is
what has to stay in memory until the gradient is taken, before a compiler rearranges anything.
"""

import math
from collections.abc import Callable

import jax
from jax.extend.core import Literal

from invseg_jax.experiment import Experiment
from invseg_jax.models import Network


def trunk_activations(experiment: Experiment, model: Network, modalities: int) -> int:
    """The bytes of activations that the trunk keeps for the gradient of one batch.

    The network says what its trunk is (`Network.trunks`): the invertible parts, or all of it.

    Args:
        experiment: of the batch and the patch.
        model: the network, its parameters arrays or shapes.
        modalities: channels of the image.
    """
    key = jax.eval_shape(lambda: jax.random.key(0))
    return sum(
        kept_bytes(lambda part, x, key: part(x, key), part, x, key)
        for part, x in model.trunks(modalities, experiment.data.patch, experiment.data.batch)
    )


def kept_bytes(
    f: Callable[..., object],
    params: object,
    x: jax.ShapeDtypeStruct,
    key: jax.Array | jax.ShapeDtypeStruct | None,
) -> int:
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
