"""What a trainer is given: a task.

    batches -> loss(parameters, batch, key) -> metrics          every step
    validate(parameters) -> scores                              now and then

The trainer knows nothing else of what is learned: neither labels nor Dice.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import jax
import numpy as np

from invseg_jax.reversible.layer import Array, PyTree
from invseg_jax.runs.resumable import Resumable
from invseg_jax.runs.run_folder import RunDescription

Parameters = PyTree
Batch = Mapping[str, Array]
HostBatch = Mapping[str, np.ndarray]
Metrics = Mapping[str, Array]


class Batches(Resumable, Protocol):
    """A stream of batches that can be stopped and resumed, such as Grain's iterators."""

    def __iter__(self) -> Iterator[HostBatch]:
        """Returns itself."""
        ...

    def __next__(self) -> HostBatch:
        """The next batch: host arrays by name, the examples along the first axis."""
        ...


@dataclass(frozen=True)
class Part:
    """The part of each batch that one process reads.

    Attributes:
        process: number of the process, from 0.
        processes: how many there are.
    """

    process: int = 0
    processes: int = 1


@dataclass(frozen=True)
class Validation:
    """What held-out cases show.

    Attributes:
        text: one line for the user.
        scores: numbers by name, such as "dice/tumour"; NaN where there is none.
    """

    text: str
    scores: Mapping[str, float] = field(default_factory=dict)


class Task(Protocol):
    """What is learned, from which data, and how it is scored."""

    @property
    def title(self) -> str:
        """What is trained, in a word: the name of the network."""
        ...

    @property
    def summary(self) -> str:
        """On what it is trained, in a few words: "8 training and 2 held-out cases, batch 2"."""
        ...

    @property
    def description(self) -> RunDescription:
        """What the run's folder holds, and what a checkpoint must agree with."""
        ...

    @property
    def batch(self) -> Mapping[str, jax.ShapeDtypeStruct]:
        """Shape and type of each array of a whole batch, over all processes and devices."""
        ...

    @property
    def shown(self) -> Mapping[str, str]:
        """The metrics that the progress bar shows beside the loss, and their names there."""
        ...

    @property
    def remedy(self) -> str:
        """What may help where the loss is not finite: "lower config.optimiser.learning_rate"."""
        ...

    def parameters(self, key: Array) -> Parameters:
        """Draws the first parameters.

        Args:
            key: a random key; the same key gives the same parameters.
        """
        ...

    def loss(self, parameters: Parameters, batch: Batch, key: Array) -> tuple[Array, Metrics]:
        """What training makes small; pure, and traced inside the compiled step.

        Args:
            parameters: as `parameters` gives them.
            batch: arrays of a batch, or of a part of it.
            key: of this step, for dropout and augmentation.

        Returns:
            A scalar, and further scalars by name. A metric that this batch does not give is NaN.
        """
        ...

    def batches(self, part: Part) -> Batches:
        """The stream of training batches, from its beginning.

        Args:
            part: the examples of each batch that this process reads.
        """
        ...

    def validate(self, parameters: Parameters) -> Validation | None:
        """Scores held-out cases; None where there are none.

        Args:
            parameters: the averaged parameters, on the devices.
        """
        ...
