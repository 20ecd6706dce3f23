"""Test-time mirroring: the mean of what a network says of a patch and of its mirror images.

As in nnU-Net (Isensee et al., Nature Methods 2021, Methods, "Inference"), a patch is mirrored along
every combination of some axes, and the output is mirrored back. Probabilities are averaged, as for
several runs; nnU-Net's code averages the values before its softmax.

Axes are allowed only where training mirrored too: the output for a mirror image that a network has
never learned is worthless, and would be averaged all the same.
"""

import contextlib
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

import jax
import jax.numpy as jnp

from invseg_jax.data.batches.flips import axes_in_words, left_right_axes, sides_in_words
from invseg_jax.data.batches.regions import Regions
from invseg_jax.errors import UserError
from invseg_jax.experiment import Augmentation, Experiment, InferenceSettings
from invseg_jax.inference.trained_run import DataDescription, SegmentationRun

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


def check_mirror(augment: Augmentation, inference: InferenceSettings) -> None:
    """Checks the axes that settings ask for, before it is trained.

    Args:
        augment: of the training; a flip that is left open counts as mirroring along each axis.
        inference: with the axes.

    Raises:
        UserError: training would not mirror along one of them.
    """
    flip, learned = _learned(augment)
    asked = _axes(inference.mirror)
    if wrong := sorted(set(asked) - set(learned)):
        allowed = tuple(axis in asked and axis in learned for axis in range(3))
        raise UserError(
            f"config.inference.mirror asks for {axes_in_words(wrong)}, along which training does "
            f"not mirror (config.augment.flip is {flip}): the network would not know such images; "
            f"take {allowed}"
        )


def refuse_unlearned(
    workdir: Path,
    augment: Augmentation,
    inference: InferenceSettings,
    mirror: Mirror | None = None,
) -> None:
    """Refuses mirror images that a run has not learned.

    Args:
        workdir: the run's folder.
        augment: of the run.
        inference: of the run.
        mirror: the axes that --mirror names; None where it is not given, and `inference` counts.

    Raises:
        UserError: training did not mirror along one of the axes.
    """
    flip, learned = _learned(augment)
    asked = _axes(inference.mirror if mirror is None else mirror)
    if not set(asked) - set(learned):
        return
    who = "its config.inference.mirror" if mirror is None else f"--mirror {_as_flag(asked)}"
    trained = f"with mirror images along {axes_in_words(learned)} alone"
    raise UserError(
        f"{workdir} was trained {trained if learned else 'without mirror images'} "
        f"(config.augment.flip is {flip}), and {who} asks for {axes_in_words(asked)}; give "
        + (f"--mirror {_as_flag(learned)} or " if learned else "")
        + "--mirror none"
    )


def warning_of_sides(workdir: Path, experiment: Experiment, data: DataDescription) -> str:
    """The warning for windows that are mirrored from left to right where classes have sides.

    Args:
        workdir: the run's folder.
        experiment: of the run, with the axes that were asked for.
        data: what it was trained on.

    Returns:
        One line; empty where there is nothing to say.
    """
    asked = _axes(experiment.inference.mirror)
    sides = sides_in_words(data.classes, Regions.of(data.regions, data.values))
    if not asked or not sides:
        return ""
    fingerprint = None
    with contextlib.suppress(UserError):  # a run of an earlier version
        fingerprint = SegmentationRun(workdir).read_fingerprint()
    along = set(asked) & set(left_right_axes(experiment.data.preprocess, fingerprint))
    if not along:
        return ""
    return (
        f"warning: {workdir}: windows are mirrored along {axes_in_words(sorted(along))}, which is "
        f"or may be left-right, but {sides}; --mirror none turns that off"
    )


def _learned(augment: Augmentation) -> tuple[tuple[float, float, float], tuple[int, ...]]:
    """How often training mirrors along each axis, and the axes along which it does so at all."""
    flip = augment.flip_probabilities
    return flip, tuple(axis for axis, probability in enumerate(flip) if probability > 0)


def _axes(mirror: Sequence[bool]) -> tuple[int, ...]:
    return tuple(axis for axis, along in enumerate(mirror) if along)


def _as_flag(axes: Sequence[int]) -> str:
    return ",".join(map(str, axes)) if axes else "none"


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
