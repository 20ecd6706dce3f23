"""How often training mirrors an image along each axis, where the configuration leaves it open.

Where classes form left/right pairs, training does not mirror along the left-right axis: the mirror
image of a left kidney is a right one, and a network that is shown both under one name learns
neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from invseg_jax.data.batches.regions import Regions
from invseg_jax.data.batches.sides import side_pairs
from invseg_jax.data.prepare.fingerprint import Fingerprint
from invseg_jax.experiment import Augmentation, Preprocessing

Flip = tuple[float, float, float]


@dataclass(frozen=True)
class Flips:
    """The flips of a training.

    Attributes:
        probabilities: how often to mirror along each axis of the network's grid.
        note: one line for the user, which says what was left out and why, or warns; empty where
            there is nothing to say.
    """

    probabilities: Flip
    note: str = ""


def choose_flips(
    augment: Augmentation,
    preprocess: Preprocessing,
    classes: Sequence[str],
    regions: Regions | None = None,
    fingerprint: Fingerprint | None = None,
) -> Flips:
    """Settles how often training mirrors along each axis.

    Args:
        augment: where its `flip` is given it is taken as it is. Else it is 0.5 along each axis, and
            0 along the left-right axis where names form left/right pairs.
        preprocess: whether the images are canonical.
        classes: names of the classes.
        regions: what is segmented instead of the classes, if anything.
        fingerprint: of the training cases; it says which axis is left-right. Without it, that is
            axis 0 of canonical images, and any axis of others.
    """
    flip = augment.flip_probabilities
    sides = sides_in_words(classes, regions)
    if not sides:
        return Flips(flip)
    axes = left_right_axes(preprocess, fingerprint)
    if augment.flip is None:
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
        "leave config.augment.flip out to turn that off",
    )


def sides_in_words(classes: Sequence[str], regions: Regions | None = None) -> str:
    """Names the first left/right pair among classes or regions; empty where there is no pair."""
    pairs = side_pairs(classes if regions is None else regions.names)
    if not pairs:
        return ""
    left, right = pairs[0]
    more = "" if len(pairs) == 1 else f" (and {len(pairs) - 1} more such pairs)"
    kind = "classes" if regions is None else "regions"
    return f"the {kind} {left} and {right}{more} differ only in their side"


def left_right_axes(
    preprocess: Preprocessing, fingerprint: Fingerprint | None = None
) -> tuple[int, ...]:
    """The axes of the network's grid that run, or may run, from left to right.

    Args:
        preprocess: of the run.
        fingerprint: of its training cases. Without it, and in runs of earlier versions, the
            settings alone decide.
    """
    if fingerprint is not None and fingerprint.left_right:
        return fingerprint.left_right
    return (0,) if preprocess.canonical else (0, 1, 2)


def axes_in_words(axes: Sequence[int]) -> str:
    """As a message names axes: "axis 0", "axes 0 and 2", "all axes"."""
    if len(axes) == 3:
        return "all axes"
    names = " and ".join(map(str, axes))
    return f"axis {names}" if len(axes) == 1 else f"axes {names}"


def _why(axes: Sequence[int], fingerprint: Fingerprint | None) -> str:
    """Why these axes count as left-right, in brackets."""
    oriented = () if fingerprint is None else fingerprint.oriented
    if unknown := oriented.count(False):
        return (
            f" (the headers of {unknown} of {len(oriented)} training images do not say which axis "
            "is left-right)"
        )
    return " (left-right)" if len(axes) == 1 else " (each is left-right in some training image)"
