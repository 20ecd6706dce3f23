"""The networks of a run as a method of interactive segmentation."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from scipy import ndimage

from invseg_jax.data.prepare.normalise import normalise
from invseg_jax.errors import UserError, UserNotice
from invseg_jax.inference.trained_run import SegmentationRun
from invseg_jax.interactive import channels
from invseg_jax.interactive.chains import chains
from invseg_jax.interactive.encoding import Encoding
from invseg_jax.interactive.method import Carried, SliceVolume
from invseg_jax.interactive.mirrors import mean_of, mirrored
from invseg_jax.interactive.objective import InteractiveObjective, build_networks
from invseg_jax.interactive.prompts import Prompt
from invseg_jax.interactive.stack import neighbours
from invseg_jax.interactive.walk import GROWTH, MOST_GROWTHS, Walk, touches
from invseg_jax.interactive.window import Window
from invseg_jax.reversible.layer import Array
from invseg_jax.runs.checkpoints import Checkpoints
from invseg_jax.training.task import Parameters

# How far, in slices, a correction is taken to mend what lies beside it: a standard deviation.
_BESIDE = 1.5


@partial(jax.jit, static_argnums=0)
def _segmented(graph: nnx.GraphDef, weights: nnx.State, x: Array) -> Array:
    return mean_of(jax.nn.sigmoid(nnx.merge(graph, weights)(mirrored(x)).logits))


@dataclass(eq=False)
class NetworkMethod:
    """A `method.Method` whose masks come from the interaction network and the memory network.

    Attributes:
        name: what the user is shown.
        objective: the networks' static parts, and their settings.
        parameters: of both networks, by name.
        prepare: brings intensities to the scale of the training; None: they are on it.
    """

    name: str
    objective: InteractiveObjective
    parameters: Parameters
    prepare: Callable[[np.ndarray], np.ndarray] | None = None
    _seen: tuple[np.ndarray, np.ndarray] | None = field(default=None, repr=False)

    @classmethod
    def of(cls, objective: InteractiveObjective, parameters: Parameters) -> NetworkMethod:
        """The method of networks in training, for volumes that are normalised already."""
        return cls("training", objective, parameters)

    def segment(
        self, volume: SliceVolume, index: int, prompts: Sequence[Prompt], mask: np.ndarray | None
    ) -> np.ndarray:
        """See `Method.segment`.

        Where the prompts do not say how large the object is, the window grows until it fits.
        """
        image = neighbours(self._image(volume), index)
        size = self.objective.settings.window
        bare = None if mask is None else mask > 0.5
        sight = Window.on(prompts, bare, volume.spacing[1:], size)
        grows = not any(prompt.encloses for prompt in prompts)
        for _ in range(MOST_GROWTHS + 1):
            drawn = Encoding()(prompts, sight, mask)
            x = channels.interaction([sight.cut(plane) for plane in image], drawn)
            found = np.asarray(_segmented(*self._network("interaction"), jnp.asarray(x)))
            if not (grows and touches(found)):
                break
            sight = sight.grown(GROWTH)
        return sight.paste(found, volume.shape)

    def carry(
        self,
        volume: SliceVolume,
        confirmed: Mapping[int, np.ndarray],
        slices: Sequence[int],
        probabilities: np.ndarray,
    ) -> Iterator[Carried]:
        """See `Method.carry`; the order is that of `chains`."""
        left, settings = set(slices), self.objective.settings
        seen = replace(volume, image=self._image(volume))
        for chain in chains(confirmed, slices):
            walk = Walk(
                self._network("memory"),
                seen,
                confirmed,
                chain,
                size=settings.window,
                places=settings.confirmed,
            )
            for carried in walk.slices():
                if carried.index in left:
                    left.remove(carried.index)
                    yield carried
        for index in sorted(left):
            yield Carried(index, np.zeros(volume.shape, np.float32), 1.0)

    def suggest(
        self,
        volume: SliceVolume,
        confirmed: Mapping[int, np.ndarray],
        probabilities: np.ndarray,
        quality: np.ndarray,
    ) -> int | None:
        """See `Method.suggest`: the slice that is expected to have most wrong voxels."""
        wrong = expected_errors(probabilities, quality)
        wrong[list(confirmed)] = -1
        best = int(np.argmax(wrong))
        return best if wrong[best] > 0 else None

    def _image(self, volume: SliceVolume) -> np.ndarray:
        """The normalised image, made once for a volume."""
        if self.prepare is None:
            return volume.image
        if self._seen is None or self._seen[0] is not volume.image:
            self._seen = volume.image, self.prepare(volume.image)
        return self._seen[1]

    def _network(self, name: str) -> tuple[nnx.GraphDef, nnx.State]:
        return getattr(self.objective, name), self.parameters[name]


def expected_errors(probabilities: np.ndarray, quality: np.ndarray) -> np.ndarray:
    """How many voxels are expected to be wrong around each slice.

    With the area S of the mask, of which the truth will differ little, and the expected Dice q, the
    mask and the truth together have 2 S (1 - q) voxels that only one of them has. A mask may be far
    too small, so S is at least half of the largest slice's area. A correction mends the slices
    beside it too, so the errors of neighbours count, less with their distance.

    Args:
        probabilities: (slices, rows, columns).
        quality: (slices,) expected Dice; NaN counts as 1.
    """
    area = probabilities.sum(axis=(1, 2), dtype=np.float64)
    area = np.maximum(area, 0.5 * area.max())
    wrong = 2 * area * (1 - np.nan_to_num(quality, nan=1.0))
    return np.asarray(ndimage.gaussian_filter1d(wrong, _BESIDE, mode="constant"))


def load_method(workdir: Path) -> NetworkMethod:
    """Reads the networks of an interactive run: its newest checkpoint that is not damaged.

    Args:
        workdir: the folder that training wrote.

    Raises:
        UserError: the folder holds no trained run, or one of another task.
    """
    run = SegmentationRun(workdir)
    experiment, data = run.read_config(), run.read_data()
    if experiment.task != "interactive":
        raise UserError(
            f"{workdir} holds a run of the task {experiment.task}; give one that was trained with "
            "a configuration such as interactive:cpu"
        )
    scheme = experiment.data.preprocess.schemes(len(data.modalities))[0]
    intensities = run.read_fingerprint().intensities[0] if scheme == "ct" else None
    networks = build_networks(experiment)
    names = ("interaction", "memory")
    like = {name: nnx.split(net)[1] for name, net in zip(names, networks, strict=True)}
    say = partial(warnings.warn, category=UserNotice)  # of a checkpoint that is not the newest
    found = None
    if run.checkpoints.is_dir():
        with Checkpoints(run.checkpoints, read_only=True, say=say) as checkpoints:
            found = checkpoints.restore_newest_averaged(like, without="vae")
    if found is None:
        raise UserError(f"{workdir} holds no checkpoint yet; let its training reach a save")
    return NetworkMethod(
        str(workdir),
        InteractiveObjective.build(experiment),
        found[1],
        partial(normalise, scheme=scheme, intensities=intensities),
    )
