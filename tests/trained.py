"""The command `train`, called with an experiment instead of a file: what tests of runs share."""

import gc
from pathlib import Path

import pytest

from invseg_jax import command
from invseg_jax import train as module
from invseg_jax.experiment import Experiment


def train(
    experiment: Experiment, workdir: Path, root: str | None = None, *, profile: str | None = None
) -> None:
    """Trains as `python -m invseg_jax.train` does, in this process.

    Args:
        experiment: what --config would give.
        workdir: as --workdir.
        root: as --data.
        profile: as --profile.

    Raises:
        UserError, SystemExit: as the command.
    """
    values = module.FLAGS.__class__()  # flags of its own: the command's are parsed once a process
    arguments = {"workdir": str(workdir), "data": root, "profile": profile}
    for name, value in arguments.items():
        module.flags.DEFINE_string(name, value, "", flag_values=values)
    values.mark_as_parsed()
    with pytest.MonkeyPatch.context() as patch:
        # The cache of programs and the garbage collector are the test session's own.
        patch.setattr(command, "read_config", lambda _: experiment)
        patch.setattr(command, "enable_compilation_cache", lambda _: None)
        patch.setattr(gc, "set_threshold", lambda _: None)
        module.main(values)
