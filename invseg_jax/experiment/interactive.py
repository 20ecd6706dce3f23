"""Settings of interactive segmentation: its two networks, and what they are trained on."""

from dataclasses import dataclass
from typing import ClassVar

from invseg_jax.experiment.section import Section
from invseg_jax.models.slice_unet import SliceNetworkSettings
from invseg_jax.reversible import Memory


@dataclass(frozen=True)
class InteractiveSettings(Section):
    """The interaction network and the memory network, and their training examples.

    Attributes:
        window: pixels along each side of what the networks see of a slice.
        channels: channels at each level, finest first; see `models.slice_unet`.
        couplings: number of couplings at each level.
        groups: of the normalisations.
        key: channels of the memory's keys.
        value: channels of the memory's values.
        level: at which level the memory is read, counted from 0.
        detail: channels at the window's full resolution.
        memory: how the gradient is had: "reversible", "plain" or "remat".
        slices: slices with prompts in a training example.
        asked: slices in a row that a training clip asks for.
        known: most slices with known masks in a training clip.
        quality: weight of the quality head's loss.
        confirmed: most confirmed slices that the memory holds when it is used; of more, those
            nearest to the slice that asks.

    Raises:
        UserError: a value is out of range.
    """

    KEY: ClassVar[str] = "interactive"

    window: int = 128
    channels: tuple[int, ...] = (32, 64, 112, 160)
    couplings: int = 2
    groups: int = 8
    key: int = 32
    value: int = 96
    level: int = 2
    detail: int = 8
    memory: Memory = "reversible"
    slices: int = 2
    asked: int = 4
    known: int = 3
    quality: float = 0.2
    confirmed: int = 8

    def check(self) -> None:
        """Checks the ranges."""
        self.at_least(1, "slices", "asked", "known", "confirmed")
        self.at_least(0, "quality")
        try:
            multiple = self.network.multiple
        except ValueError as error:
            raise self.wrong("channels", str(error)) from error
        if self.window < multiple or self.window % multiple:
            raise self.wrong("window", f"give a multiple of {multiple}")

    @property
    def network(self) -> SliceNetworkSettings:
        """The architecture of both networks."""
        return SliceNetworkSettings(
            channels=self.channels,
            couplings=self.couplings,
            groups=self.groups,
            key=self.key,
            value=self.value,
            level=self.level,
            detail=self.detail,
        )
