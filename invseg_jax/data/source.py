"""From a configuration and `--data` to the cases of a data set, checked and cached."""

import time
from collections.abc import Callable
from pathlib import Path

from invseg_jax.configuration import Config
from invseg_jax.data.cache import CachedCase, cached_cases
from invseg_jax.data.layouts import Case, Dataset, open_dataset
from invseg_jax.data.nifti import MAX_BYTES, limit_volumes
from invseg_jax.data.phantom import embedded_cohort
from invseg_jax.errors import UserError

Say = Callable[[str], None]


def open_source(config: Config, root: str | None, say: Say) -> Dataset:
    """Opens the data set at `root`, or where there is none the embedded cohort.

    Args:
        config: with `data.layout`, and `data.embedded` where the layout has an embedded cohort.
        root: what the user gave, or None. A root that does not exist is an error.
        say: told which data these are, in one line.

    What `config.data.max_bytes` says holds for all that this process reads from now on.

    Raises:
        UserError: no such data set, or none given and none embedded.
    """
    limit_volumes(config.data.get("max_bytes", MAX_BYTES))
    if root is not None:
        dataset = open_dataset(config.data.layout, Path(root), config.data.get("plain"))
        say(f"data: {root} ({config.data.layout} layout, {len(dataset.cases)} cases)")
        return dataset
    if "embedded" not in config.data:
        raise UserError(
            f"this configuration needs --data: the root of a data set in the {config.data.layout} "
            "layout"
        )
    settings = config.data.embedded
    folder = embedded_cohort(
        subjects=settings.subjects, spacing=settings.spacing, seed=settings.seed, progress=say
    )
    say(
        f"data: the embedded cohort, {settings.subjects} subjects simulated from the ICBM 152 "
        f"template at {settings.spacing:g} mm; this is not iSeg-2019 ({folder})"
    )
    return open_dataset(config.data.layout, folder)


def labelled_cases(dataset: Dataset, say: Say) -> list[CachedCase]:
    """The preprocessed cases that have a label map, in order.

    Raises:
        UserError: a faulty case, or no labelled one.
    """
    return cached_cases(dataset, with_label(dataset), progress=now_and_then(say))


def with_label(dataset: Dataset) -> list[Case]:
    """The cases that have a label map, in order.

    Raises:
        UserError: there is none.
    """
    labelled = [case for case in dataset.cases if case.label is not None]
    if not labelled:
        reason = "".join(f" ({fault})" for fault in dataset.faults)
        raise UserError(f"{dataset.root} holds no case with a label map{reason}")
    return labelled


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
