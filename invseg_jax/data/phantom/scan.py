"""One simulated subject: its tissues, and how a T1 and a T2 scan show them."""

import math
from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from invseg_jax.data.phantom.atlas import Atlas, sample
from invseg_jax.data.phantom.deformation import Deformation, SplineField

MARGIN = 6.0  # mm of empty space kept on each side of the brain's box
SLAB_POINTS = 1 << 19  # points sampled at once: bounds the memory whatever the grid


def simulate_subject(
    atlas: Atlas, seed: int, number: int, spacing: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One subject of the cohort, which depends on the arguments alone.

    Args:
        atlas: the anatomy that is deformed.
        seed: of the cohort.
        number: of the subject.
        spacing: edge of the isotropic voxels in mm. Another spacing is the same person on another
            grid, with other noise.

    Returns:
        T1 and T2, (X, Y, Z) int16, 0 outside the brain and at least 1 within; and the classes,
        (X, Y, Z) of 0 background, 1 cerebrospinal fluid, 2 grey matter, 3 white matter. The grid is
        cropped to the brain; X runs from right to left, as Analyze files are read.
    """
    person = _Person(atlas, np.random.default_rng([seed, number]))
    axes = _grid(person, spacing)
    fractions, signal = _render(person, axes, spacing)
    classes = fractions.argmax(axis=0)
    clean = signal / np.maximum(1 - fractions[0], 0.5)  # the signal of the brain's share alone
    noise = np.random.default_rng([seed, number, round(spacing * 1e6)])
    t1, t2 = (
        np.where(classes > 0, np.clip(np.rint(image), 1, 32767), 0).astype(np.int16)
        for image in person.contrast.acquire(clean, axes, noise)
    )
    return t1, t2, classes


class _Person:
    """What makes one subject, on whatever grid it is scanned."""

    def __init__(self, atlas: Atlas, rng: np.random.Generator):
        self.atlas = atlas
        self.warp = Deformation(rng)
        # Prior odds of each class: an infant's subarachnoid space is wide, and its width, as the
        # thickness of the cortex, varies between subjects and smoothly within one.
        odds = np.exp(np.array([0.0, 0.7, 0.0, -0.05]) + rng.normal(0, [0, 0.15, 0.04, 0.06]))
        self.odds = odds.astype(np.float32)
        self.thickness = SplineField(rng, 30.0, 0.12)
        self.contrast = Contrast(rng)

    def places(self, axes: Sequence[np.ndarray]) -> np.ndarray:
        """(3, X, Y, Z) voxel coordinates in the atlas of the grid that three axes (mm) span."""
        return self.warp(axes) + self.atlas.centre

    def points(self, axes: Sequence[np.ndarray]) -> np.ndarray:
        """(6, X, Y, Z) float32: shares of the four classes, T1 and T2 signal, at a grid's points.

        A point outside the brain is all background, without signal.
        """
        places = self.places(axes)
        brain = sample(self.atlas.brain, places)
        inside = brain > 0  # half of the box; the rest needs no further sampling
        brain, places = brain[inside], places[:, inside]
        grey, white = sample(self.atlas.grey, places), sample(self.atlas.white, places)
        shares = np.stack([1 - brain, brain - grey - white, grey, white]).clip(0, 1)
        shares[3] *= np.exp(self.thickness(axes))[inside]
        # Squared: the template's maps are blurred by averaging brains, a subject's tissue is not.
        shares = (shares * self.odds[:, None]) ** 2
        shares /= shares.sum(axis=0)
        texture, myelin = sample(self.atlas.texture, places), sample(self.atlas.myelin, places)
        values = np.zeros((6, *inside.shape), np.float32)
        values[0] = 1
        values[:4, inside] = shares
        values[4:, inside] = self.contrast.signal(shares, texture, myelin)
        return values


class Contrast:
    """How one subject's scans render its tissues: means, bias fields, gain and noise.

    At six to eight months white matter is as bright as grey matter where it lies below the cortex,
    and brighter in T1, darker in T2, where it is myelinated, which it is first in the centre.
    """

    def __init__(self, rng: np.random.Generator):
        """Draws them about values typical of that age."""
        means = np.array([[0.0, 40.0, 100.0, 104.0], [0.0, 205.0, 116.0, 111.0]])
        jitter = rng.normal(0, [0, 0.06, 0.015, 0.015], (2, 4))
        self.means = (means * np.exp(jitter)).astype(np.float32)
        self.myelination = rng.normal([20.0, -18.0], 2.0).astype(np.float32)
        self.gain = 4.0 * np.exp(rng.normal(0, 0.15, 2))
        self.noise = np.array([6.0, 7.5]) * np.exp(rng.normal(0, 0.08, 2))
        self.bias = [SplineField(rng, 75.0, 0.06) for _ in range(2)]

    def signal(self, shares: np.ndarray, texture: np.ndarray, myelin: np.ndarray) -> np.ndarray:
        """(2, n) T1 and T2 signal of n points at which the four classes are mixed, (4, n)."""
        signal = np.tensordot(self.means, shares, (1, 0))
        solid = shares[2] + shares[3]
        for channel, weight in enumerate((16.0, -8.0)):
            signal[channel] += self.myelination[channel] * (myelin - 0.4) * shares[3]
            signal[channel] += np.float32(weight) * texture * solid
        return signal

    def acquire(
        self, clean: np.ndarray, axes: Sequence[np.ndarray], rng: np.random.Generator
    ) -> list[np.ndarray]:
        """The two magnitude images of a signal (2, X, Y, Z) on a grid.

        Bias field, then Rician noise (Gudbjartsson and Patz, MRM 34:910-914, 1995), then gain.
        """
        images = []
        for signal, bias, sd, gain in zip(clean, self.bias, self.noise, self.gain, strict=True):
            real = signal * np.exp(bias(axes)) + rng.normal(0, sd, signal.shape)
            images.append(gain * np.hypot(real, rng.normal(0, sd, signal.shape)))
        return images


def _grid(person: _Person, spacing: float) -> list[np.ndarray]:
    """The voxel centres (mm) along each axis of a subject's grid: the brain's box and a margin."""
    rough = np.arange(-100.0, 101.0, 4.0)
    brain = sample(person.atlas.brain, person.places([rough] * 3)) > 0.02
    axes = []
    for side in ndimage.find_objects(brain, 1)[0]:
        low, high = rough[side.start] - MARGIN, rough[side.stop - 1] + MARGIN
        axes.append(low + spacing * (np.arange(math.ceil((high - low) / spacing)) + 0.5))
    axes[0] = axes[0][::-1]
    return axes


def _render(
    person: _Person, axes: Sequence[np.ndarray], spacing: float
) -> tuple[np.ndarray, np.ndarray]:
    """Shares of the classes (4, X, Y, Z) and T1 and T2 signal (2, X, Y, Z), averaged over voxels.

    A voxel of more than 1.5 mm averages several points, since it holds several tissues.
    """
    fine = min(4, math.ceil(spacing / 1.5))
    steps = (np.arange(fine) - (fine - 1) / 2) * spacing / fine
    x, y, z = (np.add.outer(a, steps).ravel() for a in axes)
    values = np.empty((6, *(len(a) for a in axes)), np.float32)
    thick = max(1, SLAB_POINTS // (len(y) * len(z) * fine))
    for start in range(0, len(axes[0]), thick):
        points = person.points([x[start * fine : (start + thick) * fine], y, z])
        values[:, start : start + thick] = _average_blocks(points, fine)
    return values[:4], values[4:]


def _average_blocks(array: np.ndarray, size: int) -> np.ndarray:
    """(C, size * X, size * Y, size * Z) -> (C, X, Y, Z), the mean over each block."""
    c, x, y, z = array.shape
    blocks = array.reshape(c, x // size, size, y // size, size, z // size, size)
    return blocks.mean(axis=(2, 4, 6))
