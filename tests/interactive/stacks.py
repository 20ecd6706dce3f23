"""Small cases for tests: an ellipsoid, brighter than what is around it."""

import numpy as np

from invseg_jax.interactive.stack import Stack


def ellipsoid(
    shape: tuple[int, int, int] = (14, 40, 44),
    centre: tuple[float, float, float] = (7, 20, 22),
    radii: tuple[float, float, float] = (5, 12, 9),
) -> np.ndarray:
    """A bool array with an ellipsoid, lengths in voxels."""
    places = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    parts = zip(places, centre, radii, strict=True)
    return np.sum([((x - c) / r) ** 2 for x, c, r in parts], axis=0) < 1


def stack(noise: float = 0.1, spacing: tuple[float, float, float] = (3.0, 1.0, 1.0)) -> Stack:
    """A case with one ellipsoid."""
    truth = ellipsoid()
    rng = np.random.default_rng(0)
    image = truth + noise * rng.standard_normal(truth.shape)
    label = truth.astype(np.uint8)
    return Stack("case", image.astype(np.float32), label, spacing, label.sum((1, 2))[None])
