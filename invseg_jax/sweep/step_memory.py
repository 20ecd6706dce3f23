"""Parameters and compiled memory of a run's training step, as `plan` tells them.

    python -m invseg_jax.sweep.step_memory RUN

prints them as JSON. In a process of its own, since a CPU is split into devices before JAX starts.
"""

import json
import subprocess
import sys
from pathlib import Path

from invseg_jax.errors import UserError
from invseg_jax.inference.trained_run import SegmentationRun


def measure_run(workdir: Path) -> dict[str, int]:
    """Compiles the training step of a run in another process, for shapes alone.

    Returns:
        `parameters`, how many, and `bytes`, what the step takes: of one accelerator, or of the
        CPU's machine.

    Raises:
        UserError: it cannot be compiled.
    """
    done = subprocess.run(
        [sys.executable, "-m", "invseg_jax.sweep.step_memory", str(workdir)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        raise UserError(f"the training step of {workdir} cannot be compiled: {said[-1]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def main(workdir: Path) -> None:
    """Compiles and prints."""
    from invseg_jax.devices import compilation_cache
    from invseg_jax.memory_plan import platform
    from invseg_jax.memory_plan.measure import measure

    run = SegmentationRun(workdir)
    experiment, data = run.read_config(), run.read_data()
    platform.prepare(None, experiment.devices)
    compilation_cache.enable()
    outputs = len(data.regions or data.classes)
    found = measure(experiment, platform.Platform(), len(data.modalities), outputs)
    print(json.dumps({"parameters": found.count, "bytes": found.rows.total}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
