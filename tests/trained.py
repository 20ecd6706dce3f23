"""The command `train`, called with an experiment instead of a file: what tests of runs share."""

import gc
from pathlib import Path

import pytest
from absl import flags

from invseg_jax import command
from invseg_jax.experiment import Experiment
from invseg_jax.train import main


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
    values = flags.FlagValues()  # the command's own are parsed once a process
    for name, value in {"workdir": str(workdir), "data": root, "profile": profile}.items():
        flags.DEFINE_string(name, value, "", flag_values=values)
    values.mark_as_parsed()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "read_config", lambda _: experiment)
        # The cache of programs and the garbage collector are the test session's.
        patch.setattr(command, "enable_compilation_cache", lambda _: None)
        patch.setattr(gc, "set_threshold", lambda _: None)
        main(values)
