"""Reading is compared with nibabel; every kind of damaged file has to be refused by name."""

from __future__ import annotations

import gzip
import struct
import tracemalloc
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from nibabel.nifti1 import Nifti1Extension
from nibabel.spm2analyze import Spm2AnalyzeImage

from invseg_jax.data.volumes import byte_stream
from invseg_jax.data.volumes.nifti import read_volume, source_files, volume_files
from invseg_jax.errors import UserError
from tests.nifti_bytes import METRE, MICRON, MM, affine, nifti
from tests.nifti_bytes import save as write

AFFINE = np.array(
    [[0.0, -2.0, 0.0, 10.0], [1.5, 0.0, 0.0, -4.0], [0.0, 0.0, 0.7, 3.0], [0.0, 0.0, 0.0, 1.0]]
)


def save(
    path: Path, array: np.ndarray, affine: np.ndarray = AFFINE, kind: type = nib.Nifti1Image
) -> Path:
    kind(array, affine, dtype=array.dtype).to_filename(path)
    return path


@pytest.fixture
def good(tmp_path: Path, rng: np.random.Generator) -> Path:
    array = rng.normal(size=(9, 8, 7)).astype(np.float32)
    return save(tmp_path / "good.nii.gz", array)


def edited(path: Path, position: int, form: str, *values: float) -> Path:
    """A copy with header fields overwritten, of the same ending."""
    content = path.read_bytes()
    if path.name.endswith(".gz"):
        content = gzip.decompress(content)
    content = bytearray(content)
    struct.pack_into("<" + form, content, position, *values)
    result = path.with_name("edited" + "".join(path.suffixes))
    result.write_bytes(gzip.compress(content) if path.name.endswith(".gz") else content)
    return result


DTYPES = ["uint8", "int8", "int16", "uint16", "int32", "int64", "uint64", "float32", "float64"]


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".hdr"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_reads_what_nibabel_reads(
    tmp_path: Path, rng: np.random.Generator, dtype: str, ending: str
) -> None:
    array = (rng.normal(size=(5, 1, 3)) * 30 + 60).astype(dtype)
    path = save(
        tmp_path / f"a{ending}", array, kind=nib.Nifti1Pair if ending == ".hdr" else nib.Nifti1Image
    )
    volume = read_volume(path)
    assert volume.array.dtype == (np.float32 if dtype == "float64" else np.dtype(dtype))
    np.testing.assert_array_equal(volume.array, array.astype(volume.array.dtype))
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-6)
    assert volume.affine.dtype == np.float64
    np.testing.assert_allclose(volume.spacing, (1.5, 2.0, 0.7), rtol=1e-6)
    assert volume.path == path
    assert volume.oriented


def test_reads_nifti2_and_big_endian(tmp_path: Path, rng: np.random.Generator) -> None:
    array = rng.integers(-5, 900, (4, 3, 2)).astype(np.int16)
    np.testing.assert_array_equal(
        read_volume(save(tmp_path / "two.nii.gz", array, kind=nib.Nifti2Image)).array, array
    )
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(">i2")
    image = nib.Nifti1Image(array, AFFINE, header)
    assert image.header.endianness == ">"
    image.to_filename(tmp_path / "big.nii")
    volume = read_volume(tmp_path / "big.nii")
    assert volume.array.dtype == np.int16 and volume.array.dtype.isnative
    np.testing.assert_array_equal(volume.array, array)


def test_scaled_integers_become_float32(tmp_path: Path, rng: np.random.Generator) -> None:
    image = nib.Nifti1Image(rng.normal(size=(6, 5, 4)), AFFINE)
    image.set_data_dtype(np.int16)  # nibabel chooses slope and intercept
    image.to_filename(tmp_path / "scaled.nii.gz")
    reference = nib.Nifti1Image.from_filename(tmp_path / "scaled.nii.gz")
    assert reference.header["scl_slope"] not in (0, 1)
    volume = read_volume(tmp_path / "scaled.nii.gz")
    assert volume.array.dtype == np.float32
    np.testing.assert_allclose(volume.array, reference.get_fdata(), rtol=1e-6, atol=1e-6)


def test_extensions_before_the_voxels_are_passed_over(tmp_path: Path) -> None:
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    image = nib.Nifti1Image(array, AFFINE)
    image.header.extensions.append(Nifti1Extension("comment", b"x" * 5000))
    image.to_filename(tmp_path / "extended.nii.gz")
    np.testing.assert_array_equal(read_volume(tmp_path / "extended.nii.gz").array, array)


def test_an_affine_that_no_field_gives_is_made_up(tmp_path: Path) -> None:
    content = bytearray(nib.Nifti1Image(np.zeros((4, 5, 6), np.uint8), AFFINE).to_bytes())
    for sform, qform in ((0, 0), (1, 0), (0, 1)):
        content[252:256] = struct.pack("<hh", qform, sform)  # nibabel would set them by itself
        (tmp_path / "a.nii").write_bytes(content)
        volume = read_volume(tmp_path / "a.nii")
        assert volume.oriented == (sform + qform > 0)
        np.testing.assert_allclose(volume.spacing, (1.5, 2.0, 0.7), rtol=1e-6)


def test_a_folder_that_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.nii", np.zeros((2, 3, 4), np.uint8))

    def closed(_: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_file", closed)
    with pytest.raises(UserError, match=r"a.nii: cannot be read \(Permission denied\)"):
        read_volume(path)


@pytest.mark.parametrize("asked", [".hdr", ".img"])
def test_analyze_pair(tmp_path: Path, rng: np.random.Generator, asked: str) -> None:
    array = rng.integers(0, 900, (4, 5, 6, 1)).astype(np.int16)
    Spm2AnalyzeImage(array, np.diag([-1.0, 2.0, 3.0, 1.0])).to_filename(tmp_path / "a.hdr")
    (tmp_path / "a.mat").write_bytes(b"no MATLAB file is read")
    volume = read_volume(tmp_path / f"a{asked}")
    np.testing.assert_array_equal(volume.array, array[..., 0])
    assert volume.array.dtype == np.int16
    assert volume.spacing == (1.0, 2.0, 3.0)
    assert not volume.oriented
    assert source_files(tmp_path / "a.img") == (tmp_path / "a.hdr", tmp_path / "a.img")


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        ((4, 3, 2, 1), (4, 3, 2)),
        ((4, 3, 2, 1, 1), (4, 3, 2)),
        ((4, 3, 1), (4, 3, 1)),
        ((1, 3, 1, 1), (1, 3, 1)),
        ((4, 3, 2, 5), (4, 3, 2, 5)),
        ((4, 3, 2, 5, 1), (4, 3, 2, 5)),
    ],
)
def test_only_trailing_axes_of_one_are_dropped(
    tmp_path: Path, stored: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    array = np.arange(np.prod(stored), dtype=np.int16).reshape(stored)
    volume = read_volume(save(tmp_path / "a.nii", array))
    np.testing.assert_array_equal(volume.array, array.reshape(expected))


@pytest.mark.parametrize("stored", [(4, 3), (4, 3, 2, 2, 3)])
def test_refuses_too_few_or_too_many_axes(tmp_path: Path, stored: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="needs 3 axes"):
        read_volume(save(tmp_path / "a.nii", np.zeros(stored, np.uint8)))


def test_every_flipped_bit_of_a_compressed_file_is_found(good: Path) -> None:
    content, truth = good.read_bytes(), read_volume(good).array
    rng = np.random.default_rng(1)
    path = good.with_name("flipped.nii.gz")
    # From byte 10 on: the gzip header's own fields (name, time) are not data.
    for position in rng.integers(10 * 8, len(content) * 8, 200):
        damaged = bytearray(content)
        damaged[position // 8] ^= 1 << (position % 8)
        path.write_bytes(damaged)
        try:
            found = read_volume(path).array
        except UserError as error:
            assert str(path) in str(error)
        else:  # a bit that does not matter, as in the name gzip keeps
            np.testing.assert_array_equal(found, truth)


def test_a_flipped_bit_in_the_voxels_is_an_error(tmp_path: Path) -> None:
    """Stored without compression, a flipped bit decodes well: only the checksum can tell."""
    save(tmp_path / "plain.nii", np.ones((20, 20, 20), np.uint8))
    content = bytearray(gzip.compress((tmp_path / "plain.nii").read_bytes(), compresslevel=0))
    content[2000] ^= 1
    path = tmp_path / "flipped.nii.gz"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"flipped.nii.gz: damaged, .*CRC"):
        read_volume(path)


@pytest.mark.parametrize("fraction", [0.02, 0.3, 0.5, 0.99])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".img"])
def test_truncated_files_are_refused(
    tmp_path: Path, rng: np.random.Generator, ending: str, fraction: float
) -> None:
    kind = nib.Nifti1Pair if ending == ".img" else nib.Nifti1Image
    path = save(tmp_path / f"a{ending}", rng.normal(size=(9, 8, 7)).astype(np.float32), kind=kind)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * fraction)])
    with pytest.raises(UserError, match=r"a\.(nii|nii\.gz|img): (truncated|not a NIfTI)"):
        read_volume(path)


def test_a_sound_gzip_stream_of_too_few_voxels_is_truncated(good: Path) -> None:
    content = gzip.decompress(good.read_bytes())
    good.write_bytes(gzip.compress(content[:-4]))
    with pytest.raises(UserError, match="truncated, it holds fewer voxels"):
        read_volume(good)


def test_missing_empty_and_foreign_files(tmp_path: Path) -> None:
    def refused(path: Path, match: str) -> None:
        with pytest.raises(UserError, match=match) as caught:
            read_volume(path)
        assert str(path.with_suffix("")) in str(caught.value)
        assert "\n" not in str(caught.value)

    refused(tmp_path / "none.nii.gz", "no such file")
    (tmp_path / "folder.nii").mkdir()
    refused(tmp_path / "folder.nii", "a folder")
    (tmp_path / "a.png").write_bytes(b"x")
    refused(tmp_path / "a.png", "not a volume")
    for name in ("empty.nii", "empty.nii.gz"):
        (tmp_path / name).write_bytes(b"")
        refused(tmp_path / name, "empty")
    (tmp_path / "empty2.nii.gz").write_bytes(gzip.compress(b""))
    refused(tmp_path / "empty2.nii.gz", "empty")
    (tmp_path / "lfs.nii.gz").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid 1\n")
    refused(tmp_path / "lfs.nii.gz", "git lfs pull")
    for content in (b"short", b"a text\n" * 200, bytes(1000)):
        (tmp_path / "text.nii").write_bytes(content)
        refused(tmp_path / "text.nii", "not a NIfTI")
    save(tmp_path / "pair.hdr", np.zeros((2, 2, 2), np.uint8), kind=nib.Nifti1Pair)
    (tmp_path / "pair.hdr").rename(tmp_path / "pair.nii")
    refused(tmp_path / "pair.nii", "does not go with the file's ending")
    save(tmp_path / "half.hdr", np.zeros((2, 2, 2), np.uint8), kind=nib.Nifti1Pair)
    (tmp_path / "half.img").unlink()
    refused(tmp_path / "half.hdr", r"half\.img: no such file")


@pytest.mark.parametrize(
    "dims", [(3, 0, 8, 7), (3, -9, 8, 7), (3, 9, 8, -1), (3, -1, 1, 1), (0, 9, 8, 7), (-3, 9, 8, 7)]
)
def test_dimensions_that_are_not_positive(good: Path, dims: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="not all positive|damaged"):
        read_volume(edited(good, 40, "4h", *dims))


def test_claims_are_checked_before_memory_is_taken(good: Path) -> None:
    tracemalloc.start()
    with pytest.raises(UserError, match=r"claims a volume of \(32767, .*MiB"):
        read_volume(edited(good, 40, "4h", 3, 32767, 32767, 32767))
    with pytest.raises(UserError, match="truncated"):  # 3.2 GiB, under the cap
        read_volume(edited(good, 40, "4h", 3, 950, 950, 950))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50 << 20


def test_a_stream_that_never_ends_is_left(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(byte_stream, "_CHUNK", 1 << 10)
    good.write_bytes(gzip.compress(gzip.decompress(good.read_bytes()) + bytes(4 << 20)))
    with pytest.raises(UserError, match="at least 1,024 bytes follow the voxels"):
        read_volume(good)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_not_finite(tmp_path: Path, value: float) -> None:
    array = np.zeros((4, 3, 2), np.float32)
    array[1, 2, 1] = value
    with pytest.raises(UserError, match=r"1 voxels are NaN, .* the first at \(1, 2, 1\)"):
        read_volume(save(tmp_path / "a.nii.gz", array))


@pytest.mark.parametrize("slope", [np.inf, -np.inf])
def test_a_scaling_that_is_not_finite(good: Path, slope: float) -> None:
    with pytest.raises(UserError, match="scaling, -?inf, is not finite; mend scl_slope"):
        read_volume(edited(good, 112, "2f", slope, 0.0))


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("A.NII.GZ", ["A.NII.GZ"]),
        ("A.Nii", ["A.Nii"]),
        ("A.HDR", ["A.HDR", "A.IMG"]),
        ("a.Img", ["a.Hdr", "a.Img"]),
        ("a.b.hdr", ["a.b.hdr", "a.b.img"]),
    ],
)
def test_endings_in_capitals(tmp_path: Path, name: str, files: list[str]) -> None:
    assert [file.name for file in volume_files(tmp_path / name)] == files


def test_float64_beyond_float32(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="infinite"):
        read_volume(save(tmp_path / "a.nii.gz", np.full((2, 2, 2), 1e300)))


def test_types_that_are_not_real_numbers(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not real numbers"):
        read_volume(save(tmp_path / "c.nii", np.zeros((2, 2, 2), np.complex64)))
    rgb = np.zeros((2, 2, 2), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    with pytest.raises(UserError, match="not real numbers"):
        read_volume(save(tmp_path / "rgb.nii", rgb))


def test_header_fields_that_make_no_sense(good: Path) -> None:
    with pytest.raises(UserError, match="header is damaged"):
        read_volume(edited(good, 70, "h", 999))  # datatype
    for offset in (np.nan, np.inf, -np.inf, -1e9):
        with pytest.raises(UserError, match="vox_offset|header is damaged"):
            read_volume(edited(good, 108, "f", offset))
    with pytest.raises(UserError, match="truncated|beyond reason"):
        read_volume(edited(good, 108, "f", 1e12))
    with pytest.raises(UserError, match="scaling is damaged"):
        read_volume(edited(good, 112, "2f", 2.0, np.nan))
    with pytest.raises(UserError, match="no usable affine"):
        read_volume(edited(good, 280, "4f", 0, 0, 0, 0))  # first row of the sform
    with pytest.raises(UserError, match="no usable affine"):
        read_volume(edited(good, 280, "f", np.nan))


def test_random_headers_are_read_or_refused(good: Path) -> None:
    """Whatever stands in the header, the outcome is a volume or a `UserError`."""
    plain = bytearray(gzip.decompress(good.read_bytes()))
    path = good.with_name("fuzz.nii")
    rng = np.random.default_rng(2)
    outcomes = set()
    for _ in range(400):
        content = bytearray(plain)
        for position in rng.integers(0, 348, rng.integers(1, 6)):
            content[position] = rng.integers(256)
        path.write_bytes(content)
        try:
            volume = read_volume(path)
            assert volume.array.ndim in (3, 4) and np.isfinite(volume.affine).all()
            outcomes.add("read")
        except UserError:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


def test_small_header_faults_are_mended_silently(
    good: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    volume = read_volume(edited(good, 76, "4f", 0.5, 0.0, 1.0, 1.0))  # qfac and a pixdim
    np.testing.assert_array_equal(
        volume.array, nib.Nifti1Image.from_filename(good).get_fdata(dtype=np.float32)
    )
    assert not caplog.records  # nibabel's logger prints to stderr


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize(
    "fields",
    [
        {"dim": [3, 9, 8, 6, 1, 1, 1, 1]},  # a slice less
        {"dim": [3, 9, 7, 7, 1, 1, 1, 1]},  # a row less in each slice
        {"dim": [2, 9, 8, 7, 1, 1, 1, 1]},  # a slice
        {"code": 2, "bitpix": 8},  # int16 taken for uint8
        {"code": 256, "bitpix": 8},
    ],
)
def test_a_header_that_claims_less_than_the_file_holds(
    tmp_path: Path, rng: np.random.Generator, fields: dict, ending: str
) -> None:
    content = nifti(rng.integers(0, 99, (9, 8, 7)).astype(np.int16), AFFINE, **fields)
    path = write(tmp_path / f"a{ending}", content)
    with pytest.raises(UserError, match="bytes follow the voxels that the header claims"):
        read_volume(path)
    with pytest.raises(UserError, match="bytes follow the voxels"):
        pair = content[:344] + b"ni1\0"
        (tmp_path / "b.hdr").write_bytes(pair[:108] + bytes(4) + pair[112:])
        read_volume(write(tmp_path / "b.img", content[352:]).with_suffix(".hdr"))


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_little_padding_after_the_voxels_is_allowed(tmp_path: Path, ending: str) -> None:
    array = np.arange(60, dtype=np.int16).reshape(5, 4, 3)
    path = write(tmp_path / f"a{ending}", nifti(array, AFFINE) + bytes(8))
    np.testing.assert_array_equal(read_volume(path).array, array)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("offset", [0, 1, 348, 351])
def test_voxels_of_a_single_file_start_at_352_at_the_earliest(
    tmp_path: Path, offset: float, ending: str
) -> None:
    array = np.arange(60, dtype=np.int16).reshape(5, 4, 3)
    volume = read_volume(write(tmp_path / f"a{ending}", nifti(array, AFFINE, vox_offset=offset)))
    np.testing.assert_array_equal(volume.array, array)
    (note,) = volume.notes
    assert note.startswith(f"vox_offset is {offset}, within the header; the voxels are read from")
    short = nifti(array, AFFINE, vox_offset=offset)[:-4]
    with pytest.raises(UserError, match="truncated"):
        read_volume(write(tmp_path / f"b{ending}", short))


def test_axes_of_length_0_after_the_third_are_none(tmp_path: Path) -> None:
    array = np.arange(60, dtype=np.int16).reshape(5, 4, 3)
    for dim in ([4, 5, 4, 3, 0, 0, 0, 0], [5, 5, 4, 3, 0, 1, 1, 1], [3, 5, 4, 3, 0, 0, 0, 0]):
        path = write(tmp_path / "a.nii", nifti(array, AFFINE, dim=dim))
        np.testing.assert_array_equal(read_volume(path).array, array)


def test_vectors_as_itk_writes_them(tmp_path: Path, rng: np.random.Generator) -> None:
    components = rng.normal(size=(5, 4, 3, 2)).astype(np.float32)
    image = sitk.GetImageFromArray(components.transpose(2, 1, 0, 3), isVector=True)
    sitk.WriteImage(image, str(tmp_path / "vectors.nii.gz"))
    assert nib.Nifti1Image.from_filename(tmp_path / "vectors.nii.gz").shape == (5, 4, 3, 1, 2)
    np.testing.assert_array_equal(read_volume(tmp_path / "vectors.nii.gz").array, components)


@pytest.mark.parametrize("units, scale", [(METRE, 1e-3), (MM, 1.0), (MICRON, 1e3), (0, 1.0)])
@pytest.mark.parametrize("form", ["sform", "qform", "neither"])
def test_all_units_are_read_as_mm(tmp_path: Path, form: str, units: int, scale: float) -> None:
    spacing = np.array([2.0, 1.5, 0.7])
    place = affine(spacing * scale, np.array([10, -4, 3]) * scale)
    fields = {"sform": int(form == "sform"), "qform": int(form == "qform"), "qoff": place[:3, 3]}
    array = np.zeros((5, 4, 3), np.int16)
    volume = read_volume(write(tmp_path / "a.nii", nifti(array, place, units=units, **fields)))
    np.testing.assert_allclose(volume.spacing, spacing, rtol=1e-6)
    if form != "neither":
        np.testing.assert_allclose(volume.affine, affine(spacing, (10, -4, 3)), rtol=1e-6)
    assert volume.notes == ()


def test_a_unit_that_makes_no_sense_is_told(tmp_path: Path) -> None:
    array = np.zeros((5, 4, 3), np.int16)
    volume = read_volume(write(tmp_path / "a.nii", nifti(array, affine(), units=METRE)))
    (note,) = volume.notes
    assert note == "voxels of 1000 x 1000 x 1000 mm (the header's unit is m): is the unit right?"


def test_a_spacing_of_0_is_told_and_not_taken_for_1_mm(tmp_path: Path) -> None:
    array, zero = np.zeros((5, 4, 3), np.int16), [1, 2.0, 0, 0.7, 0, 0, 0, 0]
    # The sform has the spacing.
    volume = read_volume(write(tmp_path / "a.nii", nifti(array, AFFINE, pixdim=zero)))
    np.testing.assert_allclose(volume.affine, AFFINE, rtol=1e-6)
    (note,) = volume.notes
    assert note.startswith("pixdim gives voxels of 2 x 0 x 0.7 mm, the sform of 1.5 x 2 x 0.7 mm")
    for qform in (0, 1):
        path = write(tmp_path / "b.nii", nifti(array, AFFINE, pixdim=zero, sform=0, qform=qform))
        with pytest.raises(UserError, match=r"its pixdim, the spacing, is 2, 0, 0.7; write"):
            read_volume(path)


def test_files_that_stand_for_others_have_a_sentence_of_their_own(tmp_path: Path) -> None:
    for text, said in (
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
        ("/annex/objects/SHA256E-s9--0.nii.gz\n", "git annex get a.nii.gz"),
        ("../../.git/annex/objects/aa/bb/SHA256E-s9--0.nii.gz", "git annex get a.nii.gz"),
        (".git/annex/objects/aa/bb/SHA256E-s9--0.nii.gz", "git annex get a.nii.gz"),
    ):
        (tmp_path / "a.nii.gz").write_text(text)
        with pytest.raises(UserError, match=said):
            read_volume(tmp_path / "a.nii.gz")


def test_voxels_of_one_bit_have_a_sentence_of_their_own(tmp_path: Path) -> None:
    content = nifti(np.zeros((8, 4, 3), np.uint8), AFFINE, code=1, bitpix=1)
    with pytest.raises(UserError, match=r"one bit each \(datatype 1\) are not read; convert"):
        read_volume(write(tmp_path / "a.nii", content))


def test_a_quaternion_that_is_far_too_long_is_no_rotation(tmp_path: Path) -> None:
    array, quat = np.zeros((5, 4, 3), np.int16), (0.9, 0.5, 0.1)
    with pytest.raises(UserError, match="the quaternion of its qform has the length 1.03441"):
        read_volume(write(tmp_path / "a.nii", nifti(array, AFFINE, sform=0, qform=1, quat=quat)))
    # With a sform it is used by other programs alone, and told.
    volume = read_volume(write(tmp_path / "b.nii", nifti(array, AFFINE, qform=1, quat=quat)))
    np.testing.assert_allclose(volume.affine, AFFINE, rtol=1e-6)
    assert any(
        "the quaternion of its qform has the length 1.03441" in note for note in volume.notes
    )
