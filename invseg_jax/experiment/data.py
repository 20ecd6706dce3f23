"""Settings of the data: which cases, in which layout, how they are read, split and cropped."""

from dataclasses import dataclass
from typing import ClassVar

from invseg_jax.experiment.preprocessing import Preprocessing
from invseg_jax.experiment.section import Section

Patch = tuple[int, int, int]
# A header may claim more than any machine holds, and a small compressed file may keep the promise;
# 4 GiB is a 4-D study of 16 volumes of 512 x 512 x 512 x 16 bit.
MAX_BYTES = 4 << 30


@dataclass(frozen=True)
class PlainSettings(Section):
    """Where the files are, for the layout "plain"; see `data.layouts.plain`.

    Attributes:
        images: pairs of a modality's name and a pattern: (("mr", "*/mr.nii.gz"),).
        label: the pattern of the label maps.
        classes: pairs of a class's name and its value in the files: (("tumour", 1),).
        reference: the modality onto whose grid the others are resampled; "": they share one grid.
    """

    KEY: ClassVar[str] = "data.plain"

    images: tuple[tuple[str, str], ...] = ()
    label: str = ""
    classes: tuple[tuple[str, int], ...] = ()
    reference: str = ""


@dataclass(frozen=True)
class EmbeddedSettings(Section):
    """The embedded cohort: brains simulated from the ICBM 152 template, read without other data.

    Attributes:
        subjects: number of subjects.
        spacing: size of the voxels, in mm.
        seed: seed of the anatomy and the noise.
    """

    KEY: ClassVar[str] = "data.embedded"

    subjects: int = 10
    spacing: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class DataSettings(Section):
    """Which cases are read, which are held out, and which crops make a batch.

    Attributes:
        layout: how the data set's folder is organised; see `data.layouts`.
        plain: for the layout "plain".
        embedded: the cohort that is read where no data set is given; None: there is none.
        max_bytes: most bytes that one volume may take, against files that claim too much.
        tolerate: kinds of faults that are passed over, of "empty-image", "empty-label" and
            "duplicate".
        cases: ids of the cases to train on and to hold out; (): all.
        annotated_slices: (3, 3, 3): of each case to train on, only so many slices across each axis
            of its file count as labelled; (): all do. See `data.sparse_annotation`.
        folds: number of parts of a cross-validation, of which one is held out; 1: nothing is held
            out.
        fold: the part that is held out, counted from 0.
        group: a regular expression that finds the patient in a case's id, such as
            "(sub-[0-9]+)_ses-.*". All cases of a patient stay on one side. "": each case is of
            another patient.
        split: a JSON file like nnU-Net's splits_final.json, which replaces the folds; "": none.
        patch: size of a crop along the axes D, H and W, in voxels.
        batch: number of patches at a time, over all devices; see `optimiser.accumulate`.
        foreground: share of the patches that are centred on a voxel of a random class, 0 to 1.
        threads: number of threads that read batches ahead; 0: none.
        preprocess: what is done to a case before a network sees it.
    """

    KEY: ClassVar[str] = "data"

    layout: str = "msd"
    plain: PlainSettings = PlainSettings()
    embedded: EmbeddedSettings | None = None
    max_bytes: int = MAX_BYTES
    tolerate: tuple[str, ...] = ()
    cases: tuple[str, ...] = ()
    annotated_slices: tuple[int, ...] = ()
    folds: int = 5
    fold: int = 0
    group: str = ""
    split: str = ""
    patch: Patch = (64, 64, 64)
    batch: int = 2
    foreground: float = 0.33
    threads: int = 2
    preprocess: Preprocessing = Preprocessing()

    def check(self) -> None:
        """Checks sizes, counts and probabilities.

        Raises:
            UserError: one is out of range, or both `group` and `split` are given.
        """
        if min(self.patch) < 1:
            raise self.wrong("patch", "give three sizes of at least 1 voxel")
        self.at_least(1, "batch", "max_bytes")
        self.at_least(0, "threads")
        if not 0 <= self.foreground <= 1:
            raise self.wrong("foreground", "give a probability between 0 and 1")
        counts = self.annotated_slices
        if counts and (len(counts) != 3 or min(counts) < 0 or not any(counts)):
            raise self.wrong(
                "annotated_slices",
                "give how many across each of the three axes, such as (3, 3, 3), or () for dense "
                "label maps",
            )
        if self.group and self.split:
            raise self.wrong(
                "group", f"and {self.named('split')} is {self.split!r}; give one of them"
            )
