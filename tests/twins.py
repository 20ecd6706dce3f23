"""Two organs that look alike, one on each side of a head: only their side tells them apart."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.nifti_bytes import affine, nifti, save

NAMES = ("background", "left_kidney", "right_kidney")


def twins(seed: int, shape: tuple[int, int, int] = (22, 18, 16)) -> tuple[np.ndarray, np.ndarray]:
    """Image and label map; the first axis runs to the right, so the left organ comes first."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    centre = (np.array(shape) - 1) / 2
    head = (((grid - centre) / (np.array(shape) / 2)) ** 2).sum(axis=-1) < 1
    image = np.where(head, 100.0, 0.0) + head * rng.normal(0, 5, shape)
    label = np.zeros(shape, np.uint8)
    for value, side in ((1, -0.25), (2, 0.25)):
        place = centre + [side * shape[0], rng.uniform(-2, 2), rng.uniform(-2, 2)]
        inside = ((grid - place) ** 2).sum(axis=-1) < 3.2**2
        image[inside] = 200 + rng.normal(0, 5, int(inside.sum()))
        label[inside] = value
    return np.rint(image).clip(0).astype(np.int16), label


def write_twins(root: Path, count: int = 6, **fields: Any) -> Path:
    """Writes cases c0, c1, ... in the Decathlon's layout; `fields` are of their headers."""
    names = [f"c{number}.nii.gz" for number in range(count)]
    for number, name in enumerate(names):
        for folder, array in zip(("imagesTr", "labelsTr"), twins(number), strict=True):
            save(root / folder / name, nifti(array, affine(origin=(-11, -9, -8)), **fields))
    write_description(root, names)
    return root


def write_description(root: Path, names: Sequence[str]) -> None:
    """Writes dataset.json of images and label maps of these names."""
    entries = [{"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in names]
    description = {"name": "twins", "modality": {"0": "MR"}, "training": entries, "test": []}
    labels = {str(value): name for value, name in enumerate(NAMES)}
    (root / "dataset.json").write_text(json.dumps(description | {"labels": labels}))
