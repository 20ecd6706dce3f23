"""What the training images of runs were like, from their `fingerprint.json`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from invseg_jax.data.prepare.fingerprint import Fingerprint, WholeImage
from invseg_jax.errors import UserError
from invseg_jax.inference.trained_run import SegmentationRun


@dataclass(frozen=True)
class TrainingImages:
    """What the training images of one run, or of several that are averaged, were like.

    Attributes:
        spacings: (n, 3) mm, along the axes of the canonical frame.
        views: (n, 3) mm, size times spacing, after the crop.
        modalities: names.
        whole: of each image, the intensities of each modality; empty for runs of earlier versions.
        oriented: of each image, whether its file says which side is left; empty likewise.
    """

    spacings: np.ndarray
    views: np.ndarray
    modalities: tuple[str, ...]
    whole: tuple[tuple[WholeImage, ...], ...]
    oriented: tuple[bool, ...]

    @classmethod
    def of(cls, fingerprints: Sequence[Fingerprint]) -> TrainingImages:
        """Puts together what the runs have seen.

        Args:
            fingerprints: at least one.

        Raises:
            ValueError, TypeError: one holds something else than it should, or not the modalities
                of the others.
        """
        shapes, spacings = (
            np.array([each for fingerprint in fingerprints for each in values(fingerprint)], float)
            for values in (lambda f: f.shapes, lambda f: f.spacings)
        )
        positive = (shapes > 0).all() and (spacings > 0).all()
        if shapes.shape != spacings.shape or spacings.shape[1:] != (3,) or not positive:
            raise ValueError("sizes and spacings are not three numbers a case")
        modalities = tuple(fingerprints[0].modalities)
        if any(tuple(fingerprint.modalities) != modalities for fingerprint in fingerprints):
            raise ValueError("the other runs have other modalities")
        whole = tuple(case for fingerprint in fingerprints for case in fingerprint.whole)
        measured = [[(w.minimum, w.low, w.median, w.high) for w in case] for case in whole]
        numbers = np.array(measured, np.float64)
        fits = numbers.shape == (len(whole), len(modalities), 4) and np.isfinite(numbers).all()
        if whole and not fits:
            raise ValueError("intensities are not four numbers a modality of each case")
        oriented = tuple(o for fingerprint in fingerprints for o in fingerprint.oriented)
        return cls(spacings, shapes * spacings, modalities, whole, oriented)


def read_training_images(workdirs: Sequence[Path]) -> tuple[TrainingImages | None, list[str]]:
    """Reads the fingerprints of runs, as far as they are there.

    Returns:
        What the runs have seen, None where no fingerprint can be read; and a line for each run
        whose fingerprint cannot.
    """
    found, notes = [], []
    for workdir in workdirs:
        try:
            if not (workdir / "fingerprint.json").exists():
                raise UserError("fingerprint.json is missing, as in runs of earlier versions")
            fingerprint = SegmentationRun(workdir).read_fingerprint()
            TrainingImages.of([*found, fingerprint])  # whether it is sound, and fits the others
            found.append(fingerprint)
        except (UserError, ValueError, TypeError, AttributeError) as error:
            notes.append(f"{workdir}: images cannot be compared with the training images: {error}")
    return TrainingImages.of(found) if found else None, notes
