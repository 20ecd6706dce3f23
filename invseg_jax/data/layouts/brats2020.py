"""BraTS 2020: brain tumours in four modalities.

    BraTS20_Training_001/BraTS20_Training_001_t1.nii(.gz)   _t1ce   _t2   _flair   _seg
    BraTS20_Validation_001/…                                the same without _seg

in the folder itself or in the folders that its archives unpack to. Values on disk: 1 necrotic and
non-enhancing tumour core, 2 oedema, 4 enhancing tumour; 3 is none. The challenge scores three
regions that overlap (Menze et al., IEEE TMI 34(10), 2015; Bakas et al., arXiv:1811.02629).
"""

from __future__ import annotations

import re
from pathlib import Path

from invseg_jax.data.layouts.case import Case, Dataset, Region, ordered
from invseg_jax.errors import UserError

MODALITIES = ("t1", "t1ce", "t2", "flair")
CLASSES = ("background", "necrotic core", "oedema", "enhancing tumour")
VALUES = (0, 1, 2, 4)
# Whole tumour, tumour core, enhancing tumour, each within the one before.
REGIONS = (Region("WT", (1, 2, 4), 2), Region("TC", (1, 4), 1), Region("ET", (4,), 4))
_CASE = re.compile(r"BraTS20_(Training|Validation)_[0-9]+")
_ARCHIVES = tuple(
    inner
    for part in ("Training", "Validation")
    for inner in (
        f"MICCAI_BraTS2020_{part}Data",
        f"BraTS2020_{part}Data/MICCAI_BraTS2020_{part}Data",
    )
)
# The label map of BraTS20_Training_355 as it was published.
_ODD_LABEL = "W39_1998.09.19_Segm"


def open_folder(root: Path) -> Dataset:
    """Lists the cases: training with label maps, validation (as the test split) without.

    Raises:
        UserError: there is no case.
    """
    cases = [
        _case(folder, match[1] == "Training")
        for place in (root, *(root / inner for inner in _ARCHIVES))
        if place.is_dir()
        for folder in place.iterdir()
        if (match := _CASE.fullmatch(folder.name)) and folder.is_dir()
    ]
    if not cases:
        raise UserError(
            f"{root}: no BraTS 2020 data set; looked for BraTS20_Training_NNN and "
            f"BraTS20_Validation_NNN there and in {', '.join(_ARCHIVES)}"
        )
    return Dataset("BraTS 2020", root, MODALITIES, CLASSES, VALUES, ordered(cases), regions=REGIONS)


def _case(folder: Path, training: bool) -> Case:
    label = None
    if training:
        label = _file(folder, f"{folder.name}_seg")
        odd = _file(folder, _ODD_LABEL)
        if odd.is_file() and not label.is_file():
            label = odd
    return Case(
        folder.name,
        tuple(_file(folder, f"{folder.name}_{name}") for name in MODALITIES),
        label,
        "training" if training else "test",
    )


def _file(folder: Path, stem: str) -> Path:
    """The file of this name, compressed or not; compressed where there is none."""
    plain = folder / f"{stem}.nii"
    return plain if plain.is_file() else folder / f"{stem}.nii.gz"
