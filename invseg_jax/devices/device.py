"""What the package asks of a device."""

from collections.abc import Mapping
from typing import Protocol


class Device(Protocol):
    """A device of JAX's: `jax.Device` is no type to a type checker."""

    @property
    def platform(self) -> str:
        """Its kind: "cpu", "gpu" or "tpu"."""
        ...

    @property
    def device_kind(self) -> str:
        """Its model, in words."""
        ...

    def memory_stats(self) -> Mapping[str, int] | None:
        """Bytes by name, such as "bytes_limit"; None where it does not count them."""
        ...
