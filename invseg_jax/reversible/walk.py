"""What is asked of, or done to, every layer of a composition, through its `parts` alone."""

from collections.abc import Callable, Iterator

from invseg_jax.reversible.arithmetic import FLOAT, Arithmetic
from invseg_jax.reversible.layer import Layer


def each(layer: Layer) -> Iterator[Layer]:
    """The layer and all that it is made of, outer ones first."""
    yield layer
    for part in layer.parts:
        yield from each(part)


def replaced(layer: Layer, change: Callable[[Layer], Layer | None]) -> Layer:
    """The composition with other layers in it.

    Args:
        layer: the composition.
        change: gives what stands in a layer's place, or None: the layer stays, and its parts are
            asked about.
    """
    changed = change(layer)
    if changed is not None:
        return changed
    if not layer.parts:
        return layer
    return layer.with_parts(tuple(replaced(part, change) for part in layer.parts))


def arithmetic_of(layer: Layer) -> Arithmetic:
    """The one arithmetic of a composition's stream; `Float` where nothing is added to it.

    Raises:
        ValueError: two layers have not the same.
    """
    found = {own: None for part in each(layer) if (own := part.own_arithmetic()) is not None}
    if len(found) > 1:
        raise ValueError(
            f"the layers of one stream have different arithmetics: {', '.join(map(str, found))}"
        )
    return next(iter(found), FLOAT)
