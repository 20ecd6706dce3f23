"""What the architectures are set by: each network has a frozen dataclass of its own."""

from dataclasses import dataclass

# One number for all levels, or one for each level, the finest first.
Counts = int | tuple[int, ...]


@dataclass(frozen=True)
class NetworkSettings:
    """Settings of an architecture; each network has a subclass with its own."""
