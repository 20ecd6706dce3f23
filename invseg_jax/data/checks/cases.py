"""The faults of many cases, and of what they have in common: ids and contents that repeat."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from invseg_jax.configuration import Config
from invseg_jax.data.checks.case import TOLERABLE, Fault, check_case, shown_from
from invseg_jax.data.checks.sound import SoundCases, digests
from invseg_jax.data.layouts.case import Case, Dataset, repeated_ids, some
from invseg_jax.data.nifti import MAX_BYTES
from invseg_jax.data.preprocess import Preprocessing
from invseg_jax.data.shortage import ran_out, shortage
from invseg_jax.data.source import now_and_then
from invseg_jax.errors import UserError

# Told the number of cases that are done, from 0, and the one that is next.
Progress = Callable[[int, Case], None]


def check_cases(
    dataset: Dataset,
    cases: Sequence[Case],
    *,
    tolerate: Collection[str] = (),
    sound: SoundCases | None = None,
    progress: Progress | None = None,
    settings: Preprocessing | None = None,
) -> list[Fault]:
    """Checks a data set.

    Args:
        dataset: what the cases belong to.
        cases: some or all of its cases.
        tolerate: kinds of faults, of `TOLERABLE`, that are no fault here.
        sound: where cases that were found without fault are remembered by their content; those
            are not read again. None to read all of them.
        progress: is told of every case before it is read.
        settings: how the cases would be prepared, for the memory that this takes; None: unknown.

    Returns:
        All faults: of the listing, then case by case.

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
        files = dict.fromkeys(str(f) for case in same for f in (*case.images, case.label) if f)
        text = f"{len(same)} cases have this id: {some(list(files))}; give every case its own"
        faults.append(Fault(id, "listing", shown_from(dataset.root, text)))
    first: dict[str, tuple[str, Path]] = {}  # where the content of an image was met first
    for number, case in enumerate(cases):
        contents = digests(case)
        whole = sound is not None and None not in contents
        key = sound.key(dataset, contents, tolerate) if sound is not None and whole else None
        if key is None or sound is None or not sound.remembers(key):
            if progress is not None:
                progress(number, case)
            found = _check(dataset, case, Preprocessing() if settings is None else settings)
            of_case = [fault for fault in found if fault.kind not in tolerate]
            faults += of_case
            if key is not None and sound is not None and not of_case:
                sound.remember(key)
        for path, content in zip(case.images, contents, strict=False):
            if content is None:  # a fault of the file
                continue
            its_case, its_path = first.setdefault(content, (case.id, path))
            if its_path != path and "duplicate" not in tolerate:
                whose = "" if its_case == case.id else f" of case {its_case}"
                text = f"{path}: the same bytes as {its_path}{whose}; leave one of them out"
                faults.append(Fault(case.id, "duplicate", shown_from(dataset.root, text)))
    return faults


def _check(dataset: Dataset, case: Case, settings: Preprocessing) -> list[Fault]:
    """The faults of a case; of one that would not fit into memory, no voxel is read."""
    try:
        if text := shortage(dataset, case, [settings]):
            return [Fault(case.id, "memory", text)]
        return check_case(dataset, case)
    except MemoryError as error:
        return [Fault(case.id, "memory", ran_out(error))]


def refuse_faults(
    config: Config,
    dataset: Dataset,
    cases: Sequence[Case],
    say: Callable[[str], None],
    *,
    tolerate: Collection[str] | None = None,
) -> None:
    """Checks cases; what was found sound before is not read again.

    Args:
        config: with `data.layout`, `data.tolerate` and `data.max_bytes`.
        dataset: from `open_source`.
        cases: of the data set.
        say: told of the progress now and then.
        tolerate: as of `check_cases`; None: `config.data.tolerate`.

    Raises:
        UserError: there is a fault. One line: how many, the first, and the command that shows all
            of them.
    """
    tolerated: Collection[str] = config.data.get("tolerate", ()) if tolerate is None else tolerate
    tell = now_and_then(say)

    def progress(number: int, case: Case) -> None:
        tell(f"checking case {case.id} ({number + 1} of {len(cases)})")

    faults = check_cases(
        dataset,
        cases,
        tolerate=tolerated,
        sound=SoundCases(),
        progress=progress,
        settings=Preprocessing.of(config),
    )
    if faults:
        layout = config.data.layout
        command = f"python -m invseg_jax.check_data --layout {layout} "
        command += f"--data {shlex.quote(str(dataset.root))}"
        if layout == "plain":
            command += " --config FILE"
        if tolerated:
            command += f" --tolerate {','.join(tolerated)}"
        if config.data.get("max_bytes", MAX_BYTES) != MAX_BYTES:
            command += f" --max_bytes {config.data.max_bytes}"
        count = "a fault" if len(faults) == 1 else f"{len(faults)} faults"
        where = f"case {faults[0].case}: " if faults[0].case else ""
        raise UserError(
            f"{count} in the data, the first: {where}{faults[0].text}; `{command}` shows them all"
        )
