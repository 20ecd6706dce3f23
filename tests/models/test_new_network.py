"""A network that a test file alone adds goes through every command."""

import importlib
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from invseg_jax import models
from invseg_jax.errors import UserError
from invseg_jax.evaluation.prediction import predict
from invseg_jax.evaluation.scoring import evaluate
from invseg_jax.experiment import Experiment, base_experiment, read_experiment
from invseg_jax.experiment.reference import rows
from invseg_jax.memory_plan.plan import Images, plan
from tests.tiny_run import TINY, load
from tests.trained import train

# Two convolutions, and nothing else; the deepest activations are those between them.
MODULE = '''
from dataclasses import dataclass

from flax import nnx
from jax import nn

from invseg_jax.layers.conv import Conv
from invseg_jax.models import Network, NetworkSettings, Outputs


@dataclass(frozen=True)
class TwoConvsSettings(NetworkSettings):
    """Two convolutions.

    Attributes:
        channels: between the convolutions.
    """

    channels: tuple[int, ...] = (4,)


class TwoConvs(Network):
    """A convolution, leaky ReLU, a head."""

    Settings = TwoConvsSettings
    memories = ("plain",)
    has_deepest = True
    short_name = "two"
    recipe = {"inference.overlap": 0.0}

    def __init__(self, modalities, classes, settings, *, execution, rngs):
        self.channels, self.groups, self.multiple = settings.channels, 1, 1
        self.first = Conv(modalities, settings.channels[0], execution=execution, rngs=rngs)
        self.add_heads(classes, 0, execution=execution, rngs=rngs)

    def check_patch(self, size):
        if min(size) < 3:
            raise ValueError(f"{min(size)} voxels are fewer than the convolution's 3")

    def forward(self, x, key=None, *, deepest=False):
        y = nn.leaky_relu(self.first(x))
        return Outputs(self.head(y), deepest=y if deepest else None)
'''
ENTRY_POINTS = "[invseg_jax.networks]\nTwoConvs = two_convs:TwoConvs\n"
CONFIG = """
from invseg_jax.experiment import base_experiment


def get_config():
    return base_experiment("TwoConvs").changed({changes!r})
"""
CHANGES = {key: value for key, value in TINY.items() if not key.startswith("model.")}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as if a package with the network were installed in it."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "two_convs.py").write_text(MODULE)
    described = folder / "two_convs-1.0.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: two-convs\nVersion: 1.0\n")
    (described / "entry_points.txt").write_text(ENTRY_POINTS)
    (folder / "config.py").write_text(textwrap.dedent(CONFIG).format(changes=CHANGES))
    return folder


@pytest.fixture(autouse=True)
def installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(site))
        importlib.invalidate_caches()
        yield
    sys.modules.pop("two_convs", None)


@pytest.fixture
def experiment() -> Experiment:
    return base_experiment("TwoConvs").changed(CHANGES)


def test_it_is_found_with_its_defaults(experiment: Experiment, site: Path):
    assert "TwoConvs" in models.names()
    assert experiment.model.channels == (4,) and experiment.model.memory == "plain"
    assert experiment.inference.overlap == 0.0
    assert read_experiment(str(site / "config.py")) == experiment
    assert "model.settings.channels (TwoConvs)" in {row.key for row in rows()}
    with pytest.raises(UserError, match="TwoConvs can have memory plain and stream float32"):
        experiment.changed({"model.memory": "reversible"})


def test_it_is_trained_evaluated_and_predicted_with(
    experiment: Experiment, balls: Path, tmp_path: Path
):
    run = tmp_path / "run"
    train(experiment.changed({"vae.latent": 2}), run, str(balls))
    history = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    assert "train/kl" in history[0]
    assert evaluate(run)["config"]["model"]["name"] == "TwoConvs"
    image = balls / "imagesTr" / "ball_000.nii.gz"
    (target,) = predict([run], image, tmp_path / "maps")
    assert np.asarray(load(target).dataobj).shape == load(image).shape
    with pytest.raises(UserError, match="2 voxels are fewer than the convolution's 3"):
        train(experiment.changed({"data.patch": (2, 8, 8)}), tmp_path / "small", str(balls))


def test_its_step_is_planned(experiment: Experiment):
    planned = plan(experiment, Images(1, 3))
    (step,) = planned["steps"]
    assert step["model.memory"] == "plain" and step["bytes"]["total"] > 0


@pytest.mark.slow
def test_it_is_compared(site: Path, balls: Path, tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-m", "invseg_jax.compare", f"--config={site / 'config.py'}"]
        + [f"--data={balls}", f"--output={tmp_path}"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(site), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "TwoConvs" in (tmp_path / "table.md").read_text()
