"""NIfTI and Analyze volumes: read with every check the format allows, written atomically.

nibabel decodes the header (`volume_header`); the voxels are read here, because the usual readers
accept damaged files: a flipped bit in a gzip stream goes unnoticed unless the stream is read to its
end, where the checksum stands, and a short file whose header claims gigabytes is allocated first
and found wanting later. What a header claims is therefore compared with a cap and with the size of
the file before a voxel is touched.
"""

from __future__ import annotations

import contextlib
import gzip
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError

from invseg_jax.data.volumes.byte_stream import open_stream, read_to_end, read_voxels, refuse_short
from invseg_jax.data.volumes.placement import Placement
from invseg_jax.data.volumes.volume_header import claims, header_notes, read_affine, read_header
from invseg_jax.errors import UserError
from invseg_jax.experiment.data import MAX_BYTES
from invseg_jax.files.atomic_file import write_atomically
from invseg_jax.files.missing import why_missing

# What a label map may hold, on disk.
MAX_LABEL = 65_535

_limit = MAX_BYTES


@dataclass
class Volume:
    """A volume as its file stores it.

    Attributes:
        array: voxels (D, H, W) or (D, H, W, C) in the file's own axis order: float32 where the
            file is of a real type or scaled, else the file's integer type.
        affine: (4, 4) float64, voxel indices to mm, whatever the header's unit.
        path: the file that was asked for.
        placement: the header's own fields for the place. In Analyze 7.5, and in NIfTI with neither
            sform nor qform, the header does not say where the volume lies: the affine gives the
            spacing alone.
        notes: what a user should know about the header although the volume can be used, a line
            each.
    """

    array: np.ndarray
    affine: np.ndarray
    path: Path
    placement: Placement
    notes: tuple[str, ...] = ()

    @property
    def oriented(self) -> bool:
        """Whether the affine says where the volume lies and which side is left."""
        return self.placement.oriented

    @property
    def channels(self) -> np.ndarray:
        """The array as (D, H, W, C), a view; C is 1 where the file has three axes."""
        return self.array if self.array.ndim == 4 else self.array[..., None]

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance between voxel centres along the three axes, in mm."""
        d, h, w = np.linalg.norm(self.affine[:3, :3], axis=0).tolist()
        return d, h, w


def limit_volumes(max_bytes: int) -> None:
    """Sets what a volume may take in this process, instead of `MAX_BYTES`.

    Args:
        max_bytes: of the voxels as they are stored.

    Raises:
        UserError: it is not positive.
    """
    global _limit
    if max_bytes < 1:
        raise UserError(f"a volume may take {max_bytes} bytes: give at least 1")
    _limit = max_bytes


@contextlib.contextmanager
def limit_given_back() -> Iterator[None]:
    """Whatever `limit_volumes` sets in the block holds until the end of the block."""
    before = _limit
    try:
        yield
    finally:
        limit_volumes(before)


def volume_limit() -> int:
    """What a volume may take in this process, in bytes."""
    return _limit


def volume_files(path: str | Path) -> tuple[Path, ...]:
    """The files that hold a volume: one for NIfTI, header and voxels for `.hdr` / `.img`.

    Raises:
        UserError: the name is not one of a volume.
    """
    path = Path(path)
    if path.name.lower().endswith((".nii", ".nii.gz")):
        return (path,)
    if path.suffix.lower() in (".hdr", ".img"):
        return tuple(path.with_suffix(_spelt_like(path.suffix, end)) for end in (".hdr", ".img"))
    raise UserError(f"{path}: not a volume; give a .nii, .nii.gz, .hdr or .img file")


def _spelt_like(ending: str, other: str) -> str:
    """Another ending in the capital and small letters of this one, which is as long."""
    pairs = zip(ending, other, strict=True)
    return "".join(new.upper() if old.isupper() else new for old, new in pairs)


def source_files(path: str | Path) -> tuple[Path, ...]:
    """The files that hold a volume, all of them there.

    Raises:
        UserError: a file is missing, its folder is closed, or the name is not one of a volume.
    """
    files = volume_files(path)
    for file in files:
        if reason := why_missing(file):
            raise UserError(f"{file}: {reason}")
    return files


def read_volume(path: str | Path) -> Volume:
    """Reads a NIfTI-1, NIfTI-2 or Analyze volume and verifies what can be verified.

    Axes after the third that have length 1 at the end of the shape are dropped, and so is a fourth
    axis of length 1 before the components of a vector image (x, y, z, 1, C), as ITK writes it.

    Args:
        path: `.nii`, `.nii.gz`, `.hdr` or `.img`; for the latter two the other must lie beside it.

    Returns:
        The volume: (D, H, W) or, where the file has a fourth axis, (D, H, W, C).

    Raises:
        UserError: the file is missing, empty, truncated, damaged (gzip checksum), no image, of a
            type that is not real numbers, has an axis of no positive length, claims more than
            `volume_limit()` or less than it holds, has no usable affine or spacing, or holds NaN
            or infinity.
    """
    path = Path(path)
    files = source_files(path)
    single = len(files) == 1
    with open_stream(files[0]) as stream:
        header = read_header(stream, path, single=single)
        shape, dtype, offset, size = claims(header, path, _limit)
        if single:
            skip = offset - header.size
            voxels = read_voxels(stream, path, offset=offset, skip=skip, size=size)
        else:
            # The header of a pair may be compressed too: read on, for its checksum.
            read_to_end(stream, path)
    if not single:
        with open_stream(files[1]) as stream:
            voxels = read_voxels(stream, files[1], offset=offset, skip=offset, size=size)
    affine = read_affine(header, path)
    array = voxels.view(dtype).reshape(shape, order="F")
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim == 5 and array.shape[3] == 1:
        array = array[:, :, :, 0]
    if not 3 <= array.ndim <= 4:
        raise UserError(
            f"{path}: a volume needs 3 axes, or 4 with the modalities last; its shape is {shape}"
        )
    array = _real_values(array, header.fields, path)
    notes = header_notes(header, affine, array.shape[:3])
    return Volume(array, affine, path, header.placement, notes)


def write_label_map(path: str | Path, labels: np.ndarray, placement: Placement) -> None:
    """Writes a label map as NIfTI (`.nii.gz`), atomically: uint8, or uint16 where it needs that.

    A reader sees either the file that was there or the whole new one. Equal label maps give equal
    bytes. It is NIfTI-1, or NIfTI-2 where an axis or a number of the placement does not fit there.

    Args:
        path: the file to write; its folder is made if it is missing.
        labels: (D, H, W), integers in 0..65535.
        placement: of the image that was labelled. The label map gets the same fields, so every
            program sees both in the same place, whichever fields it reads.

    Raises:
        UserError: the file cannot be written.
        ValueError: the labels or the file's ending are not as above.
    """
    path, labels = Path(path), np.asarray(labels)
    if not path.name.endswith(".nii.gz"):
        raise ValueError(f"{path}: a label map's name ends in .nii.gz")
    if labels.ndim != 3 or 0 in labels.shape or labels.dtype.kind not in "iu":
        raise ValueError(f"labels are {labels.dtype} {labels.shape}, not integers (D, H, W)")
    if labels.min() < 0 or labels.max() > MAX_LABEL:
        raise ValueError(
            f"labels reach from {labels.min()} to {labels.max()}, not within 0..{MAX_LABEL}"
        )
    kind = np.uint8 if labels.max() < 256 else np.uint16
    long = max(labels.shape) > np.iinfo(np.int16).max
    small = placement.fits_nifti_1 and not long
    header = (nib.Nifti1Header if small else nib.Nifti2Header)(endianness="<")
    header.set_data_shape(labels.shape)
    header.set_data_dtype(np.dtype(kind).newbyteorder("<"))
    placement.write_to(header)
    header["vox_offset"], header["scl_slope"], header["scl_inter"] = header.single_vox_offset, 1, 0
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=6, mtime=0) as stream:
        stream.write(header.binaryblock + bytes(4))  # four flags: no extension follows
        for k in range(labels.shape[2]):  # a copy of a plane at a time, not of the volume
            stream.write(labels[..., k].astype(header.get_data_dtype()).tobytes("F"))
    write_atomically(path, buffer.getvalue())


def _real_values(array: np.ndarray, fields: Any, path: Path) -> np.ndarray:
    """Applies the header's scaling; float32, or the stored integers where there is none."""
    try:
        with np.errstate(all="ignore"):
            slope, intercept = (0.0 if x is None else float(x) for x in fields.get_slope_inter())
    except HeaderDataError as error:
        raise UserError(
            f"{path}: the header's scaling is damaged ({error}); fetch it again"
        ) from error
    # nibabel takes an infinite slope for no scaling. NaN is how it writes that there is no scaling.
    if "scl_slope" in fields.keys() and np.isinf(stored := float(fields["scl_slope"])):
        raise UserError(f"{path}: the header's scaling, {stored:g}, is not finite; mend scl_slope")
    scaled = slope != 0.0 and (slope, intercept) != (1.0, 0.0)
    if array.dtype.kind in "iu" and not scaled:
        return array.astype(array.dtype.newbyteorder("="), copy=False)
    result = np.empty(array.shape, np.float32, order="F")
    # A float64 beyond the range of float32 becomes infinite, and is found below.
    with np.errstate(over="ignore", invalid="ignore"):
        for k in range(array.shape[-1]):  # plane by plane, so that float64 costs one plane
            plane = array[..., k]
            result[..., k] = plane.astype(np.float64) * slope + intercept if scaled else plane
    bad = ~np.isfinite(result)
    if bad.any():
        first = tuple(int(i) for i in np.unravel_index(bad.argmax(), bad.shape))
        raise UserError(
            f"{path}: {int(bad.sum())} voxels are NaN, infinite or beyond float32, the first at "
            f"{first}; mend or leave out the file"
        )
    return result


def read_grid(path: str | Path) -> tuple[tuple[int, ...], np.dtype, np.ndarray]:
    """Reads the header of a volume alone: shape, type of the stored voxels, voxel indices to mm.

    Raises:
        UserError: as `read_volume`, for what the header and the size of the file show.
    """
    path = Path(path)
    files = source_files(path)
    with open_stream(files[0]) as stream:
        header = read_header(stream, path, single=len(files) == 1)
        shape, dtype, offset, size = claims(header, path, _limit)
        if len(files) == 1:
            refuse_short(stream, path, offset + size)
    if len(files) == 2:
        with open_stream(files[1]) as stream:
            refuse_short(stream, files[1], offset + size)
    return shape, dtype, read_affine(header, path)
