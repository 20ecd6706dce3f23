"""The embedded cohort on disk: built once in the iSeg-2019 layout, appearing whole or not at all.

subject-1-T1.hdr .img   subject-1-T2.hdr .img   subject-1-label.hdr .img   …
README.txt              what the data are, and are not
cohort.json             the parameters, and the size of every other file
"""

import errno
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from nibabel.analyze import AnalyzeImage

from invseg_jax.data.layouts import iseg
from invseg_jax.errors import UserError
from invseg_jax.files.cache_folder import cache_root, make_private

FORMAT = 1  # raise it whenever the same parameters would give other files

_MANIFEST = "cohort.json"
_PARTIAL = ".partial-"  # prefix of folders that are being written

_README = """\
The embedded cohort of invseg_jax (format {format})

These are NOT images of the iSeg-2019 challenge, and no infant was scanned for them. They are
simulated T1- and T2-weighted images of {subjects} subjects at {spacing:g} mm, stored in the layout
of iSeg-2019 (Analyze 7.5 pairs; label values 0 background, 10 cerebrospinal fluid, 150 grey matter,
250 white matter) so that the same code reads both. Scores on them say that the software works;
they are not comparable with published iSeg-2019 scores.

Anatomy: the ICBM 152 2009a nonlinear symmetric T1 template with its grey- and white-matter
probability maps, as distributed with nilearn, randomly deformed for each subject (seed {seed}).
Contrast, bias field and noise are simulated. Cite Fonov et al., NeuroImage 54:313-327, 2011, for
the template, which is Copyright (C) 1993-2009 Louis Collins, McConnell Brain Imaging Centre,
Montreal Neurological Institute, McGill University.
"""


def embedded_cohort(
    folder: Path | None = None,
    *,
    subjects: int = 10,
    spacing: float = 1.0,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> Path:
    """Builds the embedded cohort on disk, or finds it there already built.

    Subject i depends on `(seed, i, spacing)` alone; with another spacing it is the same anatomy,
    scanned on another grid. Files are named as in iSeg-2019: `subject-1-T1.hdr` and `.img`, and so
    on for T2 and label, all int16; what is not brain is exactly 0 in every file.

    Args:
        folder: where the data set shall lie: a folder that is absent, empty, or holds this very
            cohort. By default a folder of the cache that is named by the parameters.
        subjects: how many subjects, at least 1.
        spacing: edge of the isotropic voxels in mm, 0.5 to 8.
        seed: seed of the whole cohort, not negative.
        progress: told in one line of each subject that has to be made.

    Returns:
        The root of the data set.

    Raises:
        UserError: for a parameter out of range, a folder that holds something else, a folder that
            cannot be written, or an environment without nilearn.
    """
    if subjects < 1:
        raise UserError(f"the embedded cohort needs at least 1 subject, not {subjects}")
    if seed < 0:
        raise UserError(f"the embedded cohort's seed must not be negative, but is {seed}")
    if not 0.5 <= spacing <= 8.0:  # false for NaN as well
        raise UserError(f"the embedded cohort's spacing must be 0.5 to 8 mm, not {spacing} mm")
    # int() and float() so that 1 and 1.0, or a NumPy scalar, name the same cohort.
    settings = {
        "format": FORMAT,
        "seed": int(seed),
        "spacing": float(spacing),
        "subjects": int(subjects),
    }
    if cached := folder is None:
        name = "{subjects}-subjects-{spacing}-mm-seed-{seed}-format-{format}".format(**settings)
        folder = cache_root(progress or print) / "embedded-iseg" / name
    folder = Path(folder)
    if _complete(folder, settings):
        return folder
    try:
        if cached:
            make_private(folder.parent, folder.parent.parent)
            _sweep(folder.parent)
        elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UserError(
                f"{folder} is not empty and is not this embedded cohort in full: "
                "name an absent or empty folder, or remove it"
            )
        _publish(folder.resolve(), settings, progress, replace=cached)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = "the disk is full" if full else error.strerror or str(error)
        advice = "set INVSEG_CACHE to another folder" if cached else "name another folder"
        raise UserError(
            f"{folder}: cannot write the embedded cohort: {reason}; make room, or {advice}"
        ) from error
    return folder


def _complete(folder: Path, settings: dict) -> bool:
    """Whether `folder` holds the cohort of these settings, with every file at its full size."""
    try:
        manifest = json.loads((folder / _MANIFEST).read_text())
        return manifest["settings"] == settings and all(
            (folder / name).stat().st_size == size for name, size in manifest["files"].items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _publish(
    folder: Path, settings: dict, progress: Callable[[str], None] | None, *, replace: bool
) -> None:
    """Builds the cohort beside `folder`, then renames it; of two processes the first one wins."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        prefix=_PARTIAL, dir=folder.parent, ignore_cleanup_errors=True
    ) as temporary:
        # A folder within, since the temporary folder itself is closed to other users.
        building = Path(temporary, "cohort")
        building.mkdir()
        _build(building, settings, progress)
        try:
            if replace and folder.exists() and not _complete(folder, settings):
                os.replace(folder, Path(temporary, "damaged"))
            os.replace(building, folder)
        except OSError:
            if not _complete(folder, settings):
                raise


def _build(folder: Path, settings: dict, progress: Callable[[str], None] | None) -> None:
    # Imported where a cohort is built, for the sake of all later starts: they take SciPy along.
    from invseg_jax.data.phantom.atlas import load_atlas
    from invseg_jax.data.phantom.scan import simulate_subject

    atlas = load_atlas()
    count, spacing = settings["subjects"], settings["spacing"]
    for number in range(1, count + 1):
        if progress is not None:
            progress(f"embedded cohort: subject {number} of {count}")
        t1, t2, classes = simulate_subject(atlas, settings["seed"], number, spacing)
        label = np.array(iseg.VALUES, np.int16)[classes]
        for kind, array in (("T1", t1), ("T2", t2), ("label", label)):
            image = AnalyzeImage(array, None)
            image.header.set_zooms((spacing,) * 3)
            image.to_filename(folder / f"subject-{number}-{kind}.hdr")
    (folder / "README.txt").write_text(_README.format(**settings))
    files = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    (folder / _MANIFEST).write_text(json.dumps({"settings": settings, "files": files}, indent=1))


def _sweep(folder: Path) -> None:
    """Deletes what killed processes left behind, once it is a day old."""
    for path in folder.glob(f"{_PARTIAL}*"):
        try:
            if time.time() - path.stat().st_mtime > 86_400:
                shutil.rmtree(path, ignore_errors=True)
        except OSError:
            continue  # another process was faster
