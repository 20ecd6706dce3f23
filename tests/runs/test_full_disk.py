"""Checkpoints on a full disk: what the user sees of it."""

import os
import subprocess
import sys
from pathlib import Path

# Saves where no file may hold more than so many bytes, the nearest to a full disk that any test can
# have. A process of its own: its standard error is the user's, up to the very end.
PROGRAM = """
import resource, sys
from pathlib import Path
import jax.numpy as jnp
import numpy as np
from invseg_jax.data.prepare.cache import CachedCase
from invseg_jax.data.batches.pipeline import training_batches
from invseg_jax.errors import UserError
from invseg_jax.experiment import DataSettings, OptimiserSettings
from invseg_jax.runs.checkpoints import Checkpoints
from invseg_jax.training.optimiser import first_state, make_optimiser

here = Path(sys.argv[1])
np.save(here / "image.npy", np.zeros((6, 5, 4, 1), np.float32))
np.save(here / "label.npy", np.zeros((6, 5, 4), np.uint8))
case = CachedCase("case", here, (6, 5, 4), 2)
settings = DataSettings(patch=(4, 4, 4), batch=1, foreground=0.0, threads=0)
batches = training_batches([case], settings, seed=1)
params = {name: jnp.ones(50) for name in "abc"}
state = first_state(params, make_optimiser(OptimiserSettings(), 10), 5)

def attempt(folder, room, error=None):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with Checkpoints(folder) as checkpoints:
            checkpoints.save(1, state, batches)
            checkpoints.wait()
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
            checkpoints.save(2, state, batches)
            print("in the background", end=", ")
            if error:
                raise error
    except UserError as raised:
        print(raised)
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    with Checkpoints(folder) as checkpoints:
        print(checkpoints.latest())

attempt(here / "late", 1000)
attempt(here / "other", 1000, UserError("diverged"))
attempt(here / "at once", 0)
"""


def test_it_is_one_line_and_replaces_no_error(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    late, after_late, other, after_other, at_once, after_at_once = done.stdout.splitlines()
    assert late.startswith(f"in the background, could not save to {tmp_path / 'late'}: ")
    assert other == "in the background, diverged"
    # Here closing fails as well.
    assert at_once == f"could not save to {tmp_path / 'at once'}: [Errno 27] File too large"
    # What was saved before is still there.
    assert after_late == after_other == after_at_once == "1"
