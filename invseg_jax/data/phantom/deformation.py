"""Smooth random functions of space, and the random deformation that is made of them.

Places are in mm from the centre. A grid is given by its three axes: the coordinates along each.
"""

import math
from collections.abc import Sequence

import numpy as np

REACH = 112.0  # mm from the centre to the end of the space on which a field is defined


class SplineField:
    """A smooth random function of space: uniform cubic B-splines with Gaussian coefficients."""

    def __init__(self, rng: np.random.Generator, spacing: float, sd: float):
        """Draws the coefficients.

        Args:
            rng: what they are drawn from.
            spacing: mm between control points, which cover -REACH to REACH along each axis.
            sd: about the standard deviation of the field's values.
        """
        self.spacing = spacing
        count = math.ceil(2 * REACH / spacing) + 3
        # The squares of one axis's basis functions sum to 0.46 to 0.5, hence the factor.
        self.coefficients = rng.normal(0, sd * 2**1.5, (count,) * 3)

    def __call__(self, axes: Sequence[np.ndarray], derivative: int | None = None) -> np.ndarray:
        """Values on a grid, or the partial derivative along one axis, per mm: (X, Y, Z) float64."""
        values = self.coefficients
        for axis, x in enumerate(axes):
            first, weights = self._weights(x, axis == derivative)
            # The axis moves to the end; after three turns they are in order again. No matrix
            # product: BLAS would round differently from machine to machine.
            values = np.moveaxis(values, 0, -1)
            terms = (values[..., first + k] * weight for k, weight in enumerate(weights))
            values = np.asarray(sum(terms))
        return values

    def _weights(self, x: np.ndarray, slope: bool) -> tuple[np.ndarray, list[np.ndarray]]:
        """The first of the four control points that matter at each x, and what each counts for."""
        place = (x + REACH) / self.spacing
        first = np.clip(np.floor(place).astype(int), 0, self.coefficients.shape[0] - 4)
        u = place - first
        if slope:
            squares = [-((1 - u) ** 2), 3 * u * u - 4 * u, 1 + 2 * u - 3 * u * u, u * u]
            return first, [w / (2 * self.spacing) for w in squares]
        cubes = [(1 - u) ** 3, 3 * u**3 - 6 * u * u + 4, 1 + 3 * (u + u * u - u**3), u**3]
        return first, [w / 6 for w in cubes]


class Deformation:
    """From a subject's space to the template's, mm from centre to centre: x -> A x + u(x).

    `A` enlarges an infant's brain to the adult template; `u` is a free-form deformation on two
    scales. `u` is weakened until the Jacobian determinant is positive by a clear margin throughout,
    so that no tissue folds over.

    Attributes:
        affine: A, (3, 3).
        strength: what `u` was multiplied by, at most 1.
    """

    def __init__(self, rng: np.random.Generator):
        """Draws the affine part, then the fields, and weakens these as far as is needed."""
        self.affine = np.linalg.inv(_infant_from_template(rng))
        self.displacement = [
            (SplineField(rng, 36.0, 3.0), SplineField(rng, 14.0, 0.8)) for _ in range(3)
        ]
        self.strength = 1.0
        lattice = [np.arange(-90.0, 91.0, 4.5)] * 3  # beyond the brain, finer than any spline
        while self.jacobian(lattice).min() < 0.25:
            self.strength *= 0.85

    def __call__(self, axes: Sequence[np.ndarray]) -> np.ndarray:
        """The places in the template of a grid: (3, X, Y, Z), mm."""
        x, y, z = axes[0][:, None, None], axes[1][:, None], axes[2]
        places = []
        for (a, b, c), parts in zip(self.affine, self.displacement, strict=True):
            displacement = self.strength * sum(part(axes) for part in parts)
            places.append(a * x + b * y + c * z + displacement)
        return np.stack(places)

    def jacobian(self, axes: Sequence[np.ndarray]) -> np.ndarray:
        """Determinant of the derivative on a grid, relative to that of `affine`: (X, Y, Z)."""
        derivative = np.empty((*(len(x) for x in axes), 3, 3))
        for k, i in np.ndindex(3, 3):
            slope = sum(part(axes, i) for part in self.displacement[k])
            derivative[..., k, i] = self.affine[k, i] + self.strength * slope
        return np.linalg.det(derivative) / np.linalg.det(self.affine)


def _infant_from_template(rng: np.random.Generator) -> np.ndarray:
    """A random (3, 3) map from the adult template to an infant's head: shear, scale, rotations."""
    angles = np.deg2rad(rng.normal(0, 4, 3))
    size = 0.80 * np.exp(rng.normal(0, 0.03) + rng.normal(0, 0.02, 3))
    affine = np.diag(size) @ (np.eye(3) + np.triu(rng.normal(0, 0.02, (3, 3)), 1))
    for angle, (a, b) in zip(angles, ((1, 2), (0, 2), (0, 1)), strict=True):
        turn = np.eye(3)
        turn[a, a] = turn[b, b] = math.cos(angle)
        turn[a, b], turn[b, a] = -math.sin(angle), math.sin(angle)
        affine = turn @ affine
    return affine
