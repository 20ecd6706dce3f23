"""Where a NIfTI header says that a volume lies: its two forms, its spacing and its unit.

A header can give the place twice, as sform (an affine) and as qform (a rotation and an offset), and
each with a code that says what space it is in; it can also give neither. Programs differ in which
of the two they read. A label map therefore carries the very fields of its image, so that every
program sees both in the same place, whatever it reads (nifti1.h, "3D IMAGE (VOLUME) ORIENTATION AND
LOCATION IN SPACE").
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import nibabel as nib
import numpy as np
from nibabel.analyze import AnalyzeHeader
from nibabel.quaternions import quat2mat
from nibabel.spm2analyze import Spm2AnalyzeHeader

# Millimetres a unit, by the three lowest bits of xyzt_units; any other value says nothing: mm.
_MILLIMETRES = {1: 1000.0, 2: 1.0, 3: 0.001}
_UNIT_NAMES = {1: "m", 2: "mm", 3: "um"}
# How much longer than 1 a quaternion may be: headers hold float32, and writers round differently.
_QUATERNION_TOLERANCE = 1e-5


@dataclass(frozen=True)
class Placement:
    """The fields of a header that place a volume, as they are stored.

    Attributes:
        sform_code: what space the sform is in; 0 where there is no sform.
        qform_code: the same of the qform.
        srow: the first three rows of the sform, in the header's unit.
        quaternion: b, c and d of the qform's rotation.
        offset: of the qform, in the header's unit.
        pixdim: qfac, and the spacing along the three axes in the header's unit.
        units: the field xyzt_units.
    """

    sform_code: int
    qform_code: int
    srow: tuple[tuple[float, ...], ...]
    quaternion: tuple[float, float, float]
    offset: tuple[float, float, float]
    pixdim: tuple[float, float, float, float]
    units: int

    @classmethod
    def of(cls, header: AnalyzeHeader) -> Placement:
        """Reads the fields of one of nibabel's headers.

        Analyze has neither form and no unit: it becomes a NIfTI header without both.
        """
        qfac, *spacing = (float(x) for x in header["pixdim"][:4])
        d, h, w = spacing
        if isinstance(header, Spm2AnalyzeHeader):
            zeros = (0.0, 0.0, 0.0)
            return cls(0, 0, ((0.0, *zeros),) * 3, zeros, zeros, (1.0, d, h, w), 0)
        return cls(
            sform_code=int(header["sform_code"]),
            qform_code=int(header["qform_code"]),
            srow=tuple(tuple(header[f"srow_{x}"].astype(float).tolist()) for x in "xyz"),
            quaternion=_triple(header, "quatern_b", "quatern_c", "quatern_d"),
            offset=_triple(header, "qoffset_x", "qoffset_y", "qoffset_z"),
            pixdim=(qfac, d, h, w),
            units=int(header["xyzt_units"]),
        )

    @classmethod
    def of_affine(cls, affine: np.ndarray, *, oriented: bool = True) -> Placement:
        """The placement of a volume that comes from no file.

        Args:
            affine: (4, 4), voxel indices to mm. Both forms are set, with code 1 (scanner); a
                sheared affine has no qform, which could not hold it.
            oriented: False for a header that gives the spacing and neither form.
        """
        header = nib.Nifti1Header()
        header.set_data_shape((1, 1, 1))
        header.set_qform(affine, code=1)
        if not np.allclose(np.asarray(header.get_qform()), affine, atol=1e-3):
            header["qform_code"] = 0
        header.set_sform(affine, code=1)
        header.set_xyzt_units("mm")
        if not oriented:
            header["sform_code"] = header["qform_code"] = 0
        return cls.of(header)

    @property
    def oriented(self) -> bool:
        """Whether the header says where the volume lies and which side is left."""
        return self.sform_code > 0 or self.qform_code > 0

    @property
    def millimetres(self) -> float:
        """Length of the header's unit in mm; an unknown unit is taken as mm."""
        return _MILLIMETRES.get(self.units & 7, 1.0)

    @property
    def unit(self) -> str:
        """Name of the header's unit: "m", "mm", "um", or "unknown"."""
        return _UNIT_NAMES.get(self.units & 7, "unknown")

    @property
    def spacing(self) -> np.ndarray:
        """(3,) the spacing that the field pixdim gives, in mm; it may be 0 or not finite."""
        return np.abs(self.pixdim[1:]) * self.millimetres

    @property
    def sform(self) -> np.ndarray | None:
        """(4, 4) float64, voxel indices to mm; None without a sform."""
        if self.sform_code <= 0:
            return None
        return np.array([*self.srow, (0, 0, 0, 1)], np.float64) * self._scale()

    @property
    def qform(self) -> np.ndarray | None:
        """(4, 4) float64, voxel indices to mm; None without a qform.

        Raises:
            ValueError: the quaternion is no rotation, or a number is not finite.
        """
        if self.qform_code <= 0:
            return None
        b, c, d = self.unit_quaternion().quaternion
        # As nifti1.h has it, a follows from the others and is never negative. Where it should be 0,
        # a rounding leaves some 1e-7 under the root, which would be an angle of 0.04 degrees.
        single = all(np.float32(value) == value for value in self.quaternion)
        squared = 1 - b * b - c * c - d * d
        rounding = 3 * np.finfo(np.float32 if single else np.float64).eps
        a = np.sqrt(squared) if squared > rounding else 0.0
        rotation = quat2mat([a, b, c, d])
        qfac = -1.0 if self.pixdim[0] < 0 else 1.0
        affine = np.eye(4)
        affine[:3, :3] = rotation * np.abs(self.pixdim[1:]) * (1, 1, qfac)
        affine[:3, 3] = self.offset
        if not np.isfinite(affine).all():
            raise ValueError("its qform is not finite")
        return affine * self._scale()

    @np.errstate(over="ignore")  # of a quaternion that is refused
    def unit_quaternion(self) -> Placement:
        """The same placement, its quaternion brought back to a length of 1 where it is longer.

        Raises:
            ValueError: the quaternion is longer than 1 by more than a rounding, or not finite.
        """
        length = float(np.linalg.norm(self.quaternion))
        if not length <= 1 + _QUATERNION_TOLERANCE:  # NaN as well
            raise ValueError(f"the quaternion of its qform has the length {length:.6g}, above 1")
        if length <= 1:
            return self
        b, c, d = (value / length for value in self.quaternion)
        return replace(self, quaternion=(b, c, d))

    @property
    def fits_nifti_1(self) -> bool:
        """Whether a NIfTI-1 header has room for the numbers, which may come from a NIfTI-2 one.

        In float32, one can be too large, or so small that it would become 0.
        """
        codes = np.array([self.sform_code, self.qform_code])
        limits = np.iinfo(np.int16)
        numbers = np.array([*np.ravel(self.srow), *self.quaternion, *self.offset, *self.pixdim])
        numbers = numbers[np.isfinite(numbers)]
        with np.errstate(all="ignore"):
            stored = numbers.astype(np.float32)
        return bool(
            ((limits.min <= codes) & (codes <= limits.max)).all()
            and 0 <= self.units <= np.iinfo(np.uint8).max
            and np.isfinite(stored).all()
            and ((stored == 0) == (numbers == 0)).all()
        )

    def write_to(self, header: nib.Nifti1Header) -> None:
        """Sets the fields of one of nibabel's NIfTI headers; a quaternion is made 1 long."""
        try:
            quaternion = self.unit_quaternion().quaternion
        except ValueError:  # no rotation, but the label map has the fields of its image
            quaternion = self.quaternion
        header["sform_code"], header["qform_code"] = self.sform_code, self.qform_code
        for x, row in zip("xyz", self.srow, strict=True):
            header[f"srow_{x}"] = row
        for x, value in zip("bcd", quaternion, strict=True):
            header[f"quatern_{x}"] = value
        for x, value in zip("xyz", self.offset, strict=True):
            header[f"qoffset_{x}"] = value
        header["pixdim"][:4] = self.pixdim
        header["xyzt_units"] = self.units

    def _scale(self) -> np.ndarray:
        """(4, 1): brings the rows of an affine from the header's unit to mm."""
        return np.array([[self.millimetres]] * 3 + [[1.0]])


def _triple(
    header: AnalyzeHeader, first: str, second: str, third: str
) -> tuple[float, float, float]:
    return float(header[first]), float(header[second]), float(header[third])
