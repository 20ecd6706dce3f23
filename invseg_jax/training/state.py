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


@jax.jit
def finite_parts(state: TrainState) -> dict[str, Array]:
    """Whether all numbers of the state are finite, by part: `params`, `averaged`, `optimiser`."""

    def finite(tree: Any) -> Array:
        floats = [a for a in jax.tree.leaves(tree) if jnp.issubdtype(a.dtype, jnp.inexact)]
        each = [jnp.all(jnp.isfinite(a)) for a in floats]
        return jnp.all(jnp.stack([jnp.asarray(True), *each]))

    parts = ("params", "averaged", "optimiser")
    return {name: finite(getattr(state, name)) for name in parts}


OPTIMISERS = ("adamw", "sgd")
SCHEDULES = ("cosine", "polynomial")


@dataclass(frozen=True)
class OptimiserSettings:
    """What moves the parameters, how far, and how many batches have a say.

    Attributes:
        name: "adamw" (Loshchilov and Hutter 2019), or "sgd": gradient descent with momentum, the
            weights' decay added to the gradient (nnU-Net's, with momentum 0.99 and Nesterov's).
        learning_rate: at its highest.
        warmup: steps of linear increase.
        schedule: of the decay to zero over the steps that follow: "cosine", or "polynomial",
            (1 - done)^power.
        power: of the polynomial; nnU-Net's is 0.9.
        momentum: of gradient descent.
        nesterov: whether its momentum looks ahead.
        weight_decay: on kernels and matrices, not on scales, offsets and biases.
        clip: greatest global norm of the gradient, above 0; infinity is no limit.
        accumulate: batches of `config.data.batch` whose mean gradient makes one step; they pass
            the network one after the other, in the memory of one.
        average: decay of the parameters' moving average, a step; lower at first, when the
            parameters move most: min(average, (1 + step) / (10 + step)).

    Raises:
        UserError: a name that there is not, or a number out of range.
    """

    name: str = "adamw"
    learning_rate: float = 1e-3
    warmup: int = 50
    schedule: str = "cosine"
    power: float = 0.9
    momentum: float = 0.99
    nesterov: bool = True
    weight_decay: float = 1e-4
    clip: float = 1.0
    accumulate: int = 1
    average: float = 0.99

    def __post_init__(self):
        """Checks the names and the ranges."""
        for field, known in (("name", OPTIMISERS), ("schedule", SCHEDULES)):
            value = getattr(self, field)
            if value not in known:
                raise UserError(
                    f"config.optimiser.{field} is {value!r}; there are {', '.join(known)}"
                )
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, str) and not value >= 0:  # NaN as well
                raise UserError(f"config.optimiser.{field.name} is {value}; give 0 or more")
        if self.clip == 0:
            raise UserError("config.optimiser.clip is 0, which stops all training; inf is no limit")
        if self.accumulate < 1:
            raise UserError("config.optimiser.accumulate is 0; a step takes at least 1 batch")
        for field in ("average", "momentum"):
            if not getattr(self, field) < 1:
                raise UserError(
                    f"config.optimiser.{field} is {getattr(self, field)}; it must be below 1"
                )


def schedule(settings: OptimiserSettings, steps: int) -> optax.Schedule:
    """The learning rate at each of `steps` steps."""
    warmup = min(settings.warmup, steps // 2)
    peak, rest = settings.learning_rate, max(steps, 1) - warmup
    if settings.schedule == "cosine":
        decay = optax.cosine_decay_schedule(peak, rest)
    else:
        decay = optax.polynomial_schedule(peak, 0.0, settings.power, rest)
    rise = optax.linear_schedule(peak / (warmup + 1), peak, warmup)
    return optax.join_schedules([rise, decay], [warmup])


# By name: of couplings that are stacked, they have two axes as well.
_NOT_DECAYED = {"scale", "offset", "bias"}


def _decays(path: tuple[Any, ...], weights: jax.Array) -> bool:
    names = {getattr(key, "key", getattr(key, "name", None)) for key in path}
    return weights.ndim > 1 and not names & _NOT_DECAYED


def make_optimiser(settings: OptimiserSettings, steps: int) -> optax.GradientTransformation:
    """Clipping, the optimiser and its schedule, as one gradient transformation."""

    def decays(params):
        return jax.tree_util.tree_map_with_path(_decays, params)

    rate, decay = schedule(settings, steps), settings.weight_decay
    clip = optax.clip_by_global_norm(settings.clip)
    if settings.name == "adamw":
        return optax.chain(clip, optax.adamw(rate, weight_decay=decay, mask=decays))
    return optax.chain(
        clip,
        optax.add_decayed_weights(decay, mask=decays),
        optax.sgd(rate, momentum=settings.momentum, nesterov=settings.nesterov),
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
