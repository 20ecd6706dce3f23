"""What damage on disk does: bits flipped, files cut, emptied, deleted, and small edits.

    python -m invseg_jax.benchmark damage
    python -m invseg_jax.benchmark damage --tries 100 --seed 1 --json damage.json

A small run and its prepared data are written to a temporary folder. Each try damages one file of a
copy and reads it as evaluation or a resumed training would. What is counted:

    caught      one line says so: it is refused, made anew, or read from the checkpoint before
    harmless    the result is equal to the bit
    wrong       another result, without a word
    tracebacks  an exception that is not one line
"""

import argparse
import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from invseg_jax.benchmarks.damage.attacks import Attack
from invseg_jax.benchmarks.damage.specimen import make_specimen
from invseg_jax.benchmarks.damage.subjects import Subject, subjects
from invseg_jax.benchmarks.damage.verdict import TRACEBACK, VERDICTS, WRONG, Found, judge
from invseg_jax.benchmarks.options import at_least_one
from invseg_jax.benchmarks.table import Bound, Column, Table

TRIES, QUICK_TRIES = 25, 2
EXAMPLES = 3  # of each fault, below the table


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the table's own options."""
    parser.add_argument(
        "--tries", type=at_least_one, help=f"of each attack [{TRIES}; --quick {QUICK_TRIES}]"
    )
    parser.add_argument("--seed", type=int, default=0, help="of what is damaged, and where [0]")


def tables(options: argparse.Namespace) -> Iterator[Table]:
    """One table: a row for each subject and attack."""
    tries = options.tries or (QUICK_TRIES if options.quick else TRIES)
    with tempfile.TemporaryDirectory(prefix="invseg-damage-") as folder:
        specimen = make_specimen(Path(folder, "sound"))
        made = Table(
            f"damage: {tries} tries of each attack, seed {options.seed}",
            [
                Column("subject", "read"),
                Column("attack", "attack"),
                Column("tried", "tried"),
                *(Column(kind, kind) for kind in VERDICTS),
            ],
        )
        for subject in subjects(specimen):
            add_rows(made, subject, specimen.folder, tries, options.seed)
    for kind in (WRONG, TRACEBACK):
        count = sum(row[kind] for row in made.rows)
        made.bounds.append(Bound(f"{kind}, of all tries", count, 0, form=".0f"))
    yield made


def add_rows(table: Table, subject: Subject, sound: Path, tries: int, seed: int) -> None:
    """Tries all attacks on a subject, and adds a row for each; examples of faults become notes.

    Args:
        table: is added to.
        subject: what is damaged.
        sound: the folder of the undamaged specimen.
        tries: of each attack.
        seed: of the choice of files and places.
    """
    expected = _read_copy(subject, sound)
    earlier = []
    if subject.earlier is not None:
        with _copy(sound / subject.part) as copy:
            earlier = [subject.earlier(copy)]
    for number, (name, attack) in enumerate(subject.attacks.items()):
        row = {
            "subject": subject.name,
            "attack": name,
            "tried": tries,
            **dict.fromkeys(VERDICTS, 0),
        }
        rng = np.random.default_rng([seed, number])
        for _ in range(tries):
            with _copy(sound / subject.part) as copy:
                file, how = strike(attack, subject.files(copy), rng)
                verdict = judge(lambda say, copy=copy: subject.read(copy, say), expected, earlier)
            row[verdict.kind] += 1
            if verdict.kind in (WRONG, TRACEBACK) and row[verdict.kind] <= EXAMPLES:
                said = verdict.said.replace(str(copy), "...").splitlines() or ["nothing said"]
                where = file.relative_to(copy)
                table.notes.append(f"{subject.name}, {verdict.kind}: {where}, {how}: {said[0]}")
        table.rows.append(row)


def strike(attack: Attack, files: list[Path], rng: np.random.Generator) -> tuple[Path, str]:
    """Damages one of the files: in half of the tries any of them, else the larger the likelier.

    Returns:
        The file, and what was done to it.
    """
    sizes = np.array([path.stat().st_size for path in files], float)
    by_size = bool(rng.integers(2)) and sizes.sum() > 0
    chosen = files[int(rng.choice(len(files), p=sizes / sizes.sum() if by_size else None))]
    return chosen, attack(chosen, rng)


def _read_copy(subject: Subject, sound: Path) -> Found:
    with _copy(sound / subject.part) as copy:
        return subject.read(copy, lambda line: None)


@contextlib.contextmanager
def _copy(folder: Path) -> Iterator[Path]:
    """A copy of a folder, under the same name in a new place, while the block runs."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="copy-") as place:
        copy = Path(place, folder.name)
        shutil.copytree(folder, copy)
        yield copy
