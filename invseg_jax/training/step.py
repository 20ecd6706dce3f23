"""One training step: loss, gradient, update; compiled as one program."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from invseg_jax.reversible.layer import Array
from invseg_jax.runs.train_state import TrainState
from invseg_jax.training.task import Batch, Metrics, Parameters

# Of parameters, a batch and a random key: the loss, and further scalars by name.
Loss = Callable[[Parameters, Batch, Array], tuple[Array, Metrics]]
Step = Callable[[TrainState, Batch], tuple[TrainState, dict[str, Array]]]


def make_step(
    loss: Loss,
    optimiser: optax.GradientTransformation,
    *,
    average: float,
    accumulate: int = 1,
) -> Step:
    """Builds the step; the caller compiles it with `jax.jit`, the state donated.

    Args:
        loss: what is made small; pure.
        optimiser: moves the parameters.
        average: decay of the parameters' moving average.
        accumulate: parts into which a batch is divided. They pass one after the other, and their
            gradients are averaged.

    Returns:
        A function of the state and a batch that gives the next state and scalar metrics, all on
        the device: "loss", "gradient_norm" and those of the loss. A metric that some parts of the
        batch do not give (NaN) is averaged over the other parts.
    """

    def gradient_of(params: Parameters, key: Array, batch: Batch):
        """((loss, metrics), gradient) of a batch."""
        # The profile tells forward and backward pass apart by JAX's own marks.
        return jax.value_and_grad(loss, has_aux=True)(params, batch, key)

    def mean_gradient_of(params: Parameters, key: Array, batch: Batch):
        """The same, averaged over the parts of a batch."""
        # Every n-th sample, not n in a row: each device has as many of each part.
        parts = jax.tree.map(lambda a: a.reshape(-1, accumulate, *a.shape[1:]), batch)

        def of_part(number: Array):
            part = jax.tree.map(lambda a: a[:, number], parts)
            (value, metrics), gradient = gradient_of(params, jax.random.fold_in(key, number), part)
            there = {name: ~jnp.isnan(metric) for name, metric in metrics.items()}
            counts = {name: here.astype(value.dtype) for name, here in there.items()}
            sums = {name: jnp.where(there[name], m, 0.0) for name, m in metrics.items()}
            return value, sums, counts, gradient

        def add(total, number):
            return jax.tree.map(jnp.add, total, of_part(number)), None

        numbers = jnp.arange(accumulate)
        shapes = jax.eval_shape(of_part, numbers[0])
        nothing = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)
        (value, sums, counts, gradient), _ = jax.lax.scan(add, nothing, numbers)
        metrics = {name: sums[name] / counts[name] for name in sums}
        value, gradient = jax.tree.map(lambda a: a / accumulate, (value, gradient))
        return (value, metrics), gradient

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Array]]:
        key = jax.random.fold_in(state.key, state.step)
        of = gradient_of if accumulate == 1 else mean_gradient_of
        (value, metrics), gradient = of(state.params, key, batch)
        # Optax's Adam raises a float to an integer power, which strict promotion forbids.
        with jax.named_scope("optimiser"), jax.numpy_dtype_promotion("standard"):
            updates, optimiser_state = optimiser.update(gradient, state.optimiser, state.params)
            params = optax.apply_updates(state.params, updates)
        with jax.named_scope("average"):
            taken = state.step.astype(jnp.float32)
            decay = jnp.minimum(average, (1.0 + taken) / (10.0 + taken))
            averaged = optax.incremental_update(params, state.averaged, 1.0 - decay)
        metrics = {"loss": value, **metrics, "gradient_norm": optax.tree.norm(gradient)}
        return TrainState(state.step + 1, params, averaged, optimiser_state, state.key), metrics

    return step
