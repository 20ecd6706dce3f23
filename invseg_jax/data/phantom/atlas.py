"""Tissue maps of an average brain, prepared from the ICBM 152 template."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from nibabel.nifti1 import Nifti1Image
from scipy import ndimage

from invseg_jax.errors import UserError


@dataclass(frozen=True)
class Atlas:
    """The template's anatomy, (X, Y, Z) float32 maps at 1 mm, cropped and with an empty border.

    Attributes:
        brain: the soft brain mask, 0 to 1.
        grey: the share of it that is grey matter.
        white: the share of it that is white matter; what remains is cerebrospinal fluid.
        texture: -1 to 1, what the T1 template shows beyond a mixture of its three tissue means.
        myelin: 0 to 1, how far myelination has come; it goes from the centre outwards and from
            back to front.
    """

    brain: np.ndarray
    grey: np.ndarray
    white: np.ndarray
    texture: np.ndarray
    myelin: np.ndarray

    @property
    def centre(self) -> np.ndarray:
        """(3, 1, 1, 1) voxel coordinates of the middle of the maps."""
        return (np.array(self.brain.shape, np.float64).reshape(3, 1, 1, 1) - 1) / 2


def load_atlas() -> Atlas:
    """Prepares the maps from the template's files, which takes a second or two.

    Raises:
        UserError: nilearn, which carries the template, is not installed.
    """
    t1, grey, white = (_template(kind) for kind in ("t1", "gm", "wm"))
    ventricles = _lateral_ventricles(t1, grey, white)
    extent = ndimage.find_objects(t1 > 0, 1)[0]
    box = tuple(slice(max(side.start - 8, 0), side.stop + 8) for side in extent)
    t1, grey, white, ventricles = (
        np.pad(a[box], ((0, 0), (0, 0), (8, 0)))  # the brain touches the template's lower face
        for a in (t1, grey / np.float32(255), white / np.float32(255), ventricles)
    )
    inside = t1 > 0
    # The template is stripped close to the cortex; close it over the sulci and widen it by
    # 2 mm, so that the subarachnoid space lies within the brain mask as it does in iSeg.
    brain = ndimage.binary_closing(inside | (grey + white > 0.1), iterations=4)
    brain = ndimage.binary_dilation(ndimage.binary_fill_holes(brain), iterations=2)
    grey, white = _without_ventricle_lining(t1, grey, white, ventricles)
    soft = ndimage.gaussian_filter(brain.astype(np.float32), 0.7)
    total = np.maximum(grey + white, soft)
    fluid = total - grey - white
    # Where a voxel is purely CSF, grey or white matter the template's T1 is 65, 165 or 224.
    mixture = (65 * fluid + 165 * grey + 224 * white) / np.maximum(total, 1e-3)
    core = ndimage.binary_erosion(inside, iterations=2)
    texture = np.where(core, np.clip((t1 - mixture) / 40, -1, 1), 0).astype(np.float32)
    posterior = np.linspace(0.12, -0.12, white.shape[1], dtype=np.float32)[:, None]
    myelin = np.clip(ndimage.gaussian_filter(white, 5) + posterior, 0, 1)
    return Atlas(total, grey, white, texture, myelin)


def sample(volume: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Linear interpolation of a map at voxel coordinates (3, ...); 0 beyond its border."""
    return ndimage.map_coordinates(volume, places, np.float32, order=1)


def _template(kind: str) -> np.ndarray:
    """One of nilearn's ICBM 152 volumes, `t1`, `gm` or `wm`: (197, 233, 189) uint8 at 1 mm, RAS."""
    # find_spec finds the files without importing nilearn, which takes seconds.
    spec = importlib.util.find_spec("nilearn")
    name = f"mni_icbm152_{kind}_tal_nlin_sym_09a_converted.nii.gz"
    path = Path(spec.origin).parent / "datasets" / "data" / name if spec and spec.origin else None
    if path is None or not path.is_file():
        raise UserError(
            "the embedded cohort needs the ICBM 152 template that nilearn carries: "
            'pip install "invseg_jax[demo]", or give --data'
        )
    return np.asarray(Nifti1Image.from_filename(path).dataobj)


def _lateral_ventricles(t1: np.ndarray, grey: np.ndarray, white: np.ndarray) -> np.ndarray:
    """Mask of the lateral ventricles on the whole template's grid."""
    fluid = (t1 > 0) & (grey.astype(np.int16) + white < 55)
    labels = np.empty(t1.shape, np.int32)
    ndimage.label(fluid, output=labels)
    seeds = [labels[98 + x, 144, 86] for x in (-6, 6)]  # MNI (-6, 10, 14) and (6, 10, 14) mm
    return np.isin(labels, [seed for seed in seeds if seed])


def _without_ventricle_lining(
    t1: np.ndarray, grey: np.ndarray, white: np.ndarray, ventricles: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Takes out the false sheet of grey matter between the lateral ventricles and white matter.

    A voxel half CSF, half white matter is as bright as grey matter, and the probability maps fall
    for it. What is thin there goes to white matter by its T1; caudate and thalamus are thick.
    """
    likely = grey > 0.35
    thick = ndimage.binary_opening(likely, ndimage.generate_binary_structure(3, 2), 2)
    near = ndimage.binary_dilation(ventricles, iterations=4)
    lining = likely & np.logical_not(thick) & np.asarray(near, bool)
    moved = grey * ndimage.gaussian_filter(lining.astype(np.float32), 0.5)
    return grey - moved, white + moved * np.clip((t1 - 65.0) / 159, 0, 1).astype(np.float32)
