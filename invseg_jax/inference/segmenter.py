"""A trained network as a function: from an image to its label map, on the image's own grid."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

import nibabel as nib
import numpy as np
from nibabel.spatialimages import SpatialImage

from invseg_jax.data.batches.regions import Regions
from invseg_jax.data.layouts.case import Case, Dataset
from invseg_jax.data.prepare.loaded_case import LoadedCase, load_case
from invseg_jax.data.volumes.placement import Placement
from invseg_jax.errors import UserError, arguments_named
from invseg_jax.experiment import Experiment
from invseg_jax.inference.mirroring import Mirror
from invseg_jax.inference.segmentation import (
    TrainedNetwork,
    load_trained_network,
    probabilities_on_file_grid,
    segment,
)
from invseg_jax.inference.trained_run import DataDescription

PathLike = str | os.PathLike[str]
# An image: its file, or its files where there is one for each modality; an image of nibabel; or an
# array (D, H, W) or (D, H, W, modalities) with its affine (4, 4), voxel indices to mm.
Image = PathLike | Sequence[PathLike] | SpatialImage | tuple[np.ndarray, np.ndarray]


class Segmenter:
    """Segments images with a trained run.

        segmenter = invseg_jax.load("RUN")
        labels = segmenter("scan.nii.gz")               a nibabel image
        labels = segmenter(nibabel.load("scan.nii.gz")) a nibabel image
        labels = segmenter((array, affine))             an array

    The label map lies on the image's own grid and holds the label values of the training data. It
    is the one that the command `predict` writes.

    Attributes:
        experiment: of the run.
        classes: their names, the background first.
        values: the label value of each class.
        modalities: the names of the channels that an image must have, in order.
        outputs: names of what `probabilities` gives: the classes, or the regions.
    """

    def __init__(self, network: TrainedNetwork, experiment: Experiment, data: DataDescription):
        """Takes what `load_trained_network` gives; use `load`."""
        self.experiment, self.classes, self.values = experiment, data.classes, data.values
        self.modalities = data.modalities
        regions = Regions.of(data.regions, data.values)
        self.outputs = data.classes if regions is None else regions.names
        self._network, self._data = network, data

    @classmethod
    def load(cls, workdir: PathLike, mirror: Mirror | None = None) -> Segmenter:
        """Reads a run's newest checkpoint that is not damaged.

        Args:
            workdir: the folder that training wrote.
            mirror: axes D, H, W along which windows are mirrored too; None: as the run's experiment
                says.

        Raises:
            UserError: the folder holds no trained run, or its training did not mirror along one of
                the axes.
        """
        with arguments_named():
            return cls(*load_trained_network(Path(workdir), mirror))

    @overload
    def __call__(self, image: tuple[np.ndarray, np.ndarray]) -> np.ndarray: ...

    @overload
    def __call__(self, image: PathLike | Sequence[PathLike] | SpatialImage) -> nib.Nifti1Image: ...

    def __call__(self, image: Image) -> np.ndarray | nib.Nifti1Image:
        """Segments one image.

        Args:
            image: see `Image`.

        Returns:
            Label values (D, H, W) on the image's own grid, uint8 or uint16: an array for an array,
            else an image of nibabel whose header places it as the given one.

        Raises:
            UserError: a file cannot be read, or the image has other channels than the network.
        """
        with arguments_named():
            found, placement = self._segmented(image)
        stored = np.asarray(self.values, np.uint8 if max(self.values) < 256 else np.uint16)
        labels = stored[found]
        if isinstance(image, tuple):
            return labels
        made = nib.Nifti1Image(labels, None)
        placement.write_to(made.header)
        return nib.Nifti1Image(labels, made.header.get_best_affine(), made.header)

    def probabilities(self, image: Image) -> np.ndarray:
        """Probabilities of an image, on its own grid.

        Args:
            image: see `Image`.

        Returns:
            (D, H, W, outputs) float32: of the classes, which sum to 1, or of each region for
            itself.

        Raises:
            UserError: as calling.
        """
        with arguments_named():
            return probabilities_on_file_grid(self._loaded(image), self._network)

    def _segmented(self, image: Image) -> tuple[np.ndarray, Placement]:
        loaded = self._loaded(image)
        return segment(loaded, [self._network]), loaded.placement

    def _loaded(self, image: Any) -> LoadedCase:
        if isinstance(image, SpatialImage):
            return self._from_nibabel(image)
        if isinstance(image, tuple) and any(isinstance(part, np.ndarray) for part in image):
            array, affine = image
            return self._from_array(array, affine)
        paths = (image,) if isinstance(image, (str, os.PathLike)) else tuple(image)
        files = tuple(map(Path, paths))
        case = Case(files[0].name, files, None)
        data = self._data
        dataset = Dataset(
            name=str(files[0]),
            root=files[0].parent,
            modalities=data.modalities,
            classes=data.classes,
            values=data.values,
            cases=(case,),
            ignore=data.ignore,
            reference=data.reference,
        )
        return load_case(dataset, case, self._network.settings.interpolation)

    def _from_nibabel(self, image: SpatialImage) -> LoadedCase:
        if image.affine is None:
            raise UserError("image: it has no affine; give it one")
        affine = np.asarray(image.affine, np.float64)
        if not isinstance(image.header, nib.Nifti1Header):
            return self._from_array(np.asanyarray(image.dataobj), affine)
        placement = Placement.of(image.header)
        # nibabel leaves the affine in the header's unit.
        scale = np.diag([placement.millimetres] * 3 + [1.0])
        return self._from_array(np.asanyarray(image.dataobj), scale @ affine, placement)

    def _from_array(
        self, array: np.ndarray, affine: np.ndarray, placement: Placement | None = None
    ) -> LoadedCase:
        affine = np.asarray(affine, np.float64)
        if affine.shape != (4, 4) or not np.isfinite(affine).all() or not np.linalg.det(affine):
            raise UserError("affine: give a (4, 4) matrix, voxel indices to mm, with an inverse")
        voxels = np.asarray(array, np.float32)
        if voxels.ndim == 3:
            voxels = voxels[..., None]
        count = len(self.modalities)
        if voxels.ndim != 4 or voxels.shape[-1] != count or 0 in voxels.shape:
            raise UserError(
                f"image: the array is {np.shape(array)}; give (D, H, W, {count}), the channels "
                f"{', '.join(self.modalities)} last"
            )
        if not np.isfinite(voxels).all():
            raise UserError("image: some voxels are NaN, infinite or beyond float32")
        if placement is None:
            placement = Placement.of_affine(affine)
        return LoadedCase("image", voxels, None, affine, placement)


def load_segmenter(workdir: PathLike, mirror: Mirror | None = None) -> Segmenter:
    """Loads a trained run as a function from images to label maps; see `Segmenter.load`.

    Args:
        workdir: the folder that training wrote.
        mirror: axes D, H, W along which windows are mirrored too, such as (True, False, False);
            None: as the run's experiment says.

    Raises:
        UserError: the folder holds no trained run, or its training did not mirror along one of the
            axes.
    """
    return Segmenter.load(workdir, mirror)
