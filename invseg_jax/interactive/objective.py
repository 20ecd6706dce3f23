"""What training the two networks makes small, from shapes alone.

    interaction   cross-entropy + (1 - Dice) of the mask, + half of it at each coarser level
    memory        the same of all slices of a clip, each given the mask before it
    quality       cross-entropy between the predicted Dice of a slice and its true Dice

A clip is gone through as in use: a slice's own mask, as the network gives it, is the "mask before"
of the next slice, and is kept in the memory for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax import lax

from invseg_jax.experiment import Experiment, InteractiveSettings
from invseg_jax.interactive import channels
from invseg_jax.interactive.stack import NEIGHBOURS
from invseg_jax.layers.execution import Execution
from invseg_jax.models.interaction import InteractionNetwork
from invseg_jax.models.memory import MemoryNetwork
from invseg_jax.reversible.layer import Array
from invseg_jax.training.task import Batch, Parameters

_IMAGE = len(NEIGHBOURS)
# The finest of the coarser levels counts half as much as the mask itself, each next one half again.
_COARSE = 0.5


@dataclass(frozen=True)
class InteractiveObjective:
    """The losses of the interaction network and the memory network, added up.

    Attributes:
        interaction: static part of the interaction network.
        memory: static part of the memory network.
        settings: sizes and weights.
        examples: a batch has so many clips.
    """

    interaction: nnx.GraphDef
    memory: nnx.GraphDef
    settings: InteractiveSettings
    examples: int

    @classmethod
    def build(cls, experiment: Experiment) -> "InteractiveObjective":
        """The objective that an experiment asks for; no weight is drawn."""
        interaction, memory = nnx.eval_shape(lambda: build_networks(experiment))
        return cls(
            nnx.split(interaction)[0],
            nnx.split(memory)[0],
            experiment.interactive,
            experiment.patches_a_step,
        )

    @property
    def batch(self) -> Mapping[str, jax.ShapeDtypeStruct]:
        """Shapes and types of a batch; see `slice_example` and `clip_example` of `examples`."""
        s = self.settings
        size = (s.window, s.window)
        shapes = {
            "slices": (s.slices, *size, channels.INTERACTION),
            "slice_truth": (s.slices, *size),
            "kept": (s.known, *size, channels.KEPT),
            "kept_z": (s.known,),
            "kept_valid": (s.known,),
            "asking": (s.asked + 1, *size, channels.ASKING),
            "asking_z": (s.asked + 1,),
            "before": size,
            "truth": (s.asked, *size),
            "scored": (s.asked,),
        }
        kinds = {"slice_truth": bool, "kept_valid": bool, "truth": bool}
        return {
            name: jax.ShapeDtypeStruct(
                (self.examples, *shape), jnp.dtype(kinds.get(name, jnp.float32))
            )
            for name, shape in shapes.items()
        }

    def loss(
        self, parameters: Parameters, batch: Batch, key: Array
    ) -> tuple[Array, dict[str, Array]]:
        """See `training.task.Task.loss`.

        Returns:
            The loss, and by name: "slice" and "clip", the two losses; "slice_dice" and
            "clip_dice", mean Dices; "quality", the loss of the quality head.
        """
        del key  # all that is random is in the examples
        with jax.named_scope("interaction"):
            network = nnx.merge(self.interaction, parameters["interaction"])
            slice_loss, slice_dice = _slice_loss(network, batch)
        with jax.named_scope("memory"):
            network = nnx.merge(self.memory, parameters["memory"])
            logits, quality = _gone_through(network, batch)
            clip_loss, clip_dice, quality_loss = _clip_loss(logits, quality, batch)
        loss = slice_loss + clip_loss + self.settings.quality * quality_loss
        return loss, {
            "slice": slice_loss,
            "slice_dice": slice_dice,
            "clip": clip_loss,
            "clip_dice": clip_dice,
            "quality": quality_loss,
        }


def build_networks(
    experiment: Experiment, key: Array | None = None
) -> tuple[InteractionNetwork, MemoryNetwork]:
    """The two networks of an experiment.

    Args:
        experiment: gives their settings.
        key: draws the first weights; None: the experiment's seed does.
    """
    settings = experiment.interactive
    rngs = nnx.Rngs(experiment.seed if key is None else key)
    execution = Execution(memory=settings.memory, precision=experiment.precision)
    interaction = InteractionNetwork(
        channels.INTERACTION, settings.network, execution=execution, rngs=rngs
    )
    memory = MemoryNetwork(
        channels.QUERY, channels.KEPT, settings.network, execution=execution, rngs=rngs
    )
    return interaction, memory


def with_mask(asking: Array, mask: Array) -> Array:
    """A slice that asks (..., s, s, ASKING) with the mask before it (..., s, s): QUERY channels."""
    image, rest = asking[..., :_IMAGE], asking[..., _IMAGE:]
    return jnp.concatenate((image, mask[..., None], rest), axis=-1)


def as_kept(asking: Array, mask: Array) -> Array:
    """The same slice, as the memory keeps it: nobody has confirmed its mask. KEPT channels."""
    image, places = asking[..., :_IMAGE], asking[..., -channels.PLACES :]
    mask = mask[..., None]
    return jnp.concatenate((image, mask, jnp.zeros_like(mask), places), axis=-1)


def _slice_loss(network: InteractionNetwork, batch: Batch) -> tuple[Array, Array]:
    x, truth = batch["slices"], batch["slice_truth"]
    x = x.reshape(-1, *x.shape[2:])
    truth = truth.reshape(-1, *truth.shape[2:]).astype(jnp.float32)
    found = network(x)
    loss, dice = _mask_loss(found.logits, truth)
    weight = _COARSE
    for coarse in found.coarse:
        size = coarse.shape[1]
        block = truth.shape[1] // size
        share = truth.reshape(-1, size, block, size, block).mean((2, 4))
        loss = loss + weight * jnp.mean(optax.sigmoid_binary_cross_entropy(coarse, share))
        weight /= 2
    return loss, dice


def _mask_loss(logits: Array, truth: Array) -> tuple[Array, Array]:
    """Cross-entropy and one minus the soft Dice of each example: (n, ..., s, s)."""
    axes = tuple(range(1, logits.ndim))
    p = jax.nn.sigmoid(logits)
    overlap, total = (p * truth).sum(axes), p.sum(axes) + truth.sum(axes)
    dice = (2 * overlap + 1) / (total + 1)
    cross_entropy = optax.sigmoid_binary_cross_entropy(logits, truth).mean(axes)
    return jnp.mean(cross_entropy + 1 - dice), lax.stop_gradient(jnp.mean(dice))


def _gone_through(network: MemoryNetwork, batch: Batch) -> tuple[Array, Array]:
    """Logits (n, asked, s, s) and quality logits (n, asked) of a clip's slices in a row."""
    known = network.keep(batch["kept"], batch["kept_z"], batch["kept_valid"])
    graph, weights = nnx.split(network)
    asking = jnp.moveaxis(batch["asking"], 1, 0)
    at = batch["asking_z"].T

    def body(mask, slices):
        before, before_z, now, now_z = slices
        inner = nnx.merge(graph, weights)
        kept = as_kept(before, mask)[:, None]
        last = inner.keep(kept, before_z[:, None], jnp.ones((len(before_z), 1), bool))
        found = inner(with_mask(now, mask), now_z, known.with_slice(last))
        return jax.nn.sigmoid(found.logits), (found.logits, found.quality)

    rows = (asking[:-1], at[:-1], asking[1:], at[1:])
    _, (logits, quality) = lax.scan(body, batch["before"], rows)
    return jnp.moveaxis(logits, 0, 1), quality.T


def _clip_loss(logits: Array, quality: Array, batch: Batch) -> tuple[Array, Array, Array]:
    scored = batch["scored"]
    there = scored[..., None, None]
    truth = batch["truth"].astype(jnp.float32) * there
    # A slice that is not there counts as empty, and as found so.
    logits = jnp.where(there > 0, logits, -20.0)
    loss, _ = _mask_loss(logits, truth)
    dice = slice_dice(lax.stop_gradient(logits) > 0, truth)
    judged = optax.sigmoid_binary_cross_entropy(quality, dice)
    count = jnp.maximum(scored.sum(), 1)
    return loss, (dice * scored).sum() / count, (judged * scored).sum() / count


def slice_dice(found: Array, truth: Array) -> Array:
    """Dice of each slice (..., s, s) -> (...); 1 where both masks are empty."""
    found, truth = found.astype(jnp.float32), truth.astype(jnp.float32)
    overlap, total = (found * truth).sum((-2, -1)), found.sum((-2, -1)) + truth.sum((-2, -1))
    return jnp.where(total > 0, 2 * overlap / jnp.maximum(total, 1), 1.0)
