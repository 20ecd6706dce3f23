"""The memory network: carries the masks of known slices into other slices.

A memory holds slices whose masks are known, each as keys and values at every place of a coarse grid
(space-time memory, Oh et al. 2019; Mem3D, Zhou et al. 2021, section 2.2). A new slice asks with its
own keys:

    read(p) = sum_q softmax_q(k(p) . k_q / sqrt(keys) - a |z - z_q|) v_q

over all places q of all slices in the memory. The second term is ours: slices nearer in z, in units
of the window's side, count more, and a >= 0 is learned. What is read joins the decoder, which gives
the mask; the quality head then says how good the mask is (`QualityHead`).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from invseg_jax.layers.conv import Conv
from invseg_jax.layers.execution import Execution
from invseg_jax.layers.initial import constant
from invseg_jax.models.interaction import refuse_size
from invseg_jax.models.quality import QualityHead
from invseg_jax.models.slice_unet import Detail, SliceDecoder, SliceEncoder, SliceNetworkSettings
from invseg_jax.reversible.layer import Array


class Memory(NamedTuple):
    """Slices whose masks are known.

    Attributes:
        keys: (n, m, places, key): of m slices for each of n objects.
        values: (n, m, places, value).
        z: (n, m) positions of the slices, in units of the window's side.
        valid: (n, m) bool: whether there is a slice in this place of the memory.
    """

    keys: Array
    values: Array
    z: Array
    valid: Array

    def with_slice(self, other: "Memory") -> "Memory":
        """This memory and another one behind it."""
        return Memory(*(jnp.concatenate(both, 1) for both in zip(self, other, strict=True)))


class CarriedOutputs(NamedTuple):
    """What the memory network gives for a slice.

    Attributes:
        logits: (n, s, s), of the object.
        quality: (n,) logits of the expected Dice of this slice.
    """

    logits: Array
    quality: Array


class MemoryNetwork(nnx.Module):
    """Two encoders, a memory between them, a decoder, and a quality head."""

    def __init__(
        self,
        query: int,
        memory: int,
        settings: SliceNetworkSettings,
        *,
        execution: Execution = Execution(),
        rngs: nnx.Rngs,
    ):
        """Builds the network.

        Args:
            query: channels of a slice that asks.
            memory: channels of a slice that is kept: image and mask.
            settings: of the architecture.
            execution: how it is evaluated.
            rngs: draws the weights.
        """
        self.multiple, self.level = settings.multiple, settings.level
        features = settings.channels[self.level]

        def conv(features_out: int) -> Conv:
            return Conv(features, features_out, 1, dims=2, bias=True, rngs=rngs)

        self.query = SliceEncoder(query, settings, execution=execution, rngs=rngs)
        self.kept = SliceEncoder(
            memory, settings, levels=self.level + 1, execution=execution, rngs=rngs
        )
        self.asked_key, self.kept_key = conv(settings.key), conv(settings.key)
        self.kept_value = conv(settings.value)
        self.read = Conv(settings.value, features, 1, dims=2, bias=True, rngs=rngs)
        self.decay = nnx.Param(constant(1, 0.0))
        self.decoder = SliceDecoder(settings, execution=execution, rngs=rngs)
        self.detail = Detail(settings.channels[0], query, settings, execution=execution, rngs=rngs)
        self.quality = QualityHead(features, settings, execution=execution, rngs=rngs)

    def keep(self, x: Array, z: Array, valid: Array) -> Memory:
        """Slices with masks (n, m, s, s, memory) at positions z (n, m) -> a memory of m slices.

        Args:
            x: image, mask, and what else is known of a slice.
            z: in units of the window's side.
            valid: (n, m) bool: whether there is a slice at all.

        Raises:
            ValueError: windows of a size that the network does not take.
        """
        n, m = x.shape[:2]
        flat = x.reshape(n * m, *x.shape[2:])
        refuse_size(flat, self.multiple)
        deepest = self.kept(flat)[-1]
        keys, values = self.kept_key(deepest), self.kept_value(deepest)
        places = keys.shape[1] * keys.shape[2]
        return Memory(keys.reshape(n, m, places, -1), values.reshape(n, m, places, -1), z, valid)

    def __call__(self, x: Array, z: Array, memory: Memory) -> CarriedOutputs:
        """Segments one slice for each of n objects.

        Args:
            x: (n, s, s, query): image and what is known beforehand.
            z: (n,) position of the slice, in units of the window's side.
            memory: of at least one slice for each object.

        Raises:
            ValueError: windows of a size that the network does not take.
        """
        refuse_size(x, self.multiple)
        skips = self.query(x)
        at = skips[self.level]
        levels = self.decoder(
            skips, self.level, self.read(self._read(self.asked_key(at), z, memory))
        )
        logits = self.detail(levels[0], x)
        quality = self.quality(levels[self.level], jax.nn.sigmoid(logits))
        return CarriedOutputs(logits, quality)

    def _read(self, asked: Array, z: Array, memory: Memory) -> Array:
        """Keys (n, h, w, key) -> values (n, h, w, value)."""
        n, h, w, key = asked.shape
        score = jnp.einsum("npk,nmqk->npmq", asked.reshape(n, h * w, key), memory.keys) * key**-0.5
        away = jax.nn.softplus(self.decay[0]) * jnp.abs(z[:, None] - memory.z)
        bias = jnp.where(memory.valid, -away, -1e9)
        score = score + bias[:, None, :, None]
        shares = jax.nn.softmax(score.reshape(n, h * w, -1), axis=-1)
        values = memory.values.reshape(n, -1, memory.values.shape[-1])
        return jnp.einsum("npm,nmv->npv", shares, values).reshape(n, h, w, -1)
