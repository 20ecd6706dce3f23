"""Counts by hand what a training step keeps for its gradient, level by level.

The rule is the one of `docs/explanation/memory.md`: JAX keeps the input of every norm, activation
and convolution. An activation of C channels and V voxels is 4 C V bytes in float32.
"""

from collections.abc import Sequence

MIB = 2**20


def voxels(patch: int, level: int, batch: int = 1) -> int:
    """Voxels of a cubic patch at a level; each level halves the three edges."""
    return batch * (patch // 2**level) ** 3


def unet(channels: Sequence[int], patch: int, batch: int = 1, modalities: int = 1) -> list[float]:
    """MiB that the 3D U-Net keeps at each level, finest first.

    Args:
        channels: at the end of each level.
        patch: voxels of an edge.
        batch: patches in a step.
        modalities: channels of the image.
    """
    kept = []
    for level, c in enumerate(channels):
        into = channels[level - 1] if level else modalities
        middle = into if level else c // 2
        # Input of the first convolution; then input of the norm, the activation and what follows.
        count = into + 3 * middle + 3 * c
        if level < len(channels) - 1:
            count += channels[level + 1] + c  # the decoder's concatenated input
            count += 3 * c + 3 * c
        kept.append(4 * count * voxels(patch, level, batch) / MIB)
    return kept


def invertible(
    channels: Sequence[int], patch: int, couplings: int, memory: str, batch: int = 1
) -> list[float]:
    """MiB that the trunk of `FullInvRes` keeps at each level, finest first.

    Args:
        channels: of the stream at each level.
        patch: voxels of an edge.
        couplings: a level and side, of one convolution each; the coarsest level has them once.
        memory: "plain" keeps the inputs of norm, activation and convolution, on half the channels
            each; "remat" keeps the half that a coupling has changed; "reversible" keeps the
            trunk's output alone.
        batch: patches in a step.
    """
    kept = []
    for level, c in enumerate(channels):
        sides = 1 if level == len(channels) - 1 else 2
        activation = 4 * c * voxels(patch, level, batch) / MIB
        if memory == "plain":
            kept.append(3 * activation / 2 * couplings * sides)
        elif memory == "remat":
            kept.append(activation / 2 * couplings * sides)
        else:
            kept.append(activation if level == 0 else 0.0)
    return kept


def main() -> None:
    """Prints the tables of docs/explanation/memory.md."""
    wide, narrow = (32, 64, 128, 256), (24, 48, 72, 112)
    rows = {"UNet3D": unet(narrow, 64)}
    for memory in ("plain", "remat", "reversible"):
        for couplings in (2, 30):
            name = f"FullInvRes {memory}, {couplings}"
            rows[name] = invertible(wide, 64, couplings, memory)
    for name, kept in rows.items():
        print(f"{name:28}", *(f"{x:8.1f}" for x in kept), f"{sum(kept):9.1f}")


if __name__ == "__main__":
    main()
