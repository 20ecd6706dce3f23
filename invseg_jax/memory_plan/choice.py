"""What a search for the largest training step may change, and in which steps."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from invseg_jax.experiment import Experiment

AXES = ("patch", "batch", "width", "depth")
# Limits of each, beyond the configuration's own value.
PATCH_TIMES = 2  # where no data set says how large a case is
BATCH = 8  # examples on each device, or in a memory that devices share
WIDTHS = (1.0, 1.25, 1.5, 1.75, 2.0)
DEPTHS = (1.0, 1.5, 2.0)

Count = int | tuple[int, ...]


@dataclass(frozen=True)
class Choice:
    """The values of a configuration that decide how much memory a step takes.

    Attributes:
        patch: voxels.
        batch: examples a step, over all devices.
        channels: at each level.
        couplings: in a level's encoder, in one number or one a level; None for UNet3D.
        decoder_couplings: the same of PartialInvRes's decoder, else None.
    """

    patch: tuple[int, int, int]
    batch: int
    channels: tuple[int, ...]
    couplings: Count | None = None
    decoder_couplings: Count | None = None

    @classmethod
    def of(cls, experiment: Experiment) -> "Choice":
        """What an experiment has."""
        model, data = experiment.model, experiment.data
        return cls(
            patch=data.patch,
            batch=data.batch,
            channels=model.channels,
            couplings=_count(model.network("couplings")),
            decoder_couplings=_count(model.network("decoder_couplings")),
        )

    def values(self) -> dict[str, object]:
        """The keys below `config` and their values."""
        named = {
            "data.patch": self.patch,
            "data.batch": self.batch,
            "model.settings.channels": self.channels,
            "model.settings.couplings": self.couplings,
            "model.settings.decoder_couplings": self.decoder_couplings,
        }
        return {key: value for key, value in named.items() if value is not None}

    def into(self, experiment: Experiment) -> Experiment:
        """A copy of an experiment with these values."""
        return experiment.changed(self.values())

    def lines(self) -> list[str]:
        """Arguments for a command line, quoted for a shell."""
        return [f"--config.{key}={_quoted(value)}" for key, value in self.values().items()]

    def __str__(self) -> str:
        """A few words for a progress line."""
        text = f"patch {'x'.join(map(str, self.patch))}, batch {self.batch}, channels "
        text += "-".join(map(str, self.channels))
        return text if self.couplings is None else f"{text}, couplings {self.couplings}"

    def wider(self, times: float) -> "Choice":
        """With `times` the channels, rounded to multiples of 8 where the width changes."""
        if times == 1:
            return self
        return replace(
            self, channels=tuple(8 * max(round(c * times / 8), 1) for c in self.channels)
        )

    def deeper(self, times: float) -> "Choice":
        """With `times` the couplings, rounded up."""
        return replace(
            self,
            couplings=_scaled(self.couplings, times),
            decoder_couplings=_scaled(self.decoder_couplings, times),
        )


def patches(largest: Sequence[int], multiple: int) -> list[tuple[int, int, int]]:
    """Growing patches with about the proportions of the largest.

    Args:
        largest: voxels, rounded up to the multiple.
        multiple: of which every size is one: the network halves it so often.

    Returns:
        From twice the multiple along each axis to the largest. At each step the axis that is most
        behind grows, or several that are equally so.
    """
    end = [-(-size // multiple) * multiple for size in largest]
    now = [min(2 * multiple, size) for size in end]
    grown = [tuple(now)]
    while now != end:
        least = min(a / b for a, b in zip(now, end, strict=True))
        now = [a + multiple if a / b == least else a for a, b in zip(now, end, strict=True)]
        grown.append(tuple(now))
    return grown  # pyright: ignore[reportReturnType]


def batches(devices: int, shared: bool, fixed: bool) -> list[int]:
    """Growing batches that can be spread over the devices.

    Args:
        devices: to spread a batch over.
        shared: whether they share one memory, as a CPU's do; then `BATCH` is for all of them.
        fixed: whether all of them must be used, and so divide the batch, be it larger than `BATCH`;
            if not, every batch is possible: as many devices are used as divide it.
    """
    step = devices if fixed else 1
    most = BATCH if shared else BATCH * devices
    return list(range(step, max(most, step) + 1, step))


def _count(value: object) -> Count | None:
    """A number of couplings, or one for each level; None for a setting that is neither."""
    return value if isinstance(value, int | tuple) else None


def _scaled(count: Count | None, times: float) -> Count | None:
    if count is None:
        return None
    if isinstance(count, int):
        return -int(-count * times // 1)
    return tuple(-int(-c * times // 1) for c in count)


def _quoted(value: object) -> str:
    if isinstance(value, tuple):
        return "'(" + ",".join(map(str, value)) + ("," if len(value) == 1 else "") + ")'"
    return str(value)
