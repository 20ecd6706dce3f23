"""One training step: augmentation, network, loss, gradient, update; compiled as one program."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from invseg_jax.data.augment import Augmentation, augment
from invseg_jax.layers.resample import central
from invseg_jax.reversible.layer import Array
from invseg_jax.training.losses import deeply_supervised
from invseg_jax.training.reconstruction import ReconstructionWeights, with_reconstruction
from invseg_jax.training.state import TrainState

Batch = Mapping[str, Any]
Step = Callable[[TrainState, Batch], tuple[TrainState, dict[str, Array]]]


def make_step(
    network: nnx.GraphDef,
    optimiser: optax.GradientTransformation,
    augmentation: Augmentation,
    *,
    average: float,
    weights: ReconstructionWeights = ReconstructionWeights(),
) -> Step:
    """Builds the step; the caller compiles it with `jax.jit`, the state donated.

    Args:
        network: the network's static part (`nnx.split`).
        optimiser: moves the parameters.
        augmentation: what is done to each batch.
        average: decay of the parameters' moving average.
        weights: of the VAE branch's terms of the loss, where the network has one.

    Returns:
        A function of the state and a batch (`image` (n, d, h, w, modalities) float32, `label`
        (n, d, h, w) int32) that gives the next state and scalar metrics, all on the device.
    """

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Array]]:
        # The scopes name what a profile shows; `jax.value_and_grad` marks the backward pass itself.
        augment_key, dropout_key = jax.random.split(jax.random.fold_in(state.key, state.step))
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
                loss, dice = deeply_supervised(outputs, seen)
                loss, terms = with_reconstruction(loss, outputs.vae, image, weights)
                return loss, (dice, terms)

        (loss, (dice, terms)), gradient = jax.value_and_grad(loss_of, has_aux=True)(state.params)
        # Optax's Adam raises a float to an integer power, which strict promotion forbids.
        with jax.named_scope("optimiser"), jax.numpy_dtype_promotion("standard"):
            updates, optimiser_state = optimiser.update(gradient, state.optimiser, state.params)
            params = optax.apply_updates(state.params, updates)
        with jax.named_scope("average"):
            taken = state.step.astype(jnp.float32)
            decay = jnp.minimum(average, (1.0 + taken) / (10.0 + taken))
            averaged = optax.incremental_update(params, state.averaged, 1.0 - decay)
        metrics = {
            "loss": loss,
            "dice": jnp.mean(dice),
            "gradient_norm": optax.tree.norm(gradient),
            **terms,
        }
        return TrainState(state.step + 1, params, averaged, optimiser_state, state.key), metrics

    return step
