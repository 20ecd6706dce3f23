import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from invseg_jax.benchmarks.training_loop import Times, take_steps
from invseg_jax.devices import mesh


def test_waits_are_told_from_steps_and_a_warm_up_is_not_counted():
    taken, given = [], []

    def batches():
        while True:
            given.append(len(given))
            time.sleep(0.02)
            yield {"image": np.full((2, 1), given[-1], np.float32)}

    step: Any = SimpleNamespace(devices=mesh.make_mesh(0, 2))
    step.take = lambda batch: taken.append(float(batch["image"][0, 0])) or time.sleep(0.03)
    times = take_steps(step, batches(), 4, warm_up=2)
    assert taken == given == [0, 1, 2, 3, 4, 5]
    assert len(times.steps) == len(times.waits) == 4
    for wait, whole in zip(times.waits, times.steps, strict=True):
        assert 0.02 <= wait and wait + 0.03 <= whole


def test_the_share_is_of_all_time():
    assert Times([1.0, 3.0], [0.5, 0.5]).share == pytest.approx(0.25)
