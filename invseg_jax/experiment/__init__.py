"""All settings of a training, typed: one frozen dataclass a section, together an `Experiment`.

Names are loaded when they are first used: those of the data need no JAX.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from invseg_jax.experiment.augmentation import Augmentation
    from invseg_jax.experiment.data import DataSettings, EmbeddedSettings, PlainSettings
    from invseg_jax.experiment.experiment import Experiment, TrainerSettings
    from invseg_jax.experiment.inference import InferenceSettings
    from invseg_jax.experiment.interactive import InteractiveSettings
    from invseg_jax.experiment.loss import LossSettings
    from invseg_jax.experiment.model import BranchSettings, ModelSettings
    from invseg_jax.experiment.optimiser import OptimiserSettings
    from invseg_jax.experiment.preprocessing import Preprocessing
    from invseg_jax.experiment.read import read_experiment
    from invseg_jax.experiment.variants import Variant, base_experiment, parse_variant

_FILES = {
    "augmentation": ("Augmentation",),
    "data": ("DataSettings", "EmbeddedSettings", "PlainSettings"),
    "experiment": ("Experiment", "TrainerSettings"),
    "inference": ("InferenceSettings",),
    "interactive": ("InteractiveSettings",),
    "loss": ("LossSettings",),
    "model": ("BranchSettings", "ModelSettings"),
    "optimiser": ("OptimiserSettings",),
    "preprocessing": ("Preprocessing",),
    "read": ("read_experiment",),
    "variants": ("Variant", "base_experiment", "parse_variant"),
}
_HOMES = {name: file for file, names in _FILES.items() for name in names}

__all__ = [
    "Augmentation",
    "BranchSettings",
    "DataSettings",
    "EmbeddedSettings",
    "Experiment",
    "InferenceSettings",
    "InteractiveSettings",
    "LossSettings",
    "ModelSettings",
    "OptimiserSettings",
    "PlainSettings",
    "Preprocessing",
    "TrainerSettings",
    "Variant",
    "base_experiment",
    "parse_variant",
    "read_experiment",
]


def __getattr__(name: str):
    """Loads the file of a public name."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
