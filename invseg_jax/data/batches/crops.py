"""Training crops: where to place a patch in a volume, and how to cut it out."""

from collections.abc import Callable, Sequence

import numpy as np

from invseg_jax.data.layouts.case import IGNORED

Triple = tuple[int, int, int]


def choose_start(
    rng: np.random.Generator,
    shape: Sequence[int],
    patch: Sequence[int],
    *,
    foreground: float,
    classes: int,
    voxels: Callable[[int], np.ndarray],
    margin: int = 0,
) -> Triple:
    """Draws the first corner of a patch, over-sampling the foreground.

    With probability `foreground` one of the foreground classes that the volume holds is drawn, each
    as likely as the next however small it is, then one of its voxels, and the patch is centred on
    that, as far as the volume's border allows (nnU-Net, Isensee et al. 2021). Otherwise, and where
    there is no foreground, all positions inside of the volume are equally likely. Along an axis on
    which the volume is no larger than the patch it is centred in the patch.

    Args:
        rng: source of randomness.
        shape: (D, H, W) of the volume in voxels.
        patch: (D, H, W) of the patch in voxels.
        foreground: probability of centring on foreground.
        classes: number of classes, the background (0) among them.
        voxels: gives for a class from 1 to classes - 1 its voxels, (m, 3) integers, m >= 0.
        margin: voxels by which the patch may reach beyond the volume at each side.

    Returns:
        The patch's first voxel in the volume; negative where the volume is the smaller.
    """
    wider = [size + 2 * margin for size in shape]
    if rng.random() < foreground:
        # The first class in a random order that is not empty: uniform over those, and reads few.
        for index in rng.permutation(np.arange(1, classes)):
            candidates = voxels(int(index))
            if len(candidates):
                centre = candidates[rng.integers(len(candidates))] + margin
                return _triple(first - margin for first in centred_start(centre, wider, patch))
    return _triple(
        (int(rng.integers(size - extent + 1)) if size > extent else -((extent - size) // 2))
        - margin
        for size, extent in zip(wider, patch, strict=True)
    )


def centred_start(voxel: Sequence[int], shape: Sequence[int], patch: Sequence[int]) -> Triple:
    """The start of the patch whose centre is `voxel`, moved as little as keeps it in the volume.

    Args:
        voxel: indices along D, H, W.
        shape: (D, H, W) of the volume in voxels.
        patch: (D, H, W) of the patch in voxels.

    Returns:
        The patch's first voxel in the volume; negative where the volume is the smaller.
    """
    return _triple(
        min(max(int(centre) - extent // 2, 0), size - extent)
        if size > extent
        else -((extent - size) // 2)
        for centre, size, extent in zip(voxel, shape, patch, strict=True)
    )


def crop(volume: np.ndarray, start: Sequence[int], patch: Sequence[int]) -> np.ndarray:
    """Cuts a patch out of a volume; what lies outside of the volume is 0.

    Only the patch is read from a memory-mapped volume.

    Args:
        volume: (D, H, W) or (D, H, W, C).
        start: first voxel along D, H, W; may be negative or reach beyond the end.
        patch: (D, H, W) of the patch in voxels.

    Returns:
        A new contiguous array (*patch[, C]) of the volume's dtype.
    """
    result = np.zeros((*patch, *volume.shape[3:]), volume.dtype)
    source, target = [], []
    for first, extent, size in zip(start, patch, volume.shape[:3], strict=True):
        low, high = max(first, 0), min(first + extent, size)
        if low >= high:
            return result
        source.append(slice(low, high))
        target.append(slice(low - first, high - first))
    result[tuple(target)] = volume[tuple(source)]
    return result


def crop_label(label: np.ndarray, start: Sequence[int], patch: Sequence[int]) -> np.ndarray:
    """Cuts a patch out of a label map.

    What lies outside of the volume is background (0), but `IGNORED` where the patch holds voxels
    that nobody labelled: where few are labelled, the padding would outnumber them.

    Args:
        label: (D, H, W) class indices, or `IGNORED`.
        start: as of `crop`.
        patch: as of `crop`.

    Returns:
        A new contiguous array (*patch) of the label map's dtype.
    """
    result = crop(label, start, patch)
    if (result == IGNORED).any():
        inside = crop(np.broadcast_to(np.True_, label.shape), start, patch)
        result[~inside] = IGNORED
    return result


def _triple(values) -> Triple:
    depth, height, width = values
    return depth, height, width
