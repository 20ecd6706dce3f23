"""Whole-volume prediction from overlapping patches with Gaussian weights.

The scheme is nnU-Net's (Isensee et al., Nature Methods 2021, Methods, "Inference"): neighbouring
patches overlap, and a Gaussian of sigma = patch / 8 gives the centre of a patch, where the network
sees most context, more say than its border.

Both the Gaussian and the grid of patches are products over the three axes, hence so is the sum of
all weights. The weights are therefore divided by their sum beforehand, axis by axis: they add up to
one at every voxel, the accumulator holds the average itself, and no second volume of weights is
needed.
"""

from collections.abc import Callable, Sequence
from itertools import product

import jax
import numpy as np

Window = tuple[int, int, int]


def window_starts(length: int, patch: int, overlap: float) -> np.ndarray:
    """First voxels of the patches that cover one axis.

    The patches are evenly distributed from 0 to `length - patch`, at most
    `patch * (1 - overlap)` voxels (but never less than one voxel) apart.

    Args:
        length: Voxels along the axis, at least `patch`.
        patch: Voxels of a patch along the axis.
        overlap: Least fraction of a patch that its neighbour covers again, in [0, 1).

    Returns:
        Integer array (windows,), ascending, the first 0 and the last `length - patch`.
    """
    # 10 * (1 - 0.8) is 1.9999999999999996: without the small term the step would be 1, not 2.
    step = max(1, int(patch * (1.0 - overlap) + 1e-6))
    count = -(-(length - patch) // step) + 1
    return np.linspace(0, length - patch, count).round().astype(np.int64)


def window_weights(length: int, patch: int, starts: np.ndarray) -> np.ndarray:
    """Gaussian weights of the patches along one axis, which sum to one at every voxel.

    Args:
        length: Voxels along the axis.
        patch: Voxels of a patch along the axis.
        starts: First voxels of the patches (windows,), which together cover the axis.

    Returns:
        float32 array (windows, patch).
    """
    distance = np.arange(patch) - (patch - 1) / 2
    gaussian = np.exp(-0.5 * (distance / (patch / 8)) ** 2)
    total = np.zeros(length)
    for start in starts:
        total[start : start + patch] += gaussian
    return np.stack([gaussian / total[s : s + patch] for s in starts]).astype(np.float32)


def sliding_window(
    predict: Callable[[np.ndarray], np.ndarray | jax.Array],
    image: np.ndarray,
    *,
    patch: Sequence[int],
    classes: int,
    overlap: float = 0.5,
    batch: int = 1,
    margin: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Class probabilities of a whole volume.

    Every call of `predict` has the same shape (the last batch is filled up with zeros), so that a
    jitted function compiles once. The next batch is handed to the device before the result of the
    previous one is added up on the host: the two overlap, and the device never holds more than two
    batches of probabilities, however large the volume. An axis shorter than the patch is padded
    with zeros on both sides and cropped back.

    Args:
        predict: Maps patches (batch, *patch, C) float32 to probabilities (batch, *patch, classes),
            a NumPy or JAX array.
        image: Volume (D, H, W, C).
        patch: Voxels of a patch along the three axes.
        classes: Number of classes, background included.
        overlap: Least fraction of a patch that its neighbour covers again, in [0, 1).
        batch: Patches in one call of `predict`.
        margin: Voxels of context that `predict` is given beyond each side of a patch; around the
            volume they are zeros, as in training (overlap-tile, Ronneberger et al. 2015).
        progress: Called as `progress(done, total)`, in patches, after each batch.

    Returns:
        Probabilities (D, H, W, classes), float32.

    Raises:
        ValueError: The image is not (D, H, W, C) or is empty, a setting is out of its range, or
            `predict` returns another shape.
    """
    size = _checked_patch(image, patch, classes, overlap, batch)
    padded, crop = _pad_to(np.asarray(image, np.float32), size)
    volume: Window = (padded.shape[0], padded.shape[1], padded.shape[2])
    starts = [window_starts(n, p, overlap) for n, p in zip(volume, size, strict=True)]
    weights = [window_weights(n, p, s) for n, p, s in zip(volume, size, starts, strict=True)]
    windows: list[Window] = list(product(*(range(len(s)) for s in starts)))  # type: ignore[arg-type]
    total = np.zeros((*volume, classes), np.float32)
    if margin:
        padded = np.pad(padded, [*[(margin, margin)] * 3, (0, 0)])

    def region(window: Window, around: int = 0) -> tuple[slice, ...]:
        corner = (int(s[i]) for s, i in zip(starts, window, strict=True))
        return tuple(slice(c, c + p + 2 * around) for c, p in zip(corner, size, strict=True))

    def accumulate(group: list[Window], output: np.ndarray | jax.Array) -> None:
        probabilities = np.asarray(output)
        expected = (batch, *size, classes)
        if probabilities.shape != expected:
            raise ValueError(f"predict returned shape {probabilities.shape}, not {expected}")
        for window, values in zip(group, probabilities, strict=False):
            d, h, w = (weights[axis][i] for axis, i in enumerate(window))
            weight = d[:, None, None, None] * h[None, :, None, None] * w[None, None, :, None]
            total[region(window)] += values.astype(np.float32, copy=False) * weight

    waiting: tuple[list[Window], np.ndarray | jax.Array] | None = None
    for first in range(0, len(windows), batch):
        group = windows[first : first + batch]
        # A fresh array each time: JAX may still be reading the previous one.
        sizes = (s + 2 * margin for s in size)
        patches = np.zeros((batch, *sizes, padded.shape[3]), np.float32)
        for slot, window in zip(patches, group, strict=False):
            slot[...] = padded[region(window, margin)]
        output = predict(patches)
        if waiting is not None:
            accumulate(*waiting)
            if progress is not None:
                progress(first, len(windows))
        waiting = (group, output)
    assert waiting is not None  # a volume is covered by one patch at least
    accumulate(*waiting)
    if progress is not None:
        progress(len(windows), len(windows))
    return np.ascontiguousarray(total[crop])


def _checked_patch(
    image: np.ndarray, patch: Sequence[int], classes: int, overlap: float, batch: int
) -> Window:
    if image.ndim != 4 or 0 in image.shape:
        raise ValueError(f"the image must be (D, H, W, C) and not empty, but is {image.shape}")
    if len(patch) != 3 or min(patch) < 1:
        raise ValueError(f"patch must be three positive numbers of voxels, not {tuple(patch)}")
    if classes < 1 or batch < 1:
        raise ValueError(f"classes and batch must be at least 1, not {classes} and {batch}")
    if not 0.0 <= overlap < 1.0:
        raise ValueError(f"overlap must lie in [0, 1), not {overlap}")
    return int(patch[0]), int(patch[1]), int(patch[2])


def _pad_to(image: np.ndarray, size: Window) -> tuple[np.ndarray, tuple[slice, ...]]:
    """Centres the image in zeros where it is shorter than the patch; returns it and the crop."""
    missing = [max(0, p - n) for n, p in zip(image.shape, size, strict=False)]
    before = [m // 2 for m in missing]
    crop = tuple(slice(b, b + n) for b, n in zip(before, image.shape, strict=False))
    if any(missing):
        margins = [(b, m - b) for b, m in zip(before, missing, strict=True)]
        image = np.pad(image, [*margins, (0, 0)])
    return image, crop
