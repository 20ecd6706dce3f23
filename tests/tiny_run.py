"""A network of a few hundred weights on six noisy balls: what tests of whole runs share."""

import json
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np

from invseg_jax.experiment import Experiment, base_experiment

CLASSES = {"0": "background", "1": "ball", "2": "shell"}


TINY = {
    "model.settings.channels": (4, 8),
    "model.settings.couplings": 1,
    "data.folds": 3,
    "data.patch": (8, 8, 8),
    "data.threads": 0,
    "augment.flip": (0.5, 0.5, 0.5),
    "devices": 1,
    "steps": 4,
    "log_every": 2,
    "save_every": 2,
    "eval_every": 4,
    "inference.batch": 1,
    "optimiser.warmup": 1,
}


def tiny_config() -> Experiment:
    return base_experiment("FullInvRes").changed(TINY)


def load(path: Path) -> nibabel.Nifti1Image:
    return nibabel.Nifti1Image.from_filename(path)


def ball(seed: int, shape=(11, 13, 9)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    radius = np.linalg.norm(grid - (np.array(shape) - 1) / 2, axis=-1)
    label = np.where(radius < 2.5, 1, np.where(radius < 4.0, 2, 0)).astype(np.uint8)
    image = 10.0 + 5.0 * label + rng.normal(0, 0.5, shape)
    return image.astype(np.float32), label


def write_balls(root: Path) -> None:
    """Six volumes and their label maps in the Decathlon's layout."""
    affine = np.diag((1.5, 1.0, 2.0, 1.0))
    affine[:3, 3] = (-7, 3, 11)
    entries = []
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
    for number in range(6):
        image, label = ball(number)
        name = f"ball_{number:03}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(image, affine), root / "imagesTr" / name)
        nibabel.save(nibabel.Nifti1Image(label, affine), root / "labelsTr" / name)
        entries.append({"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"})
    description = {"name": "balls", "modality": {"0": "MRI"}, "labels": CLASSES}
    (root / "dataset.json").write_text(json.dumps(description | {"training": entries, "test": []}))


def parameters(workdir: Path) -> dict[str, np.ndarray]:
    """Every array of the newest checkpoint, read without the package's own code."""
    import orbax.checkpoint as ocp

    steps = sorted(int(p.name) for p in (workdir / "checkpoints").iterdir() if p.name.isdigit())
    with ocp.StandardCheckpointer() as checkpointer:
        state = checkpointer.restore(workdir.absolute() / "checkpoints" / str(steps[-1]) / "state")
    return {name: np.asarray(leaf) for name, leaf in state.items() if "key" not in name}


def command(*arguments: str, folder: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "invseg_jax.train", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )
