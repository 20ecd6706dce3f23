"""Settings of the augmentation: what is done to a training patch, how often and how strongly."""

import math
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

from invseg_jax.experiment.section import Section

Range = tuple[float, float]
Flip = tuple[float, float, float]
Spacing = tuple[float, float, float]

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
class Augmentation(Section):
    """What is done how often and how strongly; hashable, a static argument of `jax.jit`.

    A transform whose probability is 0, or whose range is the identity, is not compiled at all. The
    defaults are nnU-Net's. It blurs with probability 0.2 and coarsens with 0.25, but then only each
    second channel; here all channels are changed, half as often.

    Attributes:
        flip: probability of mirroring along each axis (D, H, W). None: 0.5 along each, but 0 along
            the left-right axis where names of classes differ only in their side; see `data.flips`.
        affine_probability: probability of the affine map: rotation, scale and stretch together.
        rotation: greatest angle about each of the three axes, in degrees.
        scale: magnification (low, high), drawn log-uniformly; 1.2 shows things 1.2 times as large.
        stretch: greatest relative change of one axis on top of `scale`; 0 keeps it isotropic.
        spacing: voxel size along the axes, in mm: rotations act in mm, not in voxels. None: the
            median of the training cases on the network's grid.
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

    KEY: ClassVar[str] = "augment"

    flip: Flip | None = None
    affine_probability: float = 0.3
    rotation: float = 30.0
    scale: Range = (0.7, 1.4)
    stretch: float = 0.05
    spacing: Spacing | None = None
    elastic_probability: float = 0.0
    elastic: float = 4.0
    elastic_grid: float = 32.0
    noise_probability: float = 0.1
    noise: Range = (0.0, 0.1)
    blur_probability: float = 0.1
    blur: Range = (0.5, 1.0)
    brightness_probability: float = 0.15
    brightness: Range = (0.75, 1.25)
    bias_field_probability: float = 0.0
    bias_field: Range = (1.0, 1.5)
    contrast_probability: float = 0.15
    contrast: Range = (0.75, 1.25)
    low_resolution_probability: float = 0.125
    low_resolution: Range = (0.5, 1.0)
    gamma_probability: float = 0.3
    gamma: Range = (0.7, 1.5)

    def check(self) -> None:
        """Checks the ranges of all numbers."""
        for name in self.names():
            value = getattr(self, name)
            if value is not None:
                self._check(name, value if isinstance(value, tuple) else (value,))

    def _check(self, name: str, numbers: tuple[float, ...]) -> None:
        if not all(map(math.isfinite, numbers)):
            wanted = "finite numbers"
        elif min(numbers) < 0:
            wanted = "nothing below 0"
        elif max(numbers) > 1 and (name in _AT_MOST_1 or name.endswith("_probability")):
            wanted = "a number between 0 and 1"
        elif min(numbers) == 0 and name in _POSITIVE:
            wanted = "numbers above 0"
        elif min(numbers) < 1 and name in _AT_LEAST_1:
            wanted = "nothing below 1"
        elif len(numbers) == 2 and numbers[0] > numbers[1]:
            wanted = "the lower end first"
        else:
            return
        raise self.wrong(name, f"give {wanted}")

    @classmethod
    def off(cls) -> "Augmentation":
        """Settings under which `augment` returns its input."""
        never: dict[str, Any] = {
            f.name: 0.0 for f in fields(cls) if f.name.endswith("_probability")
        }
        return cls(flip=(0.0, 0.0, 0.0), **never)

    def settled(self, flip: Flip, spacing: Spacing | None = None) -> "Augmentation":
        """With values for what is left open; what is given stays.

        Args:
            flip: the probabilities in place of a `flip` of None.
            spacing: in mm, in place of a `spacing` of None.
        """
        return replace(
            self,
            flip=flip if self.flip is None else self.flip,
            spacing=spacing if self.spacing is None else self.spacing,
        )

    @property
    def flip_probabilities(self) -> Flip:
        """`flip`, or 0.5 along each axis where that is left open."""
        return (0.5, 0.5, 0.5) if self.flip is None else self.flip

    @property
    def voxel_size(self) -> Spacing:
        """`spacing`, or 1 mm along each axis where that is left open."""
        return (1.0, 1.0, 1.0) if self.spacing is None else self.spacing

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
