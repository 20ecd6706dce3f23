"""The networks of a run as a method of interactive segmentation."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from invseg_jax.data.prepare.normalise import normalise
from invseg_jax.errors import UserError, UserNotice
from invseg_jax.inference.trained_run import SegmentationRun
from invseg_jax.interactive import channels
from invseg_jax.interactive.chains import Chain, chains
from invseg_jax.interactive.encoding import Encoding
from invseg_jax.interactive.interpolation import Interpolation
from invseg_jax.interactive.method import Carried, Volume
from invseg_jax.interactive.objective import (
    InteractiveObjective,
    as_kept,
    build_networks,
    with_mask,
)
from invseg_jax.interactive.prompts import Box, Prompt
from invseg_jax.interactive.stack import neighbours
from invseg_jax.interactive.window import Window
from invseg_jax.models.memory import Memory
from invseg_jax.reversible.layer import Array
from invseg_jax.runs.checkpoints import Checkpoints
from invseg_jax.training.task import Parameters

# A window is grown by this where the mask reaches its border, at most so often.
_GROWTH, _GROWN = 1.5, 3
# Beyond the last confirmed slice, so many empty slices in a row end the object.
_EMPTY = 3
# What is added around the known masks, as a share of the longer side of their box.
_MARGIN = 0.5


@partial(jax.jit, static_argnums=0)
def _segmented(graph: nnx.GraphDef, weights: nnx.State, x: Array) -> Array:
    return jax.nn.sigmoid(nnx.merge(graph, weights)(x[None]).logits[0])


@partial(jax.jit, static_argnums=0)
def _kept(graph: nnx.GraphDef, weights: nnx.State, x: Array, z: Array) -> Memory:
    return nnx.merge(graph, weights).keep(x[None, None], z[None, None], jnp.ones((1, 1), bool))


@partial(jax.jit, static_argnums=0)
def _carried(
    graph: nnx.GraphDef,
    weights: nnx.State,
    before: tuple[Array, Array, Array],
    now: tuple[Array, Array],
    known: Memory,
) -> tuple[Array, Array]:
    """The slice before, its mask and place, and a slice that asks -> probabilities and quality."""
    network = nnx.merge(graph, weights)
    asked, mask, z = before
    last = network.keep(as_kept(asked, mask)[None, None], z[None, None], jnp.ones((1, 1), bool))
    found = network(with_mask(now[0], mask)[None], now[1][None], known.with_slice(last))
    return jax.nn.sigmoid(found.logits[0]), jax.nn.sigmoid(found.quality[0])


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
        self, volume: Volume, index: int, prompts: Sequence[Prompt], mask: np.ndarray | None
    ) -> np.ndarray:
        """See `Method.segment`.

        Where the prompts do not say how large the object is, the window grows until it fits.
        """
        image = neighbours(self._image(volume), index)
        size = self.objective.settings.window
        bare = None if mask is None else mask > 0.5
        sight = Window.on(prompts, bare, volume.spacing[1:], size)
        grows = not any(prompt.encloses for prompt in prompts)
        for _ in range(_GROWN + 1):
            drawn = Encoding()(prompts, sight, mask)
            x = channels.interaction([sight.cut(plane) for plane in image], drawn)
            found = np.asarray(_segmented(*self._network("interaction"), jnp.asarray(x)))
            if not (grows and touches(found)):
                break
            sight = sight.grown(_GROWTH)
        return sight.paste(found, volume.shape)

    def carry(
        self,
        volume: Volume,
        confirmed: Mapping[int, np.ndarray],
        slices: Sequence[int],
        probabilities: np.ndarray,
    ) -> Iterator[Carried]:
        """See `Method.carry`; the order is that of `chains`."""
        left = set(slices)
        for chain in chains(confirmed, slices):
            for carried in _Walk(self, volume, confirmed, chain).slices():
                if carried.index in left:
                    left.remove(carried.index)
                    yield carried
        for index in sorted(left):
            yield Carried(index, np.zeros(volume.shape, np.float32), 1.0)

    def suggest(
        self,
        volume: Volume,
        confirmed: Mapping[int, np.ndarray],
        probabilities: np.ndarray,
        quality: np.ndarray,
    ) -> int | None:
        """See `Method.suggest`: the slice that is expected to have most wrong voxels."""
        wrong = expected_errors(probabilities, quality)
        wrong[list(confirmed)] = -1
        best = int(np.argmax(wrong))
        return best if wrong[best] > 0 else None

    def _image(self, volume: Volume) -> np.ndarray:
        """The normalised image, made once for a volume."""
        if self.prepare is None:
            return volume.image
        if self._seen is None or self._seen[0] is not volume.image:
            self._seen = volume.image, self.prepare(volume.image)
        return self._seen[1]

    def _network(self, name: str) -> tuple[nnx.GraphDef, nnx.State]:
        return getattr(self.objective, name), self.parameters[name]


def expected_errors(probabilities: np.ndarray, quality: np.ndarray) -> np.ndarray:
    """How many voxels of each slice are expected to be wrong.

    With the area S of the mask, of which a person's mask will differ little, and the expected Dice
    q, the mask and the truth together have 2 S (1 - q) voxels that only one of them has.

    Args:
        probabilities: (slices, rows, columns).
        quality: (slices,) expected Dice; NaN counts as 1.
    """
    area = probabilities.sum(axis=(1, 2), dtype=np.float64)
    return 2 * area * (1 - np.nan_to_num(quality, nan=1.0))


def touches(mask: np.ndarray) -> bool:
    """Whether a mask (probabilities of a window) reaches the window's border."""
    border = (mask[0], mask[-1], mask[:, 0], mask[:, -1])
    return any(float(side.max()) > 0.5 for side in border)


class _Walk:
    """One chain, gone through slice by slice."""

    def __init__(
        self,
        method: NetworkMethod,
        volume: Volume,
        confirmed: Mapping[int, np.ndarray],
        chain: Chain,
    ):
        self.method, self.volume, self.confirmed, self.chain = method, volume, confirmed, chain
        self.image = method._image(volume)
        self._look(self._around())

    def slices(self) -> Iterator[Carried]:
        """The chain's slices, one at a time."""
        chain, empty = self.chain, 0
        before = chain.start
        mask = self._cut(self.confirmed[before].astype(np.float32))
        for index in chain.slices:
            if chain.ends and empty == _EMPTY:
                yield Carried(index, np.zeros(self.volume.shape, np.float32), 1.0)
                continue
            found, quality = self._step(before, mask, index)
            for _ in range(_GROWN):
                if not touches(found):
                    break
                mask = self._regrown(mask)
                found, quality = self._step(before, mask, index)
            pasted = self.sight.paste(found, self.volume.shape)
            empty = 0 if (pasted > 0.5).any() else empty + 1
            yield Carried(index, pasted, float(quality))
            before, mask = index, found

    def _step(self, before: int, mask: np.ndarray, index: int) -> tuple[np.ndarray, float]:
        found, quality = _carried(
            *self.method._network("memory"),
            (jnp.asarray(self._asking(before)), jnp.asarray(mask), self._z(before)),
            (jnp.asarray(self._asking(index)), self._z(index)),
            self._memory(index),
        )
        return np.asarray(found), float(quality)

    def _around(self) -> Window:
        """The window around all confirmed masks."""
        union = np.logical_or.reduce(list(self.confirmed.values()))
        inside = np.argwhere(union).astype(float)
        low, high = inside.min(axis=0), inside.max(axis=0)
        box = Box(((float(low[0]), float(low[1])), (float(high[0]), float(high[1]))))
        size = self.method.objective.settings.window
        return Window.around([box], self.volume.spacing[1:], size, margin=_MARGIN)

    def _look(self, sight: Window) -> None:
        """Takes a window, and what is measured in it."""
        self.sight = sight
        self.pixel = sight.step[0] * self.volume.spacing[1]
        self.masks = {z: self._cut(m.astype(np.float32)) > 0.5 for z, m in self.confirmed.items()}
        depth = self.volume.spacing[0]
        self.between = Interpolation(self.masks, (depth, self.pixel, self.pixel))
        self.known: dict[int, Memory] = {}
        self.asked: dict[int, np.ndarray] = {}

    def _regrown(self, mask: np.ndarray) -> np.ndarray:
        """Takes a larger window; the mask of the slice before, in the new window."""
        pasted = self.sight.paste(mask, self.volume.shape)
        self._look(self.sight.grown(_GROWTH))
        return self._cut(pasted)

    def _cut(self, plane: np.ndarray) -> np.ndarray:
        return self.sight.cut(plane)

    def _picture(self, index: int) -> list[np.ndarray]:
        return [self._cut(p) for p in neighbours(self.image, index, self.chain.direction)]

    def _z(self, index: int) -> Array:
        side = self.pixel * self.sight.size
        return jnp.float32(index * self.volume.spacing[0] / side)

    def _asking(self, index: int) -> np.ndarray:
        if index not in self.asked:
            depth, far = self.volume.spacing[0], self.chain.far
            self.asked = {z: x for z, x in self.asked.items() if abs(z - index) <= 1}
            self.asked[index] = channels.asking(
                self._picture(index),
                self.between.field(index),
                self.pixel,
                abs(index - self.chain.start) * depth,
                None if far is None else abs(far - index) * depth,
            )
        return self.asked[index]

    def _memory(self, index: int) -> Memory:
        """The confirmed slices nearest to a slice; places that stay free are not valid."""
        places = self.method.objective.settings.confirmed
        nearest = sorted(self.confirmed, key=lambda z: (abs(z - index), z))[:places]
        for z in nearest:
            if z not in self.known:
                x = channels.kept(self._picture(z), self.masks[z].astype(np.float32), True)
                self.known[z] = _kept(*self.method._network("memory"), jnp.asarray(x), self._z(z))
        parts = [self.known[z] for z in nearest]
        free = parts[0]._replace(valid=jnp.zeros((1, 1), bool))
        parts += [free] * (places - len(parts))
        return Memory(*(jnp.concatenate(each, 1) for each in zip(*parts, strict=True)))


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
