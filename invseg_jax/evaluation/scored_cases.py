"""Which cases of a data set an evaluation scores."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from invseg_jax.data.batches.source import chosen_cases, labelled_cases, open_source
from invseg_jax.data.batches.split import unfair_to_score
from invseg_jax.data.checks.case import TOLERABLE
from invseg_jax.data.checks.cases import refuse_faults
from invseg_jax.data.layouts.case import Case, Dataset, refuse_repeated_ids, some
from invseg_jax.data.prepare.content import case_digest, images_digest
from invseg_jax.errors import UserError
from invseg_jax.experiment import Experiment
from invseg_jax.inference.trained_run import DataDescription

SPLITS = ("val", "train", "all")


@dataclass(frozen=True)
class ScoredCases:
    """The cases that are scored.

    Attributes:
        dataset: what they belong to.
        cases: in order, all of them readable.
        own: whether these are the data of the training.
        trained_on: whether a case was trained on, by its content.
    """

    dataset: Dataset
    cases: list[Case]
    own: bool
    trained_on: Callable[[Case], bool]


def scored_cases(
    workdir: Path,
    experiment: Experiment,
    data: DataDescription,
    root: str | None,
    split: str,
    say: Callable[[str], None],
) -> ScoredCases:
    """Opens a data set and chooses the cases of a split.

    Args:
        workdir: the trained run.
        experiment: of the run.
        data: what it was trained on.
        root: of a data set in the layout of the training; None for the data of the training.
        split: of `SPLITS`.
        say: told one line at a time.

    Raises:
        UserError: no such data, data of other classes or modalities, a faulty case, or no case in
            the split.
    """
    dataset = open_source(experiment.data, root or data.root, say)
    if dataset.classes != data.classes or len(dataset.modalities) != len(data.modalities):
        raise UserError(
            f"{dataset.root} has the classes {', '.join(dataset.classes)} and "
            f"{len(dataset.modalities)} modalities; {workdir} was trained for "
            f"{', '.join(data.classes)} and {len(data.modalities)}"
        )
    if dataset.modalities != data.modalities and set(dataset.modalities) == set(data.modalities):
        raise UserError(
            f"{dataset.root} has the modalities {', '.join(dataset.modalities)}; {workdir} was "
            f"trained on them in the order {', '.join(data.modalities)}"
        )
    # A case whose label map was mended since has been trained on all the same. Runs of earlier
    # versions keep no digest of the images alone. In the data of the training a name counts too.
    seen = {content for _, content in data.training} | set(data.images)
    own = root is None
    if root is not None and data.root is not None:  # None: the embedded cohort, which has no root
        own = Path(root).resolve() == Path(data.root).resolve()
    names = {id for id, _ in data.training} if own else set()

    @functools.cache
    def trained_on(case: Case) -> bool:
        if case.id in names:
            return True
        try:
            digests = case_digest(case, data.known_by), images_digest(case, data.known_by)
        except UserError:  # a fault of a file, which is told below with all others
            return False
        return not seen.isdisjoint(digests)

    known = chosen_cases(experiment.data, dataset) if own else labelled_cases(dataset)
    if own and split != "train":
        held_out = {id for id, _ in data.held_out}
        if unfair := unfair_to_score(experiment.data, known, names, held_out):
            known = [case for case in known if case.id not in unfair]
            say(
                f"{len(unfair)} labelled cases are not scored, as config.data.split leaves them "
                f"out or their patients were trained on: {some(sorted(unfair))}"
            )
    cases = [case for case in known if split == "all" or trained_on(case) == (split == "train")]
    if not cases:
        others = ", ".join(name for name in SPLITS if name != split)
        chosen = " among config.data.cases" if own and experiment.data.cases else ""
        raise UserError(
            f"{dataset.root} holds no labelled case of the split {split!r}{chosen}; --split can be "
            f"{others}"
        )
    refuse_repeated_ids(cases, dataset.root)
    # All files before the first score: a damaged one would end it midway. What the training would
    # have had to be told of, as a label map without foreground, is scored.
    refuse_faults(experiment.data, dataset, cases, say, tolerate=TOLERABLE)
    return ScoredCases(dataset, cases, own, trained_on)
