"""Heads of noise that stand for scans, and the fingerprint of a training on them."""

from collections.abc import Sequence

import numpy as np

from invseg_jax.data.prepare.fingerprint import Fingerprint, measure
from invseg_jax.data.prepare.loaded_case import LoadedCase
from invseg_jax.data.volumes.placement import Placement
from invseg_jax.experiment import Preprocessing

MR = Preprocessing()
SHAPE = (20, 24, 16)


def scan(
    seed: int,
    *,
    kinds: Sequence[str] = ("mr",),
    shape: Sequence[int] = SHAPE,
    spacing: Sequence[float] = (1.0, 1.0, 2.0),
    axes: Sequence[int] = (0, 1, 2),
    oriented: bool = True,
) -> LoadedCase:
    """A head of noise in air, as each kind of scanner sees it; no two gains of MR are alike."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"), axis=-1)
    head = (grid**2).sum(axis=-1) < 0.8
    tissue = rng.normal(1, 0.2, shape).clip(0.1, 3)
    seen = {
        "mr": np.where(head, rng.uniform(200, 900) * tissue, 0),
        "pet": np.where(head, rng.uniform(2, 6) * tissue, 0),
        "ct": np.where(head, 40 + 300 * (tissue - 1), -1000),
    }
    image = np.stack([seen[kind] for kind in kinds], axis=-1).astype(np.float32)
    affine = np.diag((*spacing, 1.0))
    image, affine[:, :3] = image.transpose(*axes, 3), affine[:, list(axes)]
    place = Placement.of_affine(affine, oriented=oriented)
    return LoadedCase(str(seed), image, np.ones(image.shape[:3], np.uint8), affine, place)


def fingerprint(
    settings: Preprocessing, cases: Sequence[LoadedCase], modalities: tuple[str, ...] = ("mr",)
) -> Fingerprint:
    rng = np.random.default_rng(0)
    measured = {case.id: measure(case, 2, rng) for case in cases}
    return Fingerprint.of(measured, modalities, ("background", "head"), settings)
