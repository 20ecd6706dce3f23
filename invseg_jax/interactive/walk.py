"""The memory network on its way along one chain of slices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from invseg_jax.interactive import channels
from invseg_jax.interactive.chains import Chain
from invseg_jax.interactive.interpolation import Interpolation
from invseg_jax.interactive.method import Carried, SliceVolume
from invseg_jax.interactive.mirrors import mean_of, mirrored
from invseg_jax.interactive.objective import as_kept, with_mask
from invseg_jax.interactive.prompts import Box
from invseg_jax.interactive.stack import neighbours
from invseg_jax.interactive.window import Window
from invseg_jax.models.memory import Memory, MemoryNetwork
from invseg_jax.reversible.layer import Array

# A window is grown by this where the mask reaches its border, at most so often.
GROWTH, MOST_GROWTHS = 1.5, 3
# Beyond the last confirmed slice, so many empty slices in a row end the object.
_EMPTY = 3
# What is added around the known masks, as a share of the longer side of their box.
_MARGIN = 0.5


def touches(mask: np.ndarray) -> bool:
    """Whether a mask (probabilities of a window) reaches the window's border."""
    border = (mask[0], mask[-1], mask[:, 0], mask[:, -1])
    return any(float(side.max()) > 0.5 for side in border)


@partial(jax.jit, static_argnums=0)
def _kept(graph: nnx.GraphDef, weights: nnx.State, x: Array, z: Array) -> Memory:
    return _memory_of(nnx.merge(graph, weights), x, z)


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
    last = _memory_of(network, as_kept(asked, mask), z)
    query = mirrored(with_mask(now[0], mask), channels.PLACES)
    at = jnp.broadcast_to(now[1], (len(query),))
    found = network(query, at, known.with_slice(last))
    return mean_of(jax.nn.sigmoid(found.logits)), jnp.mean(jax.nn.sigmoid(found.quality))


def _memory_of(network: MemoryNetwork, x: Array, z: Array) -> Memory:
    """One slice (s, s, KEPT) as a memory: its mirror images stand in the place of objects."""
    views = mirrored(x, channels.PLACES)[:, None]
    there = (len(views), 1)
    return network.keep(views, jnp.broadcast_to(z, there), jnp.ones(there, bool))


class Walk:
    """One chain, gone through slice by slice.

    The window lies around all confirmed masks, and grows where a mask reaches its border.
    """

    def __init__(
        self,
        network: tuple[nnx.GraphDef, nnx.State],
        volume: SliceVolume,
        confirmed: Mapping[int, np.ndarray],
        chain: Chain,
        *,
        size: int,
        places: int,
    ):
        """Takes the first window.

        Args:
            network: the memory network's static part, and its parameters.
            volume: its intensities are on the scale of the training.
            confirmed: the masks that a person confirmed, by slice.
            chain: which slices, in which order.
            size: pixels along each side of the window.
            places: most confirmed slices that the memory holds.
        """
        self.network, self.volume, self.confirmed = network, volume, confirmed
        self.chain, self.size, self.places = chain, size, places
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
            for _ in range(MOST_GROWTHS):
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
            *self.network,
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
        return Window.around([box], self.volume.spacing[1:], self.size, margin=_MARGIN)

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
        self._look(self.sight.grown(GROWTH))
        return self._cut(pasted)

    def _cut(self, plane: np.ndarray) -> np.ndarray:
        return self.sight.cut(plane)

    def _picture(self, index: int) -> list[np.ndarray]:
        return [self._cut(p) for p in neighbours(self.volume.image, index, self.chain.direction)]

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
        places = self.places
        nearest = sorted(self.confirmed, key=lambda z: (abs(z - index), z))[:places]
        for z in nearest:
            if z not in self.known:
                x = channels.kept(self._picture(z), self.masks[z].astype(np.float32), True)
                self.known[z] = _kept(*self.network, jnp.asarray(x), self._z(z))
        parts = [self.known[z] for z in nearest]
        free = parts[0]._replace(valid=jnp.zeros_like(parts[0].valid))
        parts += [free] * (places - len(parts))
        return Memory(*(jnp.concatenate(each, 1) for each in zip(*parts, strict=True)))
