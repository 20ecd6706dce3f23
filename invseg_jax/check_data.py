"""Finds every fault of a data set before anything is trained on it.

    python -m invseg_jax.check_data --layout msd --data ROOT
    python -m invseg_jax.check_data --layout nnunet --data ROOT --json faults.json
    python -m invseg_jax.check_data --config configs/sarcoma.py --data ROOT

Reads every file of every case to its end: that it is whole, that its voxels are finite, that images
and label map lie on one grid, that the labels are those expected, that no scan is there twice. All
faults are printed, and then warnings about data that can be used all the same. `train` checks the
same of the cases that it reads.

The exit status is 0 where nothing is wrong, 1 where something is, 2 for a mistake on the command
line. Warnings do not change it; with --strict they are faults.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from invseg_jax import command
from invseg_jax.errors import UserError
from invseg_jax.experiment import DataSettings

if TYPE_CHECKING:
    from invseg_jax.data.checks.case import Fault
    from invseg_jax.data.checks.cases import Progress

FAULTY = 1

FLAGS = command.new_flags()
command.define_config(FLAGS, required=False)
flags.DEFINE_string(
    "layout",
    None,
    "brats2020, iseg, msd, nnunet or plain; by default that of --config. plain needs --config, "
    "which says which files are which.",
    flag_values=FLAGS,
)
flags.DEFINE_string("data", None, "Root of the data set.", flag_values=FLAGS)
flags.DEFINE_string("json", None, "File that receives the faults as JSON.", flag_values=FLAGS)
command.define_max_bytes(FLAGS)
flags.DEFINE_list(
    "tolerate",
    None,
    "Kinds of faults to pass over: some of empty-image, empty-label, duplicate and outlier; by "
    "default config.data.tolerate.",
    flag_values=FLAGS,
)
flags.DEFINE_bool("strict", False, "Take warnings for faults.", flag_values=FLAGS)
flags.mark_flag_as_required("data", flag_values=FLAGS)


def main(values: flags.FlagValues) -> None:
    """Runs the command line's check."""
    settings = read_settings(values)
    output = None if values.json is None else Path(values.json)
    if check_data(settings, Path(values.data), output, strict=values.strict):
        raise SystemExit(FAULTY)


def read_settings(values: flags.FlagValues) -> DataSettings:
    """The data settings that --config names, or the defaults, with what other flags change.

    Raises:
        UserError: it cannot be loaded, or neither it nor --layout is given.
    """
    given = values["config"].value is not None
    if not given and values.layout is None:
        raise UserError("give --layout, or the --config of a training (see --help)")
    settings = command.read_config(values).data if given else DataSettings()
    max_bytes = command.read_max_bytes(values)
    return dataclasses.replace(
        settings,
        layout=values.layout or settings.layout,
        max_bytes=settings.max_bytes if max_bytes is None else max_bytes,
        tolerate=settings.tolerate if values.tolerate is None else tuple(values.tolerate),
    )


def check_data(
    settings: DataSettings, root: Path, output: Path | None = None, *, strict: bool = False
) -> list[Fault]:
    """Checks a data set and prints its faults and warnings.

    Args:
        settings: of the layout, what one volume may take, what is tolerated, and the preparation.
        root: of the data set.
        output: the JSON file, or None.
        strict: whether warnings are faults.

    Returns:
        The faults, without the warnings.

    Raises:
        UserError: no such layout or folder, a wrong setting, or the JSON file cannot be written.
    """
    import json

    from rich.console import Console

    from invseg_jax.data.checks.case import Fault
    from invseg_jax.data.checks.cases import check_cases
    from invseg_jax.data.checks.report import as_json, summary, table
    from invseg_jax.data.layouts import find_layout
    from invseg_jax.data.volumes.nifti import limit_volumes
    from invseg_jax.files.atomic_file import write_atomically

    limit_volumes(settings.max_bytes)
    open_folder = find_layout(settings.layout, root, settings.plain)
    dataset = None
    try:
        dataset = open_folder()
    except UserError as error:
        faults = [Fault("", "listing", str(error))]
    else:
        with _progress(len(dataset.cases)) as progress:
            faults = check_cases(
                dataset,
                dataset.cases,
                tolerate=settings.tolerate,
                progress=progress,
                settings=settings.preprocess,
            )
    if strict:
        faults = [dataclasses.replace(fault, warning=False) for fault in faults]
    warnings = [fault for fault in faults if fault.warning]
    faults = [fault for fault in faults if not fault.warning]
    for title, found in (("Faults", faults), ("Warnings", warnings)):
        if found:
            Console(highlight=False).print(table(found, title))
    command.say(f"{root}: {summary(dataset, faults, warnings)}")
    if output is not None:
        content = as_json(settings.layout, root, dataset, faults, warnings)
        write_atomically(output, (json.dumps(content, indent=1) + "\n").encode())
    return faults


@contextmanager
def _progress(count: int) -> Iterator[Progress]:
    """A bar on a terminal, elsewhere a line now and then."""
    from rich.console import Console
    from rich.progress import Progress as Bar

    from invseg_jax.data.batches.source import now_and_then
    from invseg_jax.data.layouts import Case

    console, tell = Console(highlight=False), now_and_then(command.say)
    with Bar(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("checking", total=count)

        def progress(number: int, case: Case) -> None:
            bar.update(task, completed=number)
            if not console.is_terminal:
                tell(f"checking case {case.id} ({number + 1} of {count})")

        yield progress


if __name__ == "__main__":
    command.run(main, FLAGS, __doc__)
