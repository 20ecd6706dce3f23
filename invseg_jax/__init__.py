"""Invertible networks to segment volumes, whose activation memory does not grow with depth.

    import invseg_jax as iv

    experiment = iv.read_experiment("iseg:quick", {"steps": 100})
    iv.train(experiment, "RUN")
    iv.evaluate("RUN")
    segmenter = iv.load("RUN")
    labels = segmenter("scan.nii.gz")

Everything is loaded when it is first used: importing this package loads neither JAX nor NumPy.
"""

import importlib
import sys
import types
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from invseg_jax import models, reversible
    from invseg_jax.errors import SomeFailed, UserError, UserNotice
    from invseg_jax.experiment import Experiment, read_experiment
    from invseg_jax.inference.segmenter import Segmenter
    from invseg_jax.inference.segmenter import load_segmenter as load
    from invseg_jax.interactive.face import evaluate, train
    from invseg_jax.interactive.session import Session
    from invseg_jax.training import losses

# Where each public name lives: a module, and the name in it; None for the module itself.
_HOMES: dict[str, tuple[str, str | None]] = {
    "Experiment": ("experiment", "Experiment"),
    "Segmenter": ("inference.segmenter", "Segmenter"),
    "Session": ("interactive.session", "Session"),
    "SomeFailed": ("errors", "SomeFailed"),
    "UserError": ("errors", "UserError"),
    "UserNotice": ("errors", "UserNotice"),
    "evaluate": ("interactive.face", "evaluate"),
    "load": ("inference.segmenter", "load_segmenter"),
    "losses": ("training.losses", None),
    "models": ("models", None),
    "read_experiment": ("experiment", "read_experiment"),
    "reversible": ("reversible", None),
    "train": ("interactive.face", "train"),
}

__all__ = [
    "Experiment",
    "Segmenter",
    "Session",
    "SomeFailed",
    "UserError",
    "UserNotice",
    "__version__",
    "evaluate",
    "load",
    "losses",
    "models",
    "read_experiment",
    "reversible",
    "train",
]


def __getattr__(name: str) -> object:
    """Loads the home of a public name."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, inside = _HOMES[name]
    home = importlib.import_module(f"{__name__}.{module}")
    return home if inside is None else getattr(home, inside)


def __dir__() -> list[str]:
    """The public names, for completion in a notebook."""
    return sorted(__all__)


class _Package(types.ModuleType):
    """This package, whose functions `train` and `evaluate` share their names with commands.

    Python binds a module that is imported, such as the command `invseg_jax.train`, as an attribute
    of its package. That would hide the function.
    """

    def __setattr__(self, name: str, value: object) -> None:
        hides = isinstance(value, types.ModuleType) and _HOMES.get(name, ("", None))[1] is not None
        if not hides:
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
