"""Training examples of the two networks, cut from labelled cases by a simulated hand.

    slice   one slice with prompts, as a person would draw them       -> its mask
    clip    known slices and, from one of them, some slices in a row  -> their masks

All is drawn from one random generator: the same generator gives the same example.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from invseg_jax.interactive import channels
from invseg_jax.interactive.encoding import Encoding
from invseg_jax.interactive.frame import Frame
from invseg_jax.interactive.hand import Hand, next_click
from invseg_jax.interactive.interpolation import Interpolation
from invseg_jax.interactive.prompts import Box, Click, Prompt
from invseg_jax.interactive.stack import Stack, neighbours
from invseg_jax.interactive.wear import worn
from invseg_jax.interactive.window import Window

# How often each kind is a slice's first prompt.
FIRST = {"extreme points": 0.45, "box": 0.2, "scribble": 0.15, "lasso": 0.1, "click": 0.1}
# How many slices beyond the object's ends are gone through.
BEYOND = 5
# Window of a clip: what is added to the box around the known masks, as a share of its side.
CLIP_MARGIN = (0.2, 0.8)


@dataclass(frozen=True)
class Shapes:
    """Sizes of the examples.

    Attributes:
        window: pixels along each side of a window.
        known: most slices whose masks are known in a clip.
        asked: slices in a row whose masks a clip asks for.
    """

    window: int
    known: int
    asked: int


def slice_example(
    stack: Stack, shapes: Shapes, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A slice with prompts and its truth.

    Returns:
        float32 (size, size, `channels.INTERACTION`) and bool (size, size).
    """
    index, kind = _object_slice(stack, rng)
    mask = stack.label[index] == kind
    frame = _frame(mask, stack, rng)
    seen = frame.mask(mask)
    if not seen.any():  # smaller than a pixel of the frame
        seen[tuple(n // 2 for n in seen.shape)] = True
    before = None
    if rng.random() < 0.6:
        before = worn(seen, rng, rng.uniform(0.03, 0.4))
        if rng.random() < 0.1:
            before = np.full_like(before, -1.0)
    prompts = _prompts(seen, before, rng)
    spacing = (frame.pixel, frame.pixel)
    sight = Window.on(
        prompts,
        None if before is None else before > 0,
        spacing,
        shapes.window,
        margin=rng.uniform(0.15, 0.4),
    )
    if not any(prompt.encloses for prompt in prompts) and before is None:
        sight = sight.grown(rng.uniform(1.0, 2.5))
    drawn = Encoding()(prompts, sight, None if before is None else _soft(before, rng))
    shown = frame.through(sight)
    image = _images(shown, stack, index, 1, rng)
    return channels.interaction(image, drawn), shown.mask(mask)


def clip_example(stack: Stack, shapes: Shapes, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Known slices, and slices in a row that follow from one of them.

    Returns:
        Arrays by name:
        kept (known, size, size, KEPT), kept_z (known,), kept_valid (known,): the known slices.
        asking (asked + 1, size, size, ASKING), asking_z (asked + 1,): the slice before the row,
        then the row.
        before (size, size): the mask of the slice before the row, as probabilities.
        truth (asked, size, size) bool, scored (asked,): the row's masks, and 1 for slices that
        count: those in the volume, before the next known slice.
    """
    start, kind = _object_slice(stack, rng)
    there = np.flatnonzero(stack.areas[kind - 1])
    low = max(int(there[0]) - BEYOND, 0)
    high = min(int(there[-1]) + BEYOND, len(stack.label) - 1)
    direction, others, count = _course(start, low, high, shapes, rng)
    known = [start, *others]
    masks = {z: stack.label[z] == kind for z in known}
    frame = _frame(np.logical_or.reduce(list(masks.values())), stack, rng)
    patch = {z: worn(frame.mask(m), rng, rng.uniform(0.0, 0.1)) > 0 for z, m in masks.items()}
    sight = _sight(patch, frame, shapes.window, rng)
    shown = frame.through(sight)
    cut = {z: sight.cut(m.astype(np.float32)) > 0.5 for z, m in patch.items()}
    side = shown.pixel * shapes.window
    depth = stack.spacing[0]
    between = Interpolation(cut, (depth, shown.pixel, shown.pixel))

    first = start + direction * int(rng.integers(max(count - shapes.asked + 1, 1)))
    row = [first + direction * step for step in range(shapes.asked + 1)]
    inside = [min(max(z, 0), len(stack.label) - 1) for z in row]
    ahead = [z for z in known if (z - start) * direction > 0]
    far = min(ahead, key=lambda z: abs(z - start)) if ahead else None
    # In use, no row goes through a slice that a person confirmed.
    ours = range(start, len(stack.label) * direction if far is None else far, direction)
    within = zip(row[1:], inside[1:], strict=True)
    tone = _Tone(rng)

    def picture(z: int) -> list[np.ndarray]:
        return [tone(image) for image in _plain(shown, stack, z, direction)]

    before = cut[start].astype(np.float32)
    if first != start:
        truth = shown.mask(stack.label[inside[0]] == kind)
        # Half of the time far off: a mask that has drifted must find its way back to the image.
        amount = rng.uniform(0.02, 0.25) if rng.random() < 0.5 else rng.uniform(0.2, 0.7)
        before = _soft(worn(truth, rng, amount), rng)
    kept = np.zeros((shapes.known, shapes.window, shapes.window, channels.KEPT), np.float32)
    kept_z = np.zeros(shapes.known, np.float32)
    for place, z in enumerate(known):
        kept[place] = channels.kept(picture(z), cut[z].astype(np.float32), True)
        kept_z[place] = z * depth / side
    asking = [
        channels.asking(
            picture(z),
            between.field(z),
            shown.pixel,
            abs(z - start) * depth,
            None if far is None else abs(far - z) * depth,
        )
        for z in inside
    ]
    return {
        "kept": kept,
        "kept_z": kept_z,
        "kept_valid": np.arange(shapes.known) < len(known),
        "asking": np.stack(asking),
        "asking_z": np.array(inside, np.float32) * np.float32(depth / side),
        "before": before,
        "truth": np.stack([shown.mask(stack.label[z] == kind) for z in inside[1:]]),
        "scored": np.array([float(z == i and z in ours) for z, i in within], np.float32),
    }


def _object_slice(stack: Stack, rng: np.random.Generator) -> tuple[int, int]:
    """A slice with an object, and the object's class; half of the time, large slices win."""
    kind = int(rng.choice(stack.objects))
    area = stack.areas[kind - 1].astype(float)
    weight = area if rng.random() < 0.5 else area > 0
    return int(rng.choice(len(area), p=weight / weight.sum())), kind


def _course(
    start: int, low: int, high: int, shapes: Shapes, rng: np.random.Generator
) -> tuple[int, list[int], int]:
    """Which way the row goes, which other slices are known, and how many slices it can reach."""
    others = int(rng.integers(shapes.known))
    free = [z for z in range(low, high + 1) if z != start]
    known = [int(z) for z in rng.permutation(free)[:others]]
    direction = int(rng.choice((-1, 1)))
    if not low <= start + direction <= high:
        direction = -direction
    end = high if direction > 0 else low
    reach = abs(end - start)
    ahead = [abs(z - start) for z in known if (z - start) * direction > 0]
    if ahead:
        reach = max(min(ahead) // 2, 1)
        if min(ahead) == 1:  # there is no slice between
            known = [z for z in known if z != start + direction]
    return direction, known, reach


def _frame(mask: np.ndarray, stack: Stack, rng: np.random.Generator) -> Frame:
    inside = np.argwhere(mask)
    turned = rng.random() < 0.7
    return Frame.around(
        inside.min(axis=0), inside.max(axis=0), stack.spacing[1:], rng, turned=turned
    )


def _sight(
    masks: dict[int, np.ndarray], frame: Frame, size: int, rng: np.random.Generator
) -> Window:
    """The window around all known masks."""
    union = np.logical_or.reduce(list(masks.values()))
    if not union.any():
        union = np.ones_like(union)
    inside = np.argwhere(union).astype(float)
    box = Box(tuple((float(a), float(b)) for a, b in (inside.min(axis=0), inside.max(axis=0))))
    margin = rng.uniform(*CLIP_MARGIN)
    return Window.around([box], (frame.pixel, frame.pixel), size, margin=margin)


def _prompts(
    truth: np.ndarray, before: np.ndarray | None, rng: np.random.Generator
) -> list[Prompt]:
    """What a person draws: a first prompt, and sometimes corrections of the mask before."""
    hand = Hand(noise=float(rng.uniform(0, 1.5)))
    prompts: list[Prompt] = []
    correcting = before is not None and (before > 0).any() and rng.random() < 0.35
    if not correcting or rng.random() < 0.6:
        name = str(rng.choice(list(FIRST), p=list(FIRST.values())))
        draw = getattr(hand, name.replace(" ", "_"))
        prompts.append(draw(truth, rng))
    if correcting:
        assert before is not None
        prompts += _corrections(truth, before > 0, hand, rng)
    return prompts or [hand.extreme_points(truth, rng)]


def _corrections(
    truth: np.ndarray, found: np.ndarray, hand: Hand, rng: np.random.Generator
) -> list[Prompt]:
    """One or two clicks or scribbles on the largest errors."""
    drawn: list[Prompt] = []
    for _ in range(int(rng.integers(1, 3))):
        error = next_click(truth, found, rng)
        if error is None:
            break
        voxel, positive = error
        parts = np.zeros(truth.shape, np.int32)
        ndimage.label((truth != found) & (truth == positive), output=parts)
        part = parts == parts[voxel]
        if rng.random() < 0.5 and np.count_nonzero(part) > 20:
            drawn.append(hand.scribble(part, rng, positive=positive))
        else:
            drawn.append(Click(((float(voxel[0]), float(voxel[1])),), positive))
        found = np.where(part, truth, found)
    return drawn


def _soft(distance: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A signed distance as probabilities, from sharp to blurred."""
    scaled = np.clip(distance / rng.uniform(0.3, 2.5), -15, 15)
    return (1 / (1 + np.exp(-scaled))).astype(np.float32)


def _plain(shown: Frame, stack: Stack, index: int, direction: int) -> list[np.ndarray]:
    return [shown.image(plane) for plane in neighbours(stack.image, index, direction)]


def _images(
    shown: Frame, stack: Stack, index: int, direction: int, rng: np.random.Generator
) -> list[np.ndarray]:
    tone = _Tone(rng)
    return [tone(image) for image in _plain(shown, stack, index, direction)]


class _Tone:
    """Other brightness, contrast and noise: the same for all slices of an example."""

    def __init__(self, rng: np.random.Generator):
        self.rng = rng
        self.contrast = np.float32(np.exp(rng.normal() * 0.15))
        self.brightness = np.float32(rng.normal() * 0.15)
        self.bend = float(rng.normal() * 0.05)
        self.noise = float(rng.uniform(0, 0.1)) if rng.random() < 0.5 else 0.0

    def __call__(self, image: np.ndarray) -> np.ndarray:
        image = image * self.contrast + self.brightness + np.float32(self.bend) * image * abs(image)
        if self.noise:
            image = image + self.noise * self.rng.standard_normal(image.shape, np.float32)
        return image
