"""What is done how often and how strongly."""

import math
from dataclasses import dataclass, fields
from typing import Any

from invseg_jax.configuration import Config
from invseg_jax.errors import UserError

# The strength, or range of strengths, at which a transform does nothing.
_IDENTITIES = {
    "elastic": 0.0,
    "noise": 0.0,
    "blur": 0.0,
    "brightness": 1.0,
    "bias_field": 1.0,
    "contrast": 1.0,
    "low_resolution": 1.0,
    "gamma": 1.0,
}
# What numbers must be: above 0, at most 1, at least 1.
_POSITIVE = ("scale", "gamma", "spacing", "elastic_grid", "low_resolution")
_AT_MOST_1 = ("flip", "low_resolution")
_AT_LEAST_1 = ("bias_field",)


@dataclass(frozen=True)
class Augmentation:
    """What is done how often and how strongly; hashable, a static argument of `jax.jit`.

    A transform whose probability is 0, or whose range is the identity, is not compiled at all. The
    defaults are nnU-Net's. It blurs with probability 0.2 and coarsens with 0.25, but then only each
    second channel; here all channels are changed, half as often.

    Attributes:
        flip: probability of mirroring each axis (depth, height, width). A configuration may leave
            it open, see `of`.
        affine_probability: probability of the affine map: rotation, scale and stretch together.
        rotation: greatest angle about each of the three axes, in degrees.
        scale: magnification (low, high), drawn log-uniformly; 1.2 shows things 1.2 times as large.
        stretch: greatest relative change of one axis on top of `scale`; 0 keeps it isotropic.
        spacing: voxel size of the axes in mm; the rotation acts in mm, not in voxels.
        elastic_probability: probability of elastic deformation.
        elastic: standard deviation of the displacement at the control points, in voxels.
        elastic_grid: voxels between control points.
        noise_probability: probability of additive Gaussian noise.
        noise: range of the noise's standard deviation, in the image's (z-scored) units.
        blur_probability: probability of convolution with a Gaussian.
        blur: range of the Gaussian's standard deviation, in voxels.
        brightness_probability: probability of multiplying the image by a factor.
        brightness: range of the factor.
        bias_field_probability: probability of multiplying the image by a smooth field.
        bias_field: range of the field's greatest factor f; it lies between 1 / f and f.
        contrast_probability: probability of scaling about the mean, clipped to the old extremes.
        contrast: range of the factor.
        low_resolution_probability: probability of sampling at fewer voxels and interpolating back.
        low_resolution: range of the voxels kept along each axis, as a fraction of all.
        gamma_probability: probability of a gamma curve, which keeps mean and standard deviation.
        gamma: range of the exponent.

    Raises:
        UserError: a probability outside of [0, 1], or a range that is reversed or not allowed.
    """

    flip: tuple[float, float, float] = (0.5, 0.5, 0.5)
    affine_probability: float = 0.3
    rotation: float = 30.0
    scale: tuple[float, float] = (0.7, 1.4)
    stretch: float = 0.05
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    elastic_probability: float = 0.0
    elastic: float = 4.0
    elastic_grid: float = 32.0
    noise_probability: float = 0.1
    noise: tuple[float, float] = (0.0, 0.1)
    blur_probability: float = 0.1
    blur: tuple[float, float] = (0.5, 1.0)
    brightness_probability: float = 0.15
    brightness: tuple[float, float] = (0.75, 1.25)
    bias_field_probability: float = 0.0
    bias_field: tuple[float, float] = (1.0, 1.5)
    contrast_probability: float = 0.15
    contrast: tuple[float, float] = (0.75, 1.25)
    low_resolution_probability: float = 0.125
    low_resolution: tuple[float, float] = (0.5, 1.0)
    gamma_probability: float = 0.3
    gamma: tuple[float, float] = (0.7, 1.5)

    def __post_init__(self):
        """Turns lists, as configuration files give them, into tuples, and checks the ranges."""
        for field in fields(self):
            value = _checked(field.name, getattr(self, field.name), field.default)
            object.__setattr__(self, field.name, value)

    @classmethod
    def of(cls, config: Config) -> "Augmentation":
        """The settings of a configuration; a flip that it leaves open is the default of the class.

        Where a data set's classes decide, `data.flips.choose_flips` has put a flip into it.

        Raises:
            UserError: as the class.
        """
        values = {**config.augment}
        if cls.leaves_flip_open(config):
            del values["flip"]
        return cls(**values)

    @staticmethod
    def leaves_flip_open(config: Config) -> bool:
        """Whether `config.augment.flip` is None, which the command line gives as (None,)."""
        return config.augment.get("flip") in (None, (None,))

    @classmethod
    def off(cls) -> "Augmentation":
        """Settings under which `augment` returns its input."""
        never: dict[str, Any] = {
            f.name: 0.0 for f in fields(cls) if f.name.endswith("_probability")
        }
        return cls(flip=(0.0, 0.0, 0.0), **never)

    def changes(self, name: str) -> bool:
        """Whether the transform of this name can be drawn, and at a strength that does anything."""
        strength = getattr(self, name)
        ends = strength if isinstance(strength, tuple) else (strength,)
        idle = all(end == _IDENTITIES[name] for end in ends)
        return getattr(self, f"{name}_probability") > 0 and not idle

    @property
    def resamples(self) -> bool:
        """Whether an affine map other than the identity, or a deformation, can be drawn."""
        moves = self.rotation > 0 or self.stretch > 0 or self.scale != (1.0, 1.0)
        return (self.affine_probability > 0 and moves) or self.changes("elastic")


def _checked(name: str, value: Any, default: Any) -> Any:
    """`value` as a float, or as a tuple of as many floats as the default."""
    length = len(default) if isinstance(default, tuple) else 1
    try:
        numbers = [float(v) for v in (value if isinstance(default, tuple) else [value])]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) != length or not all(map(math.isfinite, numbers)):
        wanted = "one finite number" if length == 1 else f"{length} finite numbers"
    elif min(numbers) < 0:
        wanted = "nothing below 0"
    elif max(numbers) > 1 and (name in _AT_MOST_1 or name.endswith("_probability")):
        wanted = "a number between 0 and 1"
    elif min(numbers) == 0 and name in _POSITIVE:
        wanted = "numbers above 0"
    elif min(numbers) < 1 and name in _AT_LEAST_1:
        wanted = "nothing below 1"
    elif length == 2 and numbers[0] > numbers[1]:
        wanted = "the lower end first"
    else:
        return tuple(numbers) if isinstance(default, tuple) else numbers[0]
    raise UserError(f"config.augment.{name} = {value!r}: give {wanted}")
