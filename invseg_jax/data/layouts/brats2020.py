"""BraTS 2020: brain tumours in four modalities.

    BraTS20_Training_001/BraTS20_Training_001_t1.nii(.gz)   _t1ce   _t2   _flair   _seg
    BraTS20_Validation_001/…                                the same without _seg

in the folder itself or in the folders that its archives unpack to. Values on disk: 1 necrotic and
non-enhancing tumour core, 2 oedema, 4 enhancing tumour; 3 is not used. The challenge scores three
regions that overlap (Menze et al., IEEE TMI 34(10), 2015; Bakas et al., arXiv:1811.02629).
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from invseg_jax.data.layouts.case import Case, Dataset, Region, ordered
from invseg_jax.data.layouts.names import Folders
from invseg_jax.errors import UserError
from invseg_jax.files.missing import leads_nowhere, why_missing

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
    folders, faults = Folders(), []
    places = (root, *(root / inner for inner in _ARCHIVES))
    cases = [
        _case(folders, place / name, match[1] == "Training", faults)
        for place in places
        for name in folders.names(place)
        if (match := _CASE.fullmatch(name))
        and ((place / name).is_dir() or leads_nowhere(place / name))
    ]
    above = dict.fromkeys(folder for place in places for folder in (place.parent, place))
    faults += [f"{folder}: {why_missing(folder)}" for folder in above if leads_nowhere(folder)]
    if not cases:
        reason = "".join(f" ({fault})" for fault in faults)
        raise UserError(
            f"{root}: no BraTS 2020 data set; looked for BraTS20_Training_NNN and "
            f"BraTS20_Validation_NNN there and in {', '.join(_ARCHIVES)}{reason}"
        )
    return Dataset(
        "BraTS 2020",
        root,
        MODALITIES,
        CLASSES,
        VALUES,
        ordered(cases),
        regions=REGIONS,
        faults=tuple(faults),
    )


def _case(folders: Folders, folder: Path, training: bool, faults: list[str]) -> Case:
    label = None
    if training:
        label = _file(folders, folder, f"{folder.name}_seg", faults)
        odd = _file(folders, folder, _ODD_LABEL, faults)
        if os.path.lexists(odd) and not os.path.lexists(label):
            label = odd
    return Case(
        folder.name,
        tuple(_file(folders, folder, f"{folder.name}_{name}", faults) for name in MODALITIES),
        label,
        "training" if training else "test",
    )


def _file(folders: Folders, folder: Path, stem: str, faults: list[str]) -> Path:
    """The file of this name, compressed or not; compressed where there is none."""
    found = [path for end in (".nii", ".nii.gz") for path in folders.alike(folder, stem + end)]
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        faults.append(f"{folder}: {names} stand for the same image; leave one of them there")
    return found[0] if found else folder / f"{stem}.nii.gz"
