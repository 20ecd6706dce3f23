"""What is compared: configurations, the values of one setting, folds and seeds."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from invseg_jax.data.batches.split import check_split, holds_out
from invseg_jax.errors import UserError
from invseg_jax.experiment import Experiment

# A file of a configuration, and KEY=VALUE for what is changed in it.
Load = Callable[[str, Sequence[str]], Experiment]


@dataclass(frozen=True)
class Vary:
    """One setting, and the values that are compared.

    Attributes:
        key: as in `--config.KEY`.
        values: as they would be written on the command line.
    """

    key: str
    values: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> "Vary":
        """Reads "KEY=V1|V2|V3".

        Raises:
            UserError: it is written in another way.
        """
        key, equals, values = text.partition("=")
        if not key or not equals or not all(values.split("|")):
            raise UserError(f"--vary {text!r}: write it as KEY=VALUE|VALUE|VALUE")
        return cls(key, tuple(values.split("|")))

    @property
    def label(self) -> str:
        """The last part of the key."""
        return self.key.rpartition(".")[2]


@dataclass(frozen=True)
class Row:
    """A configuration with one of the varied values: a row of the table.

    Attributes:
        name: short, and safe as the name of a folder.
        configuration: file and variant, as "hippocampus:cpu-unet".
        value: of the varied setting, or None.
        file: FILE.py or FILE.py:VARIANT.
        changes: KEY=VALUE, what is changed in it.
        experiment: what comes of them.
    """

    name: str
    configuration: str
    value: str | None
    file: str
    changes: tuple[str, ...]
    experiment: Experiment


@dataclass(frozen=True)
class Run:
    """One training: a row with a fold and a seed."""

    row: Row
    fold: int
    seed: int

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.row.name}_fold{self.fold}_seed{self.seed}"

    def experiment(self, steps: int) -> Experiment:
        """The experiment that it is trained by."""
        own = {"data.fold": self.fold, "seed": self.seed, "steps": steps}
        return self.row.experiment.changed(own)

    def arguments(self, steps: int) -> list[str]:
        """The arguments of `train` that stand for `experiment`."""
        own = (f"data.fold={self.fold}", f"seed={self.seed}", f"steps={steps}")
        changes = (f"--config.{change}" for change in (*self.row.changes, *own))
        return [f"--config={self.row.file}", *changes]


@dataclass(frozen=True)
class Sweep:
    """All that is compared.

    Attributes:
        rows: of the table.
        vary: the varied setting, or None.
        folds: each row is trained on each of them,
        seeds: with each of these.
    """

    rows: tuple[Row, ...]
    vary: Vary | None
    folds: tuple[int, ...]
    seeds: tuple[int, ...]

    @classmethod
    def build(
        cls,
        files: Sequence[str],
        load: Load,
        *,
        changes: Sequence[str] = (),
        vary: Vary | None = None,
        folds: Sequence[int] = (0,),
        seeds: Sequence[int] = (0,),
    ) -> "Sweep":
        """Loads and checks every configuration.

        Args:
            files: FILE.py or FILE.py:VARIANT.
            load: reads one, with its changes.
            changes: KEY=VALUE for all of them.
            vary: the setting that has several values.
            folds: numbers of folds.
            seeds: of the weights, the crops and the augmentation.

        Raises:
            UserError: a configuration that cannot be loaded, a misspelt key, a fold that is not
                there, something given twice, or two rows that come to one name.
        """
        for flag, numbers in (("--folds", folds), ("--seeds", seeds)):
            if not numbers or len(set(numbers)) < len(numbers) or min(numbers) < 0:
                given = ",".join(map(str, numbers))
                raise UserError(f"{flag} {given}: give numbers from 0 on, each of them once")
        _check_keys(changes, vary)
        rows: dict[str, Row] = {}
        for file in files:
            for value in (None,) if vary is None else vary.values:
                row = _row(file, load, changes, vary, value)
                if not row.experiment.data.annotated_slices:
                    _refuse_no_fold(row)
                for fold in folds:
                    check_split(row.experiment.data, fold)
                # Some file systems do not tell capital from small letters.
                other = rows.setdefault(row.name.lower(), row)
                if other is not row:
                    raise UserError(
                        f"{_given(other)} and {_given(row)} would both be called {row.name}; "
                        "give each once, and files names of their own"
                    )
        return cls(tuple(rows.values()), vary, tuple(folds), tuple(seeds))

    def runs(self) -> Iterator[Run]:
        """All trainings: each row once, then each with the next fold or seed.

        A comparison that is looked at midway so has something of every row.
        """
        for seed in self.seeds:
            for fold in self.folds:
                for row in self.rows:
                    yield Run(row, fold, seed)


def _check_keys(changes: Sequence[str], vary: Vary | None) -> None:
    own = {"seed": "--seeds", "data.fold": "--folds"}
    for change in changes:
        if "=" not in change:
            raise UserError(f"--set {change!r}: write it as KEY=VALUE")
    keys = [("--set", change.partition("=")[0]) for change in changes]
    if vary is not None:
        keys.append(("--vary", vary.key))
    for flag, key in keys:
        if key in own:
            raise UserError(f"{flag} {key}: give {own[key]}")


def _row(
    file: str, load: Load, changes: Sequence[str], vary: Vary | None, value: str | None
) -> Row:
    path, _, variant = file.partition(":")
    stem = Path(path).stem
    parts = [stem, variant]
    if vary is not None:
        changes = (*changes, f"{vary.key}={value}")
        parts += [vary.label, str(value)]
    # No path separator, no space, nothing that a shell would take for its own.
    safe = (re.sub(r"[^A-Za-z0-9.-]+", "_", part).strip("_.") for part in parts)
    return Row(
        name="_".join(part for part in safe if part),
        configuration=f"{stem}:{variant}" if variant else stem,
        value=value,
        file=file,
        changes=tuple(changes),
        experiment=_of_segmentation(file, load(file, changes)),
    )


def _of_segmentation(file: str, experiment: Experiment) -> Experiment:
    if experiment.task != "segmentation":
        raise UserError(
            f"{file} is of the task {experiment.task}, and compare puts segmentations side by side"
        )
    return experiment


def _refuse_no_fold(row: Row) -> None:
    """Refuses a run that would be scored on the very voxels that it is trained on."""
    if not holds_out(row.experiment.data):
        raise UserError(
            f"{_given(row)}: config.data.folds is 1, so nothing is left to be scored; hold a fold "
            "out, or give config.data.annotated_slices"
        )


def _given(row: Row) -> str:
    return row.file if row.value is None else f"{row.file} with {row.changes[-1]}"
