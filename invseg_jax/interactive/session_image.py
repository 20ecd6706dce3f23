"""The image of a session: slices first for the methods, the file's own axes for the label map."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from nibabel.analyze import AnalyzeHeader
from nibabel.spatialimages import SpatialImage

from invseg_jax.data.volumes.grid import Grid
from invseg_jax.data.volumes.nifti import Volume as FileVolume
from invseg_jax.data.volumes.nifti import read_volume, volume_limit, write_label_map
from invseg_jax.data.volumes.placement import Placement
from invseg_jax.errors import UserError
from invseg_jax.interactive.method import SliceVolume

# Spacings that differ by less are equal: headers round them.
_EQUAL = 1e-3


@dataclass(frozen=True, eq=False)
class SessionImage:
    """An image, and how its slices lie in its file.

    Attributes:
        volume: the slices.
        axis: the axis of the file that counts the slices.
        grid: where the file's voxels lie.
        placement: the header's own fields for the place.
        notes: what a user should know about the header, a line each.
    """

    volume: SliceVolume
    axis: int
    grid: Grid
    placement: Placement
    notes: tuple[str, ...] = ()

    @classmethod
    def open(cls, image: Image, axis: int | None) -> SessionImage:
        """Opens an image.

        Args:
            image: a NIfTI or Analyze file, an image of nibabel, a stack of slices, or an image that
                was opened.
            axis: of the file, which counts the slices; None: the one with the largest spacing, the
                last of several.

        Raises:
            UserError: the file is damaged (see `read_volume`), has more than one channel or voxels
                that are no finite numbers, or there is no such axis.
        """
        if isinstance(image, SessionImage):
            if axis not in (None, image.axis):
                raise UserError(f"the image was opened along axis {image.axis}, not {axis}")
            return image
        if isinstance(image, SliceVolume):
            if axis not in (None, 0):
                raise UserError(f"the slices of a stack lie along axis 0, not {axis}")
            affine = np.diag([*image.spacing, 1.0])
            stack = np.asarray(image.image)
            stored = FileVolume(stack, affine, Path("the stack"), Placement.of_affine(affine))
            axis = 0
        elif isinstance(image, SpatialImage):
            stored = _of_nibabel(image)
        else:
            stored = read_volume(image)
        name = stored.path
        if stored.array.ndim != 3 or 0 in stored.array.shape:
            raise UserError(
                f"{name}: a session needs an image of three axes and one channel; its shape is "
                f"{stored.array.shape}"
            )
        if axis is None:
            spacing = np.array(stored.spacing)
            axis = int(np.flatnonzero(spacing >= spacing.max() * (1 - _EQUAL))[-1])
        if isinstance(axis, bool) or axis not in (0, 1, 2):
            raise UserError(f"{name}: axis {axis} is none of the axes 0, 1 and 2")
        slices = np.moveaxis(stored.array, axis, 0)
        voxels = np.ascontiguousarray(slices, np.float32)
        if bad := int(voxels.size - np.isfinite(voxels).sum()):
            raise UserError(f"{name}: {bad} voxels are NaN or infinite; mend the image")
        lengths = [stored.spacing[axis], *np.delete(stored.spacing, axis).tolist()]
        volume = SliceVolume(voxels, (lengths[0], lengths[1], lengths[2]))
        return cls(volume, axis, Grid.of(stored), stored.placement, stored.notes)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the voxels, the shape and the spacing: of all that a method sees."""
        found = hashlib.sha256()
        found.update(np.array(self.volume.image.shape, "<i8").tobytes())
        found.update(np.array(self.volume.spacing, "<f8").tobytes())
        for one in self.volume.image:
            found.update(one.astype("<f4").tobytes())
        return found.hexdigest()

    def to_file(self, slices: np.ndarray) -> np.ndarray:
        """A stack (slices, rows, columns) on the file's own axes: a view."""
        return np.moveaxis(slices, 0, self.axis)

    def read_labels(self, labels: str | Path | np.ndarray) -> np.ndarray:
        """A label map as a stack of slices.

        Args:
            labels: a file with the voxels of the image, or an array on the file's own axes.

        Returns:
            Integers (slices, rows, columns).

        Raises:
            UserError: the voxels are not in the image's places, or hold no whole numbers from 0.
        """
        if isinstance(labels, str | Path):
            found, name = read_volume(labels), str(labels)
            other = Grid.of(found)
            if difference := self.grid.differs(other):
                raise UserError(f"{name}: does not fit the image; {difference}")
            axes = self.grid.axes_of(other)
            array = found.array if axes is None else axes.bring(found.array)
        else:
            array, name = np.asarray(labels), "the label map"
        if array.shape != self.grid.shape:
            raise UserError(
                f"{name}: its shape is {array.shape}, and that of the image {self.grid.shape}"
            )
        if array.dtype == bool:
            array = array.astype(np.uint8)
        if array.dtype.kind not in "iuf" or not (np.mod(array, 1) == 0).all() or array.min() < 0:
            raise UserError(f"{name}: labels are whole numbers from 0 upwards; it holds others")
        return np.moveaxis(array, self.axis, 0).astype(np.int64)

    def write_labels(self, path: str | Path, slices: np.ndarray) -> None:
        """Writes a label map (slices, rows, columns) on the image's own grid, atomically.

        Raises:
            UserError: the file cannot be written, or its name does not end in .nii.gz.
        """
        path = Path(path)
        if not path.name.endswith(".nii.gz"):
            raise UserError(f"{path}: the name of a label map ends in .nii.gz; give it this ending")
        write_label_map(path, self.to_file(slices), self.placement)


# What a session can be opened with. An opened image can be shared by several sessions.
Image = str | Path | SpatialImage | SliceVolume | SessionImage


def _of_nibabel(image: SpatialImage) -> FileVolume:
    """An image of nibabel as `read_volume` gives one."""
    name = Path(image.get_filename() or "the image")
    shape: Sequence[int] = image.shape
    taken = int(np.prod(shape, dtype=float)) * image.get_data_dtype().itemsize
    if taken > volume_limit():
        raise UserError(f"{name}: takes {taken} bytes, and {volume_limit()} are allowed")
    array = np.asarray(image.dataobj)
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.dtype.kind not in "iufb":
        raise UserError(f"{name}: its voxels are {array.dtype}, not real numbers")
    if image.affine is None:
        raise UserError(f"{name}: has no affine, so the size of its voxels is unknown")
    affine = np.asarray(image.affine, float)
    if not np.isfinite(affine).all() or not (np.linalg.norm(affine[:3, :3], axis=0) > 0).all():
        raise UserError(f"{name}: its affine gives the voxels no size; mend it")
    header = image.header
    known = isinstance(header, AnalyzeHeader)
    placement = Placement.of(header) if known else Placement.of_affine(affine)
    return FileVolume(array, affine, name, placement)
