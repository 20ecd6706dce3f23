"""From settings and `--data` to the cases of a data set, checked and cached."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from invseg_jax.data.batches.patients import torn_patients
from invseg_jax.data.batches.split import split_cases
from invseg_jax.data.layouts import Case, Dataset, open_dataset
from invseg_jax.data.layouts.case import IGNORED, some
from invseg_jax.data.layouts.names import composed
from invseg_jax.data.phantom import embedded_cohort
from invseg_jax.data.prepare.cache import CachedCase, CaseCache
from invseg_jax.data.prepare.fingerprint import Fingerprint
from invseg_jax.data.prepare.vanished_classes import tell_vanished
from invseg_jax.data.volumes.nifti import limit_volumes
from invseg_jax.errors import UserError
from invseg_jax.experiment import DataSettings

Say = Callable[[str], None]


def open_source(settings: DataSettings, root: str | None, say: Say) -> Dataset:
    """Opens the data set at `root`, or where there is none the embedded cohort.

    Args:
        settings: of the layout, and of the embedded cohort where there is one.
        root: what the user gave, or None. A root that does not exist is an error.
        say: told which data these are, in one line.

    What `settings.max_bytes` says holds for all that this process reads from now on.

    Raises:
        UserError: no such data set, or none given and none embedded.
    """
    limit_volumes(settings.max_bytes)
    if root is not None:
        dataset = open_dataset(settings.layout, Path(root), settings.plain)
        say(f"data: {root} ({settings.layout} layout, {len(dataset.cases)} cases)")
        return dataset
    if settings.embedded is None:
        raise UserError(
            f"this configuration needs --data: the root of a data set in the {settings.layout} "
            "layout"
        )
    embedded = settings.embedded
    folder = embedded_cohort(
        subjects=embedded.subjects, spacing=embedded.spacing, seed=embedded.seed, progress=say
    )
    say(
        f"data: the embedded cohort, {embedded.subjects} subjects simulated from the ICBM 152 "
        f"template at {embedded.spacing:g} mm; this is not iSeg-2019 ({folder})"
    )
    return open_dataset(settings.layout, folder)


def labelled_cases(dataset: Dataset) -> list[Case]:
    """The cases that have a label map, in order.

    Raises:
        UserError: there is none.
    """
    labelled = [case for case in dataset.cases if case.label is not None]
    if not labelled:
        reason = "".join(f" ({fault})" for fault in dataset.faults)
        raise UserError(f"{dataset.root} holds no case with a label map{reason}")
    return labelled


def chosen_cases(settings: DataSettings, dataset: Dataset) -> list[Case]:
    """The labelled cases to train on and to hold out, in order: `config.data.cases`, or all.

    Raises:
        UserError: there is none, or none of a given id.
    """
    labelled = labelled_cases(dataset)
    wanted = [composed(id) for id in settings.cases]
    ids = {case.id for case in labelled}
    if missing := [id for id in wanted if id not in ids]:
        raise UserError(
            f"config.data.cases: {dataset.root} has no labelled case {some(missing)}; there are "
            f"{some(sorted(ids))}"
        )
    return [case for case in labelled if not wanted or case.id in wanted]


def chosen_split(settings: DataSettings, dataset: Dataset) -> tuple[list[Case], list[Case]]:
    """The labelled cases to train on and those to hold out, each in order.

    Raises:
        UserError: as `chosen_cases` and `split.split_cases`.
    """
    known = [case.id for case in labelled_cases(dataset)]
    return split_cases(settings, chosen_cases(settings, dataset), known)


def tell_split(settings: DataSettings, dataset: Dataset, say: Say) -> None:
    """Tells what may be wrong with a split.

    Args:
        settings: as of `chosen_split`.
        dataset: of the cases.
        say: told how many cases are on neither side, and where scans of one patient seem to be on
            both sides.

    Raises:
        UserError: as `chosen_split`.
    """
    training, held_out = ([case.id for case in side] for side in chosen_split(settings, dataset))
    count = len(chosen_cases(settings, dataset))
    if left_out := count - len(training) - len(held_out):
        say(f"{left_out} of {count} labelled cases are not in config.data.split")
    if not settings.group and (warning := torn_patients(training, held_out)):
        say(f"warning: {warning}")


def prepared_split(
    settings: DataSettings, dataset: Dataset, say: Say
) -> tuple[list[CachedCase], list[CachedCase], Fingerprint]:
    """Prepares the labelled cases to train on and those to hold out.

    Args:
        settings: of the preparation, the cases and their split, and the annotated slices of the
            cases to train on.
        dataset: of the cases.
        say: told now and then how far the work is, and each case from which a class has vanished.

    Returns:
        The cases to train on, the cases held out, and the fingerprint of the former.

    Raises:
        UserError: a fault of the settings, a faulty case, no labelled one, or a class that has
            vanished from all training cases.
    """
    preparation = settings.preprocess
    training, held_out = chosen_split(settings, dataset)
    tell = now_and_then(say)
    cache = _training_cache(settings, dataset, tell, say)
    known = cache.fingerprint(training) if preparation.measures else None
    prepared = cache.prepared(training, known)
    if slices := settings.annotated_slices:
        share = np.mean([np.mean(np.asarray(case.label) != IGNORED) for case in prepared])
        say(f"annotated: {' + '.join(map(str, slices))} slices a case, {share:.1%} of its voxels")
    # Held-out cases keep their whole label maps: they are scored.
    dense = CaseCache(dataset, preparation, progress=tell, warn=say)
    held_out = dense.prepared(held_out, known)
    tell_vanished(prepared, held_out, dataset, preparation, say)
    # Where nothing needs it beforehand, the cases were measured as they were read.
    return prepared, held_out, known or cache.fingerprint(training)


def training_fingerprint(settings: DataSettings, dataset: Dataset, say: Say) -> Fingerprint:
    """The fingerprint of the cases that a training would see; no case is prepared.

    Raises:
        UserError: as `prepared_split`.
    """
    training, _ = chosen_split(settings, dataset)
    return _training_cache(settings, dataset, now_and_then(say), say).fingerprint(training)


def _training_cache(settings: DataSettings, dataset: Dataset, tell: Say, say: Say) -> CaseCache:
    preparation, slices = settings.preprocess, settings.annotated_slices
    return CaseCache(dataset, preparation, progress=tell, slices=slices, warn=say)


def now_and_then(say: Say, seconds: float = 2.0) -> Say:
    """Passes on a line if the one before is `seconds` old: small cases are prepared by hundreds."""
    last = -float("inf")

    def passed_on(text: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= seconds:
            last = now
            say(text)

    return passed_on
