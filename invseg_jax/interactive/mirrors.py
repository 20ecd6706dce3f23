"""Networks that look at four mirror images of a slice, and take the mean of what they find.

Training mirrors along rows and columns too, so the networks know all four. Where their errors
differ, the mean has smaller ones. A chain of slices drifts less with it.
"""

import jax.numpy as jnp

from invseg_jax.reversible.layer import Array

# Whether rows and columns are mirrored.
VIEWS = ((False, False), (True, False), (False, True), (True, True))


def mirrored(x: Array, fixed: int = 0) -> Array:
    """(s, s, c) -> (4, s, s, c): the mirror images.

    Args:
        x: channels of a slice.
        fixed: so many channels at the end are not mirrored: those that say where a pixel lies.
    """
    moving = x.shape[-1] - fixed
    views = [
        jnp.concatenate((_turned(x[..., :moving], view), x[..., moving:]), -1) for view in VIEWS
    ]
    return jnp.stack(views)


def mean_of(probabilities: Array) -> Array:
    """(4, s, s) of the mirror images -> (s, s): mirrored back, and averaged."""
    back = [
        _turned(found[..., None], view)[..., 0]
        for found, view in zip(probabilities, VIEWS, strict=True)
    ]
    return jnp.mean(jnp.stack(back), axis=0)


def _turned(x: Array, view: tuple[bool, bool]) -> Array:
    axes = [axis for axis, turned in enumerate(view) if turned]
    return jnp.flip(x, axes) if axes else x
