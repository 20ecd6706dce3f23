"""The header of a NIfTI or Analyze volume, decoded by nibabel and checked against sense."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError
from nibabel.spm2analyze import Spm2AnalyzeHeader

from invseg_jax.data.volumes.byte_stream import Stream
from invseg_jax.data.volumes.grid import PLACE_TOLERANCE, SPACING_TOLERANCE, along, corners
from invseg_jax.data.volumes.placement import Placement
from invseg_jax.errors import UserError

# nibabel mends small header faults (pixdim 0, qfac) and says so on stderr, once a file.
_QUIET = logging.Logger("invseg_jax.nifti")
_QUIET.disabled = True
# Voxels of a scanner or a microscope lie between these; others hint at a wrong unit.
_LARGEST_MM, _SMALLEST_MM = 100.0, 1e-4
# NIfTI's code for voxels of one bit each, which nibabel does not know either.
_ONE_BIT = 1


@dataclass(frozen=True)
class Header:
    """A header that has been decoded.

    Attributes:
        fields: nibabel's header, its small faults mended.
        placement: where the volume lies, by the fields as they are stored.
        vox_offset: the byte at which the voxels start, as it is stored.
        single: whether header and voxels are in one file.
    """

    fields: nib.Nifti1Header | Spm2AnalyzeHeader
    placement: Placement
    vox_offset: float
    single: bool

    @property
    def size(self) -> int:
        """Bytes that the header takes."""
        return int(self.fields.sizeof_hdr)

    @property
    def first_voxel(self) -> int:
        """The first byte at which the voxels can start; 0 where they have a file of their own."""
        if not self.single or not isinstance(self.fields, nib.Nifti1Header):
            return 0
        return int(self.fields.single_vox_offset)


def read_header(stream: Stream, path: Path, *, single: bool) -> Header:
    """Decodes a header with nibabel.

    Args:
        stream: at its start; afterwards at the header's end.
        path: for messages.
        single: True for a `.nii` file, False for a `.hdr` / `.img` pair.

    Raises:
        UserError: there is no such header, or it is damaged.
    """
    block = stream.read(348)
    if not block:
        raise UserError(f"{path}: the gzip stream holds nothing; fetch the file again")
    not_image = f"{path}: not a NIfTI or Analyze image"
    if len(block) < 348:
        raise UserError(f"{not_image} (shorter than a header); check the file")
    kinds: tuple[Any, ...] = (
        (nib.Nifti1Header,) if single else (nib.Nifti1Pair.header_class, Spm2AnalyzeHeader)
    )
    if 540 in (int.from_bytes(block[:4], "little"), int.from_bytes(block[:4], "big")):
        kinds = (nib.Nifti2Header if single else nib.Nifti2Pair.header_class,)
        block += stream.read(540 - 348)
    kind = next((kind for kind in kinds if kind.may_contain_header(block)), None)
    if kind is None:
        raise UserError(f"{not_image} (no such header); check the file")
    fields = kind(block, check=False)
    if kind is not Spm2AnalyzeHeader:
        magic = fields["magic"].item()
        if magic != (fields.single_magic if single else fields.pair_magic):
            raise UserError(
                f"{not_image} (magic {magic!r} does not go with the file's ending); "
                "check the file's name"
            )
    if int(fields["datatype"]) == _ONE_BIT:
        raise UserError(
            f"{path}: voxels of one bit each (datatype 1) are not read; convert the file to a "
            "type of whole bytes, such as uint8"
        )
    placement, vox_offset = Placement.of(fields), float(fields["vox_offset"])
    if not math.isfinite(vox_offset):  # nibabel fails on it
        raise UserError(
            f"{path}: the header's vox_offset is not a place in a file; the file is damaged, "
            "fetch it again"
        )
    try:
        # The voxels are read from byte 352 on, see `claims`; nibabel would refuse the file.
        if single and 0 < vox_offset < fields.single_vox_offset:
            fields["vox_offset"] = 0
        fields.check_fix(logger=_QUIET, error_level=40)
    except HeaderDataError as error:
        raise UserError(f"{path}: the header is damaged ({error}); fetch the file again") from error
    return Header(fields, placement, vox_offset, single)


def claims(header: Header, path: Path, limit: int) -> tuple[tuple[int, ...], np.dtype, int, int]:
    """What a header says about the voxels: their shape, type, offset and size in bytes.

    An axis after the third that is 0 long counts as 1 long. The voxels of a single file never start
    before the end of the header and its four bytes of flags, whatever vox_offset says.

    Raises:
        UserError: that cannot be, or is more than `limit` bytes.
    """
    # Not `get_data_shape`: for a first axis of -1 it guesses at a FreeSurfer surface.
    dims = [int(n) for n in header.fields["dim"]]
    shape = tuple(dims[1 : dims[0] + 1]) if 1 <= dims[0] <= 7 else ()
    shape = (*shape[:3], *(n or 1 for n in shape[3:]))
    if not shape or min(shape) < 1:
        raise UserError(
            f"{path}: the header's dimensions {dims} are not all positive; the file is "
            "damaged or empty, fetch it again"
        )
    dtype = header.fields.get_data_dtype()
    if dtype.kind not in "iuf":
        raise UserError(f"{path}: voxels of type {dtype} are not real numbers; convert the file")
    size = math.prod(shape) * dtype.itemsize
    if size > limit:
        raise UserError(
            f"{path}: the header claims a volume of {shape}, {size / 2**20:,.1f} "
            f"MiB, above the limit of {limit / 2**20:,.1f} MiB; crop or resample it, or raise "
            "config.data.max_bytes, or --max_bytes of predict and evaluate"
        )
    offset = int(header.fields.get_data_offset())
    if offset < 0:
        raise UserError(
            f"{path}: the header's vox_offset is not a place in a file; the file is "
            "damaged, fetch it again"
        )
    return shape, dtype, max(offset, header.first_voxel), size


# Numbers that no affine has overflow on the way to being refused.
@np.errstate(all="ignore")
def read_affine(header: Header, path: Path) -> np.ndarray:
    """(4, 4) float64, voxel indices to mm: the sform, else the qform, else the spacing alone.

    A sform that is singular or not finite counts as none where there is a qform.

    Raises:
        UserError: it is singular or not finite, or the spacing that it needs is 0.
    """
    placement = header.placement
    # An affine may be whole without it, but other programs take the spacing from here.
    if not np.isfinite(placement.spacing).all():
        raise UserError(
            f"{path}: the header's pixdim, the spacing, is not finite "
            f"({_numbers(placement.pixdim[1:])}); mend it"
        )
    if placement.sform is None and not placement.spacing.all():
        raise UserError(
            f"{path}: the header has no sform, and its pixdim, the spacing, is "
            f"{_numbers(placement.pixdim[1:])}; write the true spacing in mm into pixdim"
        )
    affine = placement.sform
    try:
        # As ITK does: where the sform is of no use, the qform says where the volume lies.
        if affine is None or (placement.qform_code > 0 and not _usable(affine)):
            affine = placement.qform
    except ValueError as error:
        raise UserError(f"{path}: no usable affine ({error}); mend its sform or qform") from error
    if affine is None:
        # nibabel's: around the centre, or for Analyze around the origin that SPM keeps there.
        affine = np.array(header.fields.get_best_affine(), np.float64)
        affine[:3] *= placement.millimetres
    if not _usable(affine):
        raise UserError(
            f"{path}: no usable affine (it is singular or not finite); mend its sform or pixdim"
        )
    return affine


def _usable(affine: np.ndarray) -> bool:
    """Whether every voxel has a place of its own by an affine."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or not np.isfinite(spacing).all() or not spacing.all():
        return False
    # The determinant of the unit axes: 1 for right angles, 0 where an axis repeats another.
    return bool(abs(np.linalg.det(affine[:3, :3] / spacing)) >= 1e-4)


@np.errstate(all="ignore")
def header_notes(header: Header, affine: np.ndarray, shape: tuple[int, ...]) -> tuple[str, ...]:
    """What a user should know about a header although the volume can be used, a line each.

    Args:
        header: of the volume.
        affine: as it was read, voxel indices to mm.
        shape: (D, H, W) in voxels.
    """
    placement, found = header.placement, []
    if header.single and header.vox_offset < header.first_voxel:
        found.append(
            f"vox_offset is {header.vox_offset:g}, within the header; the voxels are read "
            f"from byte {header.first_voxel} on, the first place in a single file"
        )
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    sform = placement.sform
    try:
        qform = placement.qform
    except ValueError as error:
        found.append(f"{error}; the sform is used, but other programs may fail")
    else:
        if sform is not None and qform is not None and not _usable(sform):
            found.append(
                "the sform is singular or not finite; the qform is used, but other programs may "
                "fail, so mend the sform or set its code to 0"
            )
        elif sform is not None and qform is not None:
            apart = corners(shape) @ (sform - qform).T
            distance = float(np.linalg.norm(apart[:, :3], axis=1).max())
            if distance > PLACE_TOLERANCE * spacing.min():
                found.append(
                    f"sform and qform put a corner {distance:.3g} mm apart; the sform is used, "
                    "other programs may take the qform"
                )
    if (np.abs(placement.spacing / spacing - 1) > SPACING_TOLERANCE).any():
        found.append(
            f"pixdim gives voxels of {along(placement.spacing)} mm, the sform of "
            f"{along(spacing)} mm; the sform is used, other programs may take pixdim"
        )
    if spacing.max() > _LARGEST_MM or spacing.min() < _SMALLEST_MM:
        found.append(
            f"voxels of {along(spacing)} mm (the header's unit is {placement.unit}): is the "
            "unit right?"
        )
    return tuple(found)


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)
