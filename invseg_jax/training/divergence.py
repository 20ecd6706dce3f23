"""A training that has diverged is stopped before it saves or shows what came of it."""

import math
from collections.abc import Mapping
from typing import SupportsFloat

from invseg_jax.errors import UserError
from invseg_jax.runs.train_state import TrainState, finite_parts

# The parts of a state, as a message begins.
_PARTS = {
    "params": "parameters are",
    "averaged": "averaged parameters are",
    "optimiser": "numbers of the optimiser are",
}


def refuse_divergence(
    metrics: Mapping[str, SupportsFloat],
    step: int,
    saved: int | None,
    remedy: str,
    state: TrainState | None = None,
) -> None:
    """Refuses to go on where the loss, the gradient or the state is not finite.

    Called before anything is made of them, above all a checkpoint. Loss and gradient belong to the
    parameters before the step; whether the new parameters are finite shows only in the state. An
    overflow of the fixed-point stream makes all of them NaN.

    Args:
        metrics: of the step, with "loss" and "gradient_norm".
        step: its number, from 1 on.
        saved: the step of the newest checkpoint, if there is one.
        remedy: what may help, for the message.
        state: after the step; None where it need not be looked at.

    Raises:
        UserError: one of them is not finite.
    """
    values = {
        "the loss": float(metrics["loss"]),
        "the norm of the gradient": float(metrics["gradient_norm"]),
    }
    wrong = [f"{name} is {v} at" for name, v in values.items() if not math.isfinite(v)]
    if not wrong and state is not None:
        finite = finite_parts(state)
        wrong = [f"{said} not finite after" for part, said in _PARTS.items() if not finite[part]]
    if not wrong:
        return
    last = "nothing was saved" if saved is None else f"the newest checkpoint is of step {saved}"
    raise UserError(f"{wrong[0]} step {step}; {remedy}; {last}")
