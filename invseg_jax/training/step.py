"""One training step: augmentation, network, loss, gradient, update; compiled as one program."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from invseg_jax.data.augment import Augmentation, augment
from invseg_jax.layers.resample import central
from invseg_jax.models import Outputs
from invseg_jax.reversible.layer import Array
from invseg_jax.training.losses import deeply_supervised
from invseg_jax.training.reconstruction import ReconstructionWeights, with_reconstruction
from invseg_jax.training.state import TrainState

Batch = Mapping[str, Any]
Step = Callable[[TrainState, Batch], tuple[TrainState, dict[str, Array]]]
# Of a network's outputs and the labels: the loss, and the Dice of each class or region.
Loss = Callable[[Outputs, Array], tuple[Array, Array]]


def make_step(
    network: nnx.GraphDef,
    optimiser: optax.GradientTransformation,
    augmentation: Augmentation,
    *,
    average: float,
    loss: Loss = deeply_supervised,
    accumulate: int = 1,
    weights: ReconstructionWeights = ReconstructionWeights(),
) -> Step:
    """Builds the step; the caller compiles it with `jax.jit`, the state donated.

    Args:
        network: the network's static part (`nnx.split`).
        optimiser: moves the parameters.
        augmentation: what is done to each batch.
        average: decay of the parameters' moving average.
        loss: what is made small.
        accumulate: parts into which a batch is divided; they pass one after the other, and their
            gradients are averaged.
        weights: of the VAE branch's terms of the loss, where the network has one.

    Returns:
        A function of the state and a batch (`image` (n, d, h, w, modalities) float32, `label`
        (n, d, h, w) int32) that gives the next state and scalar metrics, all on the device. The
        metric `dice` is NaN where no voxel of the batch is labelled.
    """

    def gradient_of(params: Any, key: Array, batch: Batch):
        """((loss, (mean Dice, other terms)), gradient) of a batch."""
        # The scopes name what a profile shows; `jax.value_and_grad` marks the backward pass itself.
        augment_key, dropout_key = jax.random.split(key)
        with jax.named_scope("augmentation"):
            image, label = augment(
                augment_key, batch["image"], batch["label"], settings=augmentation
            )

        def loss_of(params):
            with jax.named_scope("network"):
                outputs = nnx.merge(network, params).outputs(image, dropout_key)
            with jax.named_scope("loss"):
                # Of a network that gives the middle of its input, that is what counts.
                seen = central(label, outputs.logits.shape[1:4])
                value, dice = loss(outputs, seen)
                value, terms = with_reconstruction(value, outputs.vae, image, weights)
                return value, (jnp.mean(dice), terms)

        return jax.value_and_grad(loss_of, has_aux=True)(params)

    def mean_gradient_of(params: Any, key: Array, batch: Batch):
        """The same, averaged over the parts of a batch."""
        # Every n-th sample, not n in a row: each device has as many of each part.
        parts = jax.tree.map(lambda a: a.reshape(-1, accumulate, *a.shape[1:]), batch)

        def of_part(number: Array):
            part = jax.tree.map(lambda a: a[:, number], parts)
            (value, (dice, terms)), gradient = gradient_of(
                params, jax.random.fold_in(key, number), part
            )
            has_dice = ~jnp.isnan(dice)
            counted = jnp.where(has_dice, dice, 0.0), has_dice.astype(dice.dtype)
            return (value, (counted, terms)), gradient

        def add(total, number):
            return jax.tree.map(jnp.add, total, of_part(number)), None

        numbers = jnp.arange(accumulate)
        shapes = jax.eval_shape(of_part, numbers[0])
        nothing = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)
        total, _ = jax.lax.scan(add, nothing, numbers)
        # A part without a labelled voxel has no Dice.
        (value, ((dice, parts_with_dice), terms)), gradient = total
        dice = dice / parts_with_dice
        rest = (value, terms, gradient)
        value, terms, gradient = jax.tree.map(lambda a: a / accumulate, rest)
        return (value, (dice, terms)), gradient

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Array]]:
        key = jax.random.fold_in(state.key, state.step)
        of = gradient_of if accumulate == 1 else mean_gradient_of
        (value, (dice, terms)), gradient = of(state.params, key, batch)
        # Optax's Adam raises a float to an integer power, which strict promotion forbids.
        with jax.named_scope("optimiser"), jax.numpy_dtype_promotion("standard"):
            updates, optimiser_state = optimiser.update(gradient, state.optimiser, state.params)
            params = optax.apply_updates(state.params, updates)
        with jax.named_scope("average"):
            taken = state.step.astype(jnp.float32)
            decay = jnp.minimum(average, (1.0 + taken) / (10.0 + taken))
            averaged = optax.incremental_update(params, state.averaged, 1.0 - decay)
        metrics = {
            "loss": value,
            "dice": dice,
            "gradient_norm": optax.tree.norm(gradient),
            **terms,
        }
        return TrainState(state.step + 1, params, averaged, optimiser_state, state.key), metrics

    return step
