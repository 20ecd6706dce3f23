"""The state of a training run, and the optimiser that moves it."""

from dataclasses import dataclass, fields
from typing import Any

import jax
import jax.numpy as jnp
import optax

from invseg_jax.errors import UserError
from invseg_jax.reversible.layer import Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """Everything that a step changes, and that a checkpoint keeps.

    Attributes:
        step: steps taken, an int32 scalar.
        params: the network's parameters (a Flax state).
        averaged: their exponential moving average; evaluation and prediction use it.
        optimiser: the optimiser's state.
        key: the run's random key; a step folds its number into it.
    """

    step: Array
    params: Any
    averaged: Any
    optimiser: Any
    key: Array


@dataclass(frozen=True)
class OptimiserSettings:
    """AdamW (Loshchilov and Hutter 2019) with warm-up and cosine decay to zero.

    Attributes:
        learning_rate: at its highest.
        warmup: steps of linear increase.
        weight_decay: on kernels and matrices, not on scales, offsets and biases.
        clip: greatest global norm of the gradient, above 0; infinity is no limit.
        average: decay of the parameters' moving average, a step; lower at first, when the
            parameters move most: min(average, (1 + step) / (10 + step)).
    """

    learning_rate: float = 1e-3
    warmup: int = 50
    weight_decay: float = 1e-4
    clip: float = 1.0
    average: float = 0.99

    def __post_init__(self):
        """Checks the ranges."""
        for field in fields(self):
            value = getattr(self, field.name)
            if not value >= 0:  # NaN as well
                raise UserError(f"config.optimiser.{field.name} is {value}; give 0 or more")
        if self.clip == 0:
            raise UserError("config.optimiser.clip is 0, which stops all training; inf is no limit")
        if not 0 <= self.average < 1:
            raise UserError(f"config.optimiser.average is {self.average}; it must be below 1")


def schedule(settings: OptimiserSettings, steps: int) -> optax.Schedule:
    """The learning rate at each of `steps` steps."""
    warmup = min(settings.warmup, steps // 2)
    return optax.warmup_cosine_decay_schedule(
        init_value=settings.learning_rate / (warmup + 1),
        peak_value=settings.learning_rate,
        warmup_steps=warmup,
        decay_steps=max(steps, 1),
    )


# By name: of couplings that are stacked, they have two axes as well.
_NOT_DECAYED = {"scale", "offset", "bias"}


def _decays(path: tuple[Any, ...], weights: jax.Array) -> bool:
    names = {getattr(key, "key", getattr(key, "name", None)) for key in path}
    return weights.ndim > 1 and not names & _NOT_DECAYED


def make_optimiser(settings: OptimiserSettings, steps: int) -> optax.GradientTransformation:
    """Clipping, AdamW and its schedule, as one gradient transformation."""

    def decays(params):
        return jax.tree_util.tree_map_with_path(_decays, params)

    return optax.chain(
        optax.clip_by_global_norm(settings.clip),
        optax.adamw(schedule(settings, steps), weight_decay=settings.weight_decay, mask=decays),
    )


def first_state(params: Any, optimiser: optax.GradientTransformation, seed: int) -> TrainState:
    """The state before the first step."""

    @jax.jit  # op by op, every shape would be a program of its own
    def beside(params):
        # A copy: the step donates the state, and one buffer cannot be donated twice.
        return jax.tree.map(jnp.copy, params), optimiser.init(params)

    averaged, optimiser_state = beside(params)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        averaged=averaged,
        optimiser=optimiser_state,
        key=jax.random.key(seed),
    )
