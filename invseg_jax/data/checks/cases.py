"""The faults of many cases, and of what they have in common: ids and contents that repeat."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from invseg_jax.data.batches.source import now_and_then
from invseg_jax.data.checks.case import TOLERABLE, Fault, check_case, shown_from
from invseg_jax.data.checks.passed import PassedCases
from invseg_jax.data.checks.warnings import (
    AIR,
    KnownCase,
    air_warnings,
    case_warnings,
    orientation_warnings,
)
from invseg_jax.data.layouts.case import Case, Dataset, repeated_ids, some
from invseg_jax.data.prepare.content import Content, known_content
from invseg_jax.data.prepare.shortage import ran_out, shortage
from invseg_jax.errors import UserError
from invseg_jax.experiment import DataSettings, Preprocessing
from invseg_jax.experiment.data import MAX_BYTES

# Is told how many cases are done, and which case is next.
Progress = Callable[[int, Case], None]


def check_cases(
    dataset: Dataset,
    cases: Sequence[Case],
    *,
    tolerate: Collection[str] = (),
    sound: PassedCases | None = None,
    progress: Progress | None = None,
    settings: Preprocessing | None = None,
) -> list[Fault]:
    """Checks a data set.

    Args:
        dataset: what the cases belong to.
        cases: some or all of its cases.
        tolerate: kinds of faults, from `TOLERABLE`, that are passed over.
        sound: where cases that were found without fault are remembered by their content; those
            are not read again. None to read all of them.
        progress: is told of every case before it is read.
        settings: how the cases would be prepared: the memory that this takes is checked, and
            whether the normalisation suits the values of each modality. None: the memory with the
            default settings, and no normalisation.

    Returns:
        All faults and warnings: of the listing, then case by case, then about many cases.

    Raises:
        UserError: `tolerate` names something else.
    """
    if strangers := [kind for kind in tolerate if kind not in TOLERABLE]:
        raise UserError(
            f"config.data.tolerate: {strangers[0]!r} cannot be tolerated; there are "
            f"{', '.join(TOLERABLE)}"
        )
    faults = [Fault("", "listing", fault) for fault in dataset.faults]
    for id in repeated_ids(cases):
        same = [case for case in cases if case.id == id]
        files = dict.fromkeys(str(file) for case in same for file in case.files)
        text = f"{len(same)} cases have this id: {some(list(files))}; give every case its own"
        faults.append(Fault(id, "listing", shown_from(dataset.root, text)))
    first: dict[str, tuple[str, Path]] = {}  # where a scan was met first
    known = []
    for number, case in enumerate(cases):
        tell = functools.partial(progress, number, case) if progress is not None else None
        contents, of_case = _check_once(dataset, case, tolerate, sound, tell, settings)
        faults += of_case
        known.append(KnownCase(case, contents))
        faults += case_warnings(dataset, known[-1])
        for path in case.images:
            scan = contents[path].scan if path in contents else None
            if scan is None:  # it could not be read, or is constant
                continue
            its_case, its_path = first.setdefault(scan, (case.id, path))
            if its_path != path and "duplicate" not in tolerate:
                whose = "" if its_case == case.id else f" of case {its_case}"
                text = f"{path}: the same scan as {its_path}{whose}; leave one of them out"
                faults.append(Fault(case.id, "duplicate", shown_from(dataset.root, text)))
    faults += orientation_warnings(dataset, known)
    if settings is None:
        return faults
    return faults + air_warnings(dataset, known, settings.schemes(len(dataset.modalities)))


def _check_once(
    dataset: Dataset,
    case: Case,
    tolerate: Collection[str],
    sound: PassedCases | None,
    tell: Callable[[], None] | None,
    settings: Preprocessing | None,
) -> tuple[dict[Path, Content], list[Fault]]:
    """What is in a case's files, and its faults; a case that is known to be sound is not read."""
    contents: dict[Path, Content] = {}
    if sound is not None:
        contents = {path: found for path in case.files if (found := known_content(path))}
        if sound.remembers(sound.key(dataset, case, contents, tolerate)):
            return contents, []
    if tell is not None:
        tell()
    # Reading fills `contents`, so no file is read twice.
    found = _check(dataset, case, contents, settings)
    faults = [fault for fault in found if fault.kind not in tolerate]
    if sound is not None and not faults:
        sound.remember(sound.key(dataset, case, contents, tolerate))
    return contents, faults


def _check(
    dataset: Dataset, case: Case, contents: dict[Path, Content], settings: Preprocessing | None
) -> list[Fault]:
    """The faults of a case. If it would not fit into memory, no voxel is read."""
    try:
        if text := shortage(dataset, case, [settings or Preprocessing()]):
            return [Fault(case.id, "memory", text)]
        return check_case(dataset, case, contents)
    except MemoryError as error:
        return [Fault(case.id, "memory", ran_out(error))]


def refuse_faults(
    data: DataSettings,
    dataset: Dataset,
    cases: Sequence[Case],
    say: Callable[[str], None],
    *,
    tolerate: Collection[str] | None = None,
) -> None:
    """Checks cases; what was found sound before is not read again.

    Args:
        data: of the layout, what is tolerated, and the preparation.
        dataset: from `open_source`.
        cases: of the data set.
        say: told the progress now and then. Then one line for the warnings: how many there are,
            the first, and the command that shows all of them. Then one line for each modality whose
            values do not suit its normalisation.
        tolerate: as of `check_cases`; None: `data.tolerate`.

    Raises:
        UserError: there is a fault. One line: how many, the first, and the command that shows all
            of them.
    """
    tolerated: Collection[str] = data.tolerate if tolerate is None else tolerate
    tell = now_and_then(say)

    def progress(number: int, case: Case) -> None:
        tell(f"checking case {case.id} ({number + 1} of {len(cases)})")

    found = check_cases(
        dataset,
        cases,
        tolerate=tolerated,
        sound=PassedCases(),
        progress=progress,
        settings=data.preprocess,
    )
    shows_all = f"`{_command(data, dataset, tolerated)}` shows them all"
    faults = [fault for fault in found if not fault.warning]
    if faults:
        count = "a fault" if len(faults) == 1 else f"{len(faults)} faults"
        raise UserError(f"{count} in the data, the first: {_line(faults[0])}; {shows_all}")
    if warnings := [fault for fault in found if fault.kind != AIR]:
        count = "a warning" if len(warnings) == 1 else f"{len(warnings)} warnings"
        say(f"{count} about the data, the first: {_line(warnings[0])}; {shows_all}")
    for fault in found:
        if fault.kind == AIR:
            say(f"warning: {_line(fault)}")


def _line(fault: Fault) -> str:
    return f"case {fault.case}: {fault.text}" if fault.case else fault.text


def _command(data: DataSettings, dataset: Dataset, tolerated: Collection[str]) -> str:
    """The command line that prints all that was found."""
    layout = data.layout
    command = f"python -m invseg_jax.check_data --layout {layout} "
    command += f"--data {shlex.quote(str(dataset.root))}"
    # What a case takes of memory, and whether 0 is air, hang on how it is prepared.
    if layout == "plain" or data.preprocess != Preprocessing():
        command += " --config FILE"
    if tolerated:
        command += f" --tolerate {','.join(tolerated)}"
    if data.max_bytes != MAX_BYTES:
        command += f" --max_bytes {data.max_bytes}"
    return command
