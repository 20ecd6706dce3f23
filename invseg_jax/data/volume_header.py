"""The header of a NIfTI or Analyze volume, decoded by nibabel and checked against sense."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError
from nibabel.spm2analyze import Spm2AnalyzeHeader

from invseg_jax.data.byte_stream import Stream
from invseg_jax.errors import UserError

# nibabel mends small header faults (pixdim 0, qfac) and says so on stderr, once a file.
_QUIET = logging.Logger("invseg_jax.nifti")
_QUIET.disabled = True


def read_header(stream: Stream, path: Path, *, single: bool) -> Any:
    """Decodes a header with nibabel.

    Args:
        stream: at its start; afterwards at the header's end.
        path: for messages.
        single: whether it is that of a `.nii` file, not of a `.hdr` / `.img` pair.

    Raises:
        UserError: it is none, or damaged.
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
    header = kind(block, check=False)
    if kind is not Spm2AnalyzeHeader:
        magic = header["magic"].item()
        if magic != (header.single_magic if single else header.pair_magic):
            raise UserError(
                f"{not_image} (magic {magic!r} does not go with the file's ending); "
                "check the file's name"
            )
    try:
        header.check_fix(logger=_QUIET, error_level=40)
    except HeaderDataError as error:
        raise UserError(f"{path}: the header is damaged ({error}); fetch the file again") from error
    return header


def claims(header: Any, path: Path, limit: int) -> tuple[tuple[int, ...], np.dtype, int, int]:
    """What a header says of the voxels: their shape, type, offset and size in bytes.

    Raises:
        UserError: that cannot be, or is more than `limit` bytes.
    """
    # Not `get_data_shape`: for a first axis of -1 it guesses at a FreeSurfer surface.
    dims = [int(n) for n in header["dim"]]
    shape = tuple(dims[1 : dims[0] + 1]) if 1 <= dims[0] <= 7 else ()
    if not shape or min(shape) < 1:
        raise UserError(
            f"{path}: the header's dimensions {dims} are not all positive; the file is "
            "damaged or empty, fetch it again"
        )
    dtype = header.get_data_dtype()
    if dtype.kind not in "iuf":
        raise UserError(f"{path}: voxels of type {dtype} are not real numbers; convert the file")
    size = math.prod(shape) * dtype.itemsize
    if size > limit:
        raise UserError(
            f"{path}: the header claims a volume of {shape}, {size / 2**20:,.1f} "
            f"MiB, above the limit of {limit / 2**20:,.1f} MiB; crop or resample it, or raise "
            "config.data.max_bytes, or --max_bytes of predict and evaluate"
        )
    try:
        offset = int(header.get_data_offset())
    except (ValueError, OverflowError):  # vox_offset is a float: NaN or infinity
        offset = -1
    if offset < 0:
        raise UserError(
            f"{path}: the header's vox_offset is not a place in a file; the file is "
            "damaged, fetch it again"
        )
    return shape, dtype, offset, size


def read_affine(header: Any, path: Path) -> np.ndarray:
    """(4, 4) float64, voxel indices to mm.

    Raises:
        UserError: it is singular or not finite.
    """
    # An affine may be whole without it, but other programs take the spacing from here.
    if not np.isfinite(header["pixdim"][1:4]).all():
        raise UserError(
            f"{path}: the header's pixdim, the spacing, is not finite "
            f"({', '.join(f'{float(x):g}' for x in header['pixdim'][1:4])}); mend it"
        )
    try:
        affine = np.array(header.get_best_affine(), np.float64)
    except (HeaderDataError, ValueError) as error:  # a quaternion that is none
        raise UserError(f"{path}: no usable affine ({error}); mend its sform or qform") from error
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    # The determinant of the unit axes: 1 for right angles, 0 where an axis repeats another.
    if (
        not np.isfinite(affine).all()
        or not spacing.all()
        or abs(np.linalg.det(affine[:3, :3] / spacing)) < 1e-4
    ):
        raise UserError(
            f"{path}: no usable affine (it is singular or not finite); mend its sform or pixdim"
        )
    return affine


def is_oriented(header: Any) -> bool:
    """Whether the affine tells where the volume lies and which side is left.

    Analyze has no such field, and a NIfTI header whose sform and qform both have code 0 says no
    more than Analyze does (nifti1.h, method 1): the spacing. The rest of its affine is made up.
    """
    if isinstance(header, Spm2AnalyzeHeader):
        return False
    return bool(header["sform_code"] > 0 or header["qform_code"] > 0)
