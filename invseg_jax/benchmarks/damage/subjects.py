"""What is damaged and how it is read: checkpoints, the prepared cache, the files of a run."""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from invseg_jax.benchmarks.damage.attacks import OF_ANY_FILE, OF_JSON, Attack
from invseg_jax.benchmarks.damage.specimen import CACHE, HELD_OUT, RUN, STEPS, Specimen
from invseg_jax.benchmarks.damage.verdict import Found, Say
from invseg_jax.files.json_values import as_json_values
from invseg_jax.inference.network import load_network
from invseg_jax.inference.segmentation import load_trained_network
from invseg_jax.inference.trained_run import SegmentationRun
from invseg_jax.runs.checkpoints import Checkpoints

RUN_FILES = ("config.json", "data.json", "fingerprint.json")


@dataclass(frozen=True)
class Subject:
    """One kind of file, read in one way.

    Attributes:
        name: stands in the table.
        part: the folder of the specimen that is copied and damaged.
        files: gives the files of the copy that may be damaged.
        read: gives what is found in the copy; is given a function to be told lines by.
        earlier: gives what is found in a copy without its newest checkpoint, which a reader may
            fall back to; None if there is nothing earlier.
        attacks: by name.
    """

    name: str
    part: str
    files: Callable[[Path], list[Path]]
    read: Callable[[Path, Say], Found]
    earlier: Callable[[Path], Found] | None
    attacks: dict[str, Attack]


def subjects(specimen: Specimen) -> list[Subject]:
    """The subjects of the table, in order."""
    every = OF_ANY_FILE | OF_JSON
    resumed, cached = partial(resume, specimen), partial(read_cache, specimen)
    run_files, rewritten = partial(read_run_files, specimen), partial(write_again, specimen)
    return [
        Subject("checkpoint, evaluate", RUN, newest, evaluate, older(evaluate), OF_ANY_FILE),
        Subject("checkpoint, resume", RUN, newest, resumed, older(resumed), OF_ANY_FILE),
        Subject("prepared cache", CACHE, every_file, cached, None, OF_ANY_FILE),
        Subject("run files, evaluate", RUN, json_files, run_files, None, every),
        Subject("run files, resume", RUN, json_files, rewritten, None, every),
    ]


def newest(folder: Path) -> list[Path]:
    """The files of the newest checkpoint of a run."""
    return every_file(SegmentationRun(folder).checkpoints / str(STEPS[-1]))


def every_file(folder: Path) -> list[Path]:
    """All files below a folder, in order."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def json_files(folder: Path) -> list[Path]:
    """The small files of a run."""
    return [folder / name for name in RUN_FILES]


def evaluate(folder: Path, say: Say) -> Found:
    """What evaluation reads of a run: the averaged parameters."""
    del say  # it warns
    return _arrays(load_network(folder)[0].params)


def resume(specimen: Specimen, folder: Path, say: Say) -> Found:
    """What a resumed training reads: the whole state, and the place in the data."""
    batches = specimen.batches()
    with Checkpoints(SegmentationRun(folder).checkpoints, keep=len(STEPS), say=say) as checkpoints:
        found = checkpoints.restore_newest(specimen.state, batches)
    state = None if found is None else found[1]
    return _arrays(state) | {"data": json.dumps(batches.get_state(), sort_keys=True)}


def read_cache(specimen: Specimen, folder: Path, say: Say) -> Found:
    """Everything that a training reads from its cache."""
    cache = specimen.cache(folder, say)
    fingerprint = cache.fingerprint(specimen.dataset.cases[HELD_OUT:])
    found: dict[str, Any] = {"fingerprint": fingerprint.to_json()}
    for case in cache.prepared(specimen.dataset.cases):
        found[f"{case.id} image"] = np.array(case.image)
        label = case.label
        found[f"{case.id} label"] = None if label is None else np.array(label)
        for index in range(1, case.classes):
            found[f"{case.id} foreground {index}"] = np.array(case.foreground(index))
        found[f"{case.id} described"] = (case.shape, case.geometry, case.content)
    return found


def read_run_files(specimen: Specimen, folder: Path, say: Say) -> Found:
    """What evaluation reads of the small files of a run."""
    del say  # a fault is an error
    run = SegmentationRun(folder)
    found = {
        "config": run.read_config().to_json(),
        "data": as_json_values(asdict(run.read_data())),
        "fingerprint": as_json_values(asdict(run.read_fingerprint())),
    }
    sound = {
        "config": specimen.experiment.to_json(),
        "data": as_json_values(asdict(specimen.description)),
        "fingerprint": as_json_values(asdict(specimen.fingerprint)),
    }
    if found != sound:
        load_trained_network(folder)  # evaluation may refuse it
    return found


def write_again(specimen: Specimen, folder: Path, say: Say) -> Found:
    """What the small files hold once a training is resumed, which writes them anew."""
    del say  # a fault is an error
    SegmentationRun(folder).write(specimen.experiment, specimen.description, specimen.fingerprint)
    return {path.name: path.read_bytes() for path in json_files(folder)}


def older(read: Callable[[Path, Say], Found]) -> Callable[[Path], Found]:
    """Reads a copy of a run without its newest checkpoint, which it deletes."""

    def without_newest(folder: Path) -> Found:
        shutil.rmtree(SegmentationRun(folder).checkpoints / str(STEPS[-1]))
        return read(folder, lambda line: None)

    return without_newest


def _arrays(tree: Any) -> dict[str, Any]:
    """The arrays of a tree by name; random keys as their numbers."""
    found = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        name = jax.tree_util.keystr(path)
        # A leaf that was not read is no array; it counts as another result.
        found[name] = np.asarray(leaf) if isinstance(leaf, jax.Array) else repr(leaf)
    return found
