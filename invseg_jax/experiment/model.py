"""Settings of the network: which one, how large, and how it is evaluated."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

from invseg_jax.errors import UserError
from invseg_jax.experiment.section import Section
from invseg_jax.experiment.values import annotations, fitted
from invseg_jax.layers.execution import Execution, Loop, Precision, StreamFormat
from invseg_jax.models import NetworkSettings, find
from invseg_jax.reversible import Memory


@dataclass(frozen=True)
class ModelSettings(Section):
    """Which network is trained, and how it is evaluated.

    The settings below `settings` belong to the network: each has its own. `memory`, `stream`,
    `fraction_bits`, `slabs` and `loop` change no parameter: a run can be trained one way and go on
    another way.

    Attributes:
        name: the name of the network, as `models.names` gives it.
        settings: the network's own, such as its channels; None: its defaults.
        memory: how the gradient is had: "reversible", "plain" or "remat"; None: as the network
            does it best.
        stream: number format of the invertible stream: "float32", or "fixed": inverted exactly, bit
            for bit.
        fraction_bits: bits behind the point in the fixed stream.
        slabs: number of pieces in which GPUs evaluate a branch; more take less memory.
        loop: couplings of one shape as one loop ("scan"), or "unrolled".

    Raises:
        UserError: there is no such network, or a value is out of range.
    """

    KEY: ClassVar[str] = "model"

    name: str = "FullInvRes"
    settings: NetworkSettings | None = None
    memory: Memory | None = None
    stream: StreamFormat = "float32"
    fraction_bits: int = 16
    slabs: int = 1
    loop: Loop = "scan"

    def __post_init__(self):
        """Takes the network's defaults for what is None, then checks."""
        try:
            network = find(self.name)
        except ValueError as error:
            raise UserError(f"config.model: {error}") from error
        settings = network.Settings() if self.settings is None else self.settings
        if not isinstance(settings, network.Settings):
            raise UserError(
                f"config.model.settings are {type(settings).__name__}; {self.name} takes "
                f"{network.Settings.__name__}"
            )
        named = {
            name: fitted(annotation, getattr(settings, name), f"config.model.settings.{name}")
            for name, annotation in annotations(network.Settings).items()
        }
        object.__setattr__(self, "settings", network.Settings(**named))
        if self.memory is None:
            object.__setattr__(self, "memory", network.memories[0])
        super().__post_init__()

    def check(self) -> None:
        """Checks what the network can do, and the ranges of its execution."""
        network = find(self.name)
        if self.memory not in network.memories or self.stream not in network.streams:
            raise UserError(
                f"config.model: {self.name} can have memory {' or '.join(network.memories)} and "
                f"stream {' or '.join(network.streams)}"
            )
        self.execution("float32")

    def execution(self, precision: Precision) -> Execution:
        """How layers are evaluated, with a precision of the convolutions' factors.

        Raises:
            UserError: a value is out of range.
        """
        assert self.memory is not None
        try:
            return Execution(
                memory=self.memory,
                stream=self.stream,
                fraction_bits=self.fraction_bits,
                precision=precision,
                slabs=self.slabs,
                loop=self.loop,
            )
        except ValueError as error:
            raise UserError(f"config.model.{error}") from error

    @property
    def channels(self) -> tuple[int, ...]:
        """Of the network at each level, finest first."""
        return getattr(self.settings, "channels", None) or ()

    def with_network(self, **values: object) -> "ModelSettings":
        """A copy with other settings of the network's own.

        Args:
            values: by the names that the network's settings have.

        Raises:
            TypeError: the network has no such setting.
        """
        assert self.settings is not None
        return replace(self, settings=replace(self.settings, **values))

    def network(self, name: str) -> object:
        """A setting of the network's own; None where the network has none of this name."""
        return getattr(self.settings, name, None)


@dataclass(frozen=True)
class BranchSettings(Section):
    """A second decoder that regularises training (Myronenko 2018); not used for segmenting.

    Attributes:
        latent: how many numbers describe an image, 128 in Myronenko 2018; 0: no branch.
        widths: channels at each level, finest first; (): those of the network.
        reconstruction: the weight of the mean squared error in the loss.
        kl: weight of the divergence from N(0, 1) in the loss.

    Raises:
        UserError: a number is negative, or a weight not finite.
    """

    KEY: ClassVar[str] = "vae"

    latent: int = 0
    widths: tuple[int, ...] = ()
    reconstruction: float = 0.1
    kl: float = 0.1

    def check(self) -> None:
        """Checks the ranges."""
        self.at_least(0, "latent")
        for name in ("reconstruction", "kl"):
            if not 0 <= getattr(self, name) < math.inf:
                raise self.wrong(name, "give a number of at least 0")
