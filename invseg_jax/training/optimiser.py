"""What moves the parameters: the optimiser, its schedule, and the first state."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from invseg_jax.experiment import OptimiserSettings
from invseg_jax.reversible.layer import Params
from invseg_jax.runs.train_state import TrainState


def schedule(settings: OptimiserSettings, steps: int) -> optax.Schedule:
    """The learning rate at each of `steps` steps."""
    warmup = settings.warmup
    peak, rest = settings.learning_rate, max(steps - warmup, 1)
    if settings.schedule == "cosine":
        decay = optax.cosine_decay_schedule(peak, rest)
    else:
        decay = optax.polynomial_schedule(peak, 0.0, settings.power, rest)
    rise = optax.linear_schedule(peak / (warmup + 1), peak, warmup)
    return optax.join_schedules([rise, decay], [warmup])


# By name: of couplings that are stacked, they have two axes as well.
NOT_DECAYED = {"scale", "offset", "bias", "turns"}


def _decays(path: tuple[Any, ...], weights: jax.Array) -> bool:
    names = {getattr(key, "key", getattr(key, "name", None)) for key in path}
    return weights.ndim > 1 and not names & NOT_DECAYED


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


def first_state(params: Params, optimiser: optax.GradientTransformation, seed: int) -> TrainState:
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
