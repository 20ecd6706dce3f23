"""How often training mirrors an image along each axis, where the configuration leaves it open.

Along the left-right axis it does not where classes are left and right of one another: the mirror
image of a left kidney is a right one, and a network that is shown both under one name learns
neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from invseg_jax.configuration import Config
from invseg_jax.data.augment.settings import Augmentation
from invseg_jax.data.fingerprint import Fingerprint
from invseg_jax.data.preprocess import Preprocessing
from invseg_jax.data.regions import Regions
from invseg_jax.data.sides import side_pairs

Flip = tuple[float, float, float]


@dataclass(frozen=True)
class Flips:
    """What came of `config.augment.flip`.

    Attributes:
        probabilities: of mirroring along each axis of the network's grid.
        note: one line for the user: what was left out and why, or a warning; empty where there is
            nothing to say.
    """

    probabilities: Flip
    note: str = ""


def choose_flips(
    config: Config,
    classes: Sequence[str],
    regions: Regions | None = None,
    fingerprint: Fingerprint | None = None,
) -> Flips:
    """Settles how often training mirrors along each axis.

    Args:
        config: `augment.flip` is taken as it is where it is given. Else it is 0.5 along each axis,
            and 0 along the left-right axis where there are pairs of sides.
        classes: their names.
        regions: what is segmented instead of the classes, if anything.
        fingerprint: of the training cases, which says which axis is left-right. Without it, it is
            taken to be axis 0 of canonical images.

    Raises:
        UserError: the configuration's flip is not three probabilities.
    """
    flip = Augmentation.of(config).flip
    sides = sides_in_words(classes, regions)
    if not sides:
        return Flips(flip)
    axes = left_right_axes(config, fingerprint)
    if Augmentation.leaves_flip_open(config):
        d, h, w = (0.0 if axis in axes else p for axis, p in enumerate(flip))
        return Flips(
            (d, h, w),
            f"mirroring is off along {axes_in_words(axes)}{_why(axes, fingerprint)}, as {sides}; "
            "config.augment.flip turns it on",
        )
    along = tuple(axis for axis in axes if flip[axis] > 0)
    if not along:
        return Flips(flip)
    return Flips(
        flip,
        f"warning: config.augment.flip mirrors along {axes_in_words(along)}"
        f"{_why(axes, fingerprint)}, but {sides}: their mirror images are given the wrong name; "
        "leave it out to turn that off",
    )


def with_flips(config: Config, flips: Flips) -> Config:
    """A copy of a configuration in which no flip is left open; one that is given stays."""
    config = config.copy_and_resolve_references()
    if Augmentation.leaves_flip_open(config):
        config.augment.flip = flips.probabilities
    return config


def sides_in_words(classes: Sequence[str], regions: Regions | None = None) -> str:
    """Names the first pair of sides among what is segmented; empty where there is none."""
    pairs = side_pairs(classes if regions is None else regions.names)
    if not pairs:
        return ""
    left, right = pairs[0]
    more = "" if len(pairs) == 1 else f" (and {len(pairs) - 1} more such pairs)"
    kind = "classes" if regions is None else "regions"
    return f"the {kind} {left} and {right}{more} differ only in their side"


def left_right_axes(config: Config, fingerprint: Fingerprint | None = None) -> tuple[int, ...]:
    """The axes of the network's grid that run, or may run, from left to right.

    Args:
        config: of the run.
        fingerprint: of its training cases; None, or one of an earlier version, where there is none.
    """
    if fingerprint is not None and fingerprint.left_right:
        return fingerprint.left_right
    return (0,) if Preprocessing.of(config).canonical else (0, 1, 2)


def axes_in_words(axes: Sequence[int]) -> str:
    """As a message names axes: "axis 0", "axes 0 and 2", "all axes"."""
    if len(axes) == 3:
        return "all axes"
    names = " and ".join(map(str, axes))
    return f"axis {names}" if len(axes) == 1 else f"axes {names}"


def _why(axes: Sequence[int], fingerprint: Fingerprint | None) -> str:
    """What the axes have to do with left and right."""
    oriented = () if fingerprint is None else fingerprint.oriented
    if unknown := oriented.count(False):
        return (
            f" (the headers of {unknown} of {len(oriented)} training images do not say which axis "
            "is left-right)"
        )
    return " (left-right)" if len(axes) == 1 else " (each is left-right in some training image)"
