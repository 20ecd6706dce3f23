"""Test-time mirroring: the mean of what a network says of a patch and of its mirror images.

As in nnU-Net (Isensee et al., Nature Methods 2021, Methods, "Inference"), a patch is mirrored along
every combination of some axes, and what comes out is mirrored back. Probabilities are averaged, as
those of several runs are; nnU-Net's code averages what its softmax is taken of.
"""

from collections.abc import Callable, Sequence
from itertools import product

import jax
import jax.numpy as jnp

from invseg_jax.errors import UserError

Mirror = tuple[bool, bool, bool]


def parse_mirror(text: str) -> Mirror:
    """Reads axes of the network's grid (D, H, W) as `--mirror` has them: "0", "0,2", or "none".

    Raises:
        UserError: it names no axis, another one, or one twice.
    """
    names = [] if text.strip() == "none" else [part.strip() for part in text.split(",")]
    if not set(names) <= {"0", "1", "2"} or len(set(names)) != len(names):
        raise UserError(
            f"--mirror is {text!r}; give axes of the network's grid (0, 1 and 2 for D, H and W), "
            "such as 0 or 0,1,2, or none"
        )
    depth, height, width = (name in names for name in "012")
    return depth, height, width


def mean_over_mirrors(
    predict: Callable[[jax.Array], jax.Array], patches: jax.Array, axes: Sequence[int]
) -> jax.Array:
    """The mean of `predict` over all 2^k combinations of k axes; without any, `predict` itself.

    To be compiled: the program holds `predict` once, in a loop, and one sum beside what that takes,
    however many axes there are.

    Args:
        predict: maps (n, d, h, w, channels) to (n, d', h', w', outputs), about the same centre.
        patches: (n, d, h, w, channels).
        axes: to mirror along, 0 to 2 for d, h and w.
    """
    if not axes:
        return predict(patches)

    def flipped(x: jax.Array, which: jax.Array) -> jax.Array:
        for number, axis in enumerate(axes):
            x = jnp.where(which[number], jnp.flip(x, axis + 1), x)
        return x

    def add(total: jax.Array, which: jax.Array) -> tuple[jax.Array, None]:
        return total + flipped(predict(flipped(patches, which)), which), None

    combinations = jnp.array(list(product((False, True), repeat=len(axes))))
    shape = jax.eval_shape(predict, patches)
    total, _ = jax.lax.scan(add, jnp.zeros(shape.shape, shape.dtype), combinations)
    return total / len(combinations)
