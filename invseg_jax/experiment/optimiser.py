"""Settings of the optimiser: what moves the parameters, and how far."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from invseg_jax.experiment.section import Section


@dataclass(frozen=True)
class OptimiserSettings(Section):
    """What moves the parameters, how far, and how many batches have a say.

    Attributes:
        name: "adamw" (Loshchilov and Hutter 2019), or "sgd": gradient descent with momentum, the
            weights' decay added to the gradient (nnU-Net's, with momentum 0.99 and Nesterov's).
        learning_rate: the learning rate at its highest.
        warmup: number of steps in which the learning rate rises; no more than the run has.
        schedule: form of the decay to zero over the steps that follow: "cosine", or "polynomial",
            (1 - done)^power.
        power: exponent of the polynomial; nnU-Net's is 0.9.
        momentum: share of the last update that gradient descent keeps.
        nesterov: whether its momentum looks ahead.
        weight_decay: share of the weights taken off, on kernels and matrices; not on scales,
            offsets, biases and the rotations' parameters.
        clip: greatest global norm of the gradient, above 0; infinity is no limit.
        accumulate: number of batches of `data.batch` whose mean gradient makes one step. They pass
            the network one after the other, in the memory of one.
        average: decay of the parameters' moving average, a step; lower at first, when the
            parameters move most: min(average, (1 + step) / (10 + step)).

    Raises:
        UserError: a name that there is not, or a number out of range.
    """

    KEY: ClassVar[str] = "optimiser"

    name: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = 2e-3
    warmup: int = 50
    schedule: Literal["cosine", "polynomial"] = "cosine"
    power: float = 0.9
    momentum: float = 0.99
    nesterov: bool = True
    weight_decay: float = 1e-2
    clip: float = 1.0
    accumulate: int = 1
    average: float = 0.995

    def check(self) -> None:
        """Checks the ranges."""
        numbers = ("learning_rate", "warmup", "power", "momentum", "weight_decay", "clip")
        self.at_least(0, *numbers, "average")
        self.at_least(1, "accumulate")
        if self.clip == 0:
            raise self.wrong("clip", "it stops all training, and inf is no limit")
        for name in ("average", "momentum"):
            if not getattr(self, name) < 1:
                raise self.wrong(name, "it must be below 1")
