"""A task of another kind than segmentation: a 2-D regression, learned in a moment.

    python -m tests.training.toy_task RUN

trains it in RUN until the checkpoint of step 4 is complete, and then kills itself in step 6.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import grain
import jax
import jax.numpy as jnp
import numpy as np

from invseg_jax.experiment import OptimiserSettings, TrainerSettings
from invseg_jax.runs import signed_json
from invseg_jax.runs.run_folder import RunDescription
from invseg_jax.training.task import Part, Validation
from invseg_jax.training.trainer import Trainer

SETTINGS = TrainerSettings(
    seed=3, steps=8, devices=1, log_every=2, save_every=2, eval_every=4, keep=2
)
OPTIMISER = OptimiserSettings(learning_rate=1e-2, warmup=1)


@dataclass(frozen=True)
class ToyTask:
    """Learns a smooth function of noise images.

    Attributes:
        frequency: of the function.
        held_out: how many images are scored.
    """

    frequency: float = 2.0
    held_out: int = 4

    title = "Two layers"
    summary = "endless images, batch 4"
    shown = {"error": "error"}
    remedy = "take another toy"
    batch = {name: jax.ShapeDtypeStruct((4, 8, 8, 1), jnp.float32) for name in "xy"}

    @property
    def description(self) -> RunDescription:
        def fault(folder: Path, step: int) -> str | None:
            before = signed_json.read(folder / "toy.json").values
            if before == asdict(self):
                return None
            return f"holds another toy ({before['frequency']}, now {self.frequency})"

        return RunDescription(SETTINGS.steps, {"toy.json": asdict(self)}, ("toy.json",), fault)

    def parameters(self, key: jax.Array) -> dict[str, jax.Array]:
        first, second = jax.random.split(key)
        return {
            "first": jax.random.normal(first, (1, 8)),
            "second": jax.random.normal(second, (8, 1)) / 8,
        }

    def predicted(self, parameters: Any, x: jax.Array) -> jax.Array:
        return jnp.tanh(x @ parameters["first"]) @ parameters["second"]

    def loss(
        self, parameters: Any, batch: Mapping[str, Any], key: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        x = batch["x"] + 0.05 * jax.random.normal(key, batch["x"].shape)
        difference = self.predicted(parameters, x) - batch["y"]
        return jnp.mean(difference**2), {"error": jnp.mean(jnp.abs(difference))}

    def batches(self, part: Part) -> Any:
        data = grain.MapDataset.range(64).shuffle(seed=1).map(self.example).repeat().batch(4)
        return iter(data.to_iter_dataset(grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)))

    def example(self, number: int) -> dict[str, np.ndarray]:
        x = np.random.default_rng(number).normal(size=(8, 8, 1)).astype(np.float32)
        return {"x": x, "y": np.sin(self.frequency * x)}

    def validate(self, parameters: Any) -> Validation | None:
        if not self.held_out:
            return None
        images = [self.example(1000 + number) for number in range(self.held_out)]
        x, y = (np.stack([image[name] for image in images]) for name in "xy")
        error = float(np.mean(np.abs(np.asarray(self.predicted(parameters, jnp.asarray(x))) - y)))
        return Validation(f"held-out error: {error:.3f}", {"error": error})


def trainer(workdir: Path, stopping: Callable[[], bool] = lambda: False, **more: Any) -> Trainer:
    return Trainer(SETTINGS, OPTIMISER, workdir, stopping=stopping, **more)


def killed_in_step_6(workdir: Path) -> None:
    asked = []

    def kill() -> bool:
        asked.append(True)  # before each step
        if len(asked) == 6:
            saved = workdir / "checkpoints" / "4" / "commit_success.txt"
            while not saved.exists():
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)
        return False

    trainer(workdir, kill).fit(ToyTask())


if __name__ == "__main__":
    killed_in_step_6(Path(sys.argv[1]))
