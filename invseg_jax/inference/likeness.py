"""How an image differs from the training images, by `fingerprint.json`.

A network gives an answer for any image. Where the voxels have another size than in training, or the
intensities mean something else, the answer is wrong and nothing shows it. So one line says for each
case what differs; nothing is refused, since only the user knows whether it matters.

The limits are wide, or half of the images of a clinic would get such a line. They are factors
beyond the smallest and the largest value of all training images, in the constants below.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from invseg_jax.data.prepare.fingerprint import WholeImage
from invseg_jax.data.prepare.geometry import nonzero_box
from invseg_jax.data.prepare.loaded_case import LoadedCase
from invseg_jax.data.prepare.preprocess import geometry_of
from invseg_jax.experiment import Preprocessing
from invseg_jax.inference.training_images import TrainingImages

# For the spacing along an axis, where images are not resampled.
SPACING = 1.25
# For the spacing where images are resampled: much coarser voxels show less than in training.
COARSER = 2.0
# For the field of view along an axis, in mm.
VIEW = 2.0
# For the span of intensities, from the 0.5 to the 99.5 percentile. The gain of MR scanners differs,
# and z-scores remove it again; the scale of a CT is the same everywhere.
SPAN = {"z_score_nonzero": 10.0, "z_score": 10.0, "ct": 2.0}
# For a CT: how far a percentile may lie beyond the training images, as a part of their widest span.
SHIFT = 0.25
# Values are negative from here on, as a part of the span: rounding and interpolation leave a few
# values just below 0.
_BELOW_ZERO = 0.01
# A modality at this `_distance` is clearly another one: a factor of 4.
_CLEARLY = 2.0


def tell_differences(
    training: TrainingImages | None,
    settings: Preprocessing,
    case: LoadedCase,
    say: Callable[[str], None],
) -> None:
    """Says in one line what of a case is unlike the training images; see `differences`.

    Args:
        training: what the network has seen; None where that is not known.
        settings: how its images are prepared.
        case: with the modalities of the training.
        say: told the line, if there is anything to say.
    """
    if training is not None and (unlike := differences(training, settings, case)):
        say(f"case {case.id} is unlike the training images: {'; '.join(unlike)}")


def differences(training: TrainingImages, settings: Preprocessing, case: LoadedCase) -> list[str]:
    """How a case differs from the training images.

    - The spacing along an axis is beyond theirs by more than a factor of `SPACING`; where images
      are resampled, it is coarser by more than a factor of `COARSER`.
    - The field of view along an axis is smaller or larger than theirs by a factor of `VIEW`.
    - The intensities of a modality span more or less by more than a factor of `SPAN`. Or it has
      values below 0 where no training image had any, or has none where all had some. Or it is
      normalised as `ct`, and a percentile lies beyond theirs by more than `SHIFT`.
    - Modalities look like one another: they may have been exchanged.
    - The header does not say which side is left, where theirs did, or the reverse.

    Args:
        training: what the network has seen.
        settings: how its images are prepared.
        case: with the modalities of the training.

    Returns:
        A short text for each difference. Axes are the axes of the network's grid.
    """
    box = nonzero_box(case.image) if settings.crop else ((0, 0, 0), case.image.shape[:3])
    grid = geometry_of(settings, case.image.shape[:3], case.affine, case.oriented, box)
    return [
        *_orientation(training, case.oriented),
        *_spacing(training, grid.spacing, resampled=settings.spacing is not None),
        *_view(training, np.multiply(grid.extent, grid.spacing)),
        *_intensities(training, settings, case.image),
    ]


def _orientation(training: TrainingImages, oriented: bool) -> list[str]:
    if not oriented and training.oriented and all(training.oriented):
        return ["its header does not say which side is left, those of the training images do"]
    if oriented and training.oriented and not any(training.oriented):
        return ["its header says which side is left, those of the training images do not"]
    return []


def _spacing(training: TrainingImages, spacing: Sequence[float], *, resampled: bool) -> list[str]:
    found = []
    for axis, own in enumerate(spacing):
        low, high = training.spacings[:, axis].min(), training.spacings[:, axis].max()
        factor = COARSER if resampled else SPACING
        if own > factor * high or (own < low / factor and not resampled):
            found.append(
                f"spacing {own:.3g} mm along axis {axis}, in training {_range(low, high)} mm "
                f"(beyond by more than a factor of {factor:g})"
            )
    return found


def _view(training: TrainingImages, view: np.ndarray) -> list[str]:
    found = []
    for axis, own in enumerate(view):
        low, high = training.views[:, axis].min(), training.views[:, axis].max()
        if own <= low / VIEW or own >= VIEW * high:
            found.append(
                f"field of view {own:.3g} mm along axis {axis}, in training {_range(low, high)} mm "
                f"(beyond by a factor of {VIEW:g})"
            )
    return found


def _intensities(training: TrainingImages, settings: Preprocessing, image: np.ndarray) -> list[str]:
    if not training.whole or len(training.modalities) != image.shape[-1]:
        return []
    names = training.modalities
    own = [WholeImage.of(channel) for channel in np.moveaxis(image, -1, 0)]
    theirs = [[case[number] for case in training.whole] for number in range(len(names))]
    like = _exchanged(own, theirs)
    found = [f"{names[k]} looks like the {names[other]} of the training" for k, other in like]
    exchanged = {number for number, _ in like}
    for number, scheme in enumerate(settings.schemes(len(names))):
        if number not in exchanged:
            found += _of_modality(names[number], own[number], theirs[number], scheme)
    return found


def _of_modality(
    name: str, own: WholeImage, theirs: Sequence[WholeImage], scheme: str
) -> list[str]:
    """How the intensities of one modality differ from the training images."""
    found = []
    if sign := _sign(own, theirs):
        had = "which no training image had" if sign < 0 else "which all training images had"
        found.append(f"{name} has {'' if sign < 0 else 'no '}values below 0, {had}")
    spans = [_span(other) for other in theirs]
    low, high = min(spans), max(spans)
    if not low / SPAN[scheme] <= _span(own) <= high * SPAN[scheme]:
        return [
            *found,
            f"{name} spans {_span(own):.3g} from its 0.5 to its 99.5 percentile, in training "
            f"{_range(low, high)} (beyond by more than a factor of {SPAN[scheme]:g})",
        ]
    percentiles = {"0.5 percentile": "low", "median": "median", "99.5 percentile": "high"}
    for percentile, attribute in percentiles.items() if scheme == "ct" else ():
        values = [getattr(other, attribute) for other in theirs]
        if _beyond(getattr(own, attribute), values) > SHIFT * high:
            found.append(
                f"the {percentile} of {name} is {getattr(own, attribute):.3g}, in training "
                f"{_range(min(values), max(values))}"
            )
    return found


def _exchanged(
    own: Sequence[WholeImage], theirs: Sequence[Sequence[WholeImage]]
) -> list[tuple[int, int]]:
    """Finds modalities that have clearly been exchanged with each other.

    Returns:
        Pairs of a modality and the one it looks like; empty where that is not clear.
    """
    distance = np.array([[_distance(image, other) for other in theirs] for image in own])
    nearest = distance.argmin(axis=1)
    like = {
        number: int(other)
        for number, other in enumerate(nearest)
        if distance[number, other] + _CLEARLY <= distance[number, number]
        and distance[number, other] < _CLEARLY / 2
    }
    return list(like.items()) if set(like) == set(like.values()) else []


def _distance(own: WholeImage, theirs: Sequence[WholeImage]) -> float:
    """How far a modality is from a training modality: 0 within its range, 1 a factor of two beyond.

    A shift of the lower percentiles by a quarter of the span counts as a factor of two. Values
    below 0 where no training image had any, or none where all had some, count as a factor of four.
    """
    spans = [_span(other) for other in theirs]
    widest = max(_span(own), *spans)
    if widest == 0:
        return 0.0
    least = 1e-9 * widest  # of a constant image
    logarithms = [math.log2(max(span, least)) for span in spans]
    shift = max(
        _beyond(own.low, [other.low for other in theirs]),
        _beyond(own.median, [other.median for other in theirs]),
    )
    return (
        _beyond(math.log2(max(_span(own), least)), logarithms)
        + 4 * shift / widest
        + 2 * abs(_sign(own, theirs))
    )


def _sign(own: WholeImage, theirs: Sequence[WholeImage]) -> int:
    """-1: values below 0, which no training image had. 1: none, and all had some. Else 0."""
    if _has_negative(own) and all(other.minimum >= 0 for other in theirs):
        return -1
    return int(own.minimum >= 0 and all(_has_negative(other) for other in theirs))


def _has_negative(image: WholeImage) -> bool:
    return image.low < -_BELOW_ZERO * _span(image)


def _span(image: WholeImage) -> float:
    return image.high - image.low


def _beyond(value: float, others: Sequence[float]) -> float:
    """How far a value lies outside of the range of others."""
    return max(0.0, min(others) - value, value - max(others))


def _range(low: float, high: float) -> str:
    least, most = f"{low:.3g}", f"{high:.3g}"
    return least if least == most else f"{least} to {most}"
