"""Rounds of annotation, played with a method that knows no more than interpolation."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from invseg_jax.interactive.click_protocol import CLICKS, play_clicks
from invseg_jax.interactive.interpolation import interpolate
from invseg_jax.interactive.method import Carried, SliceVolume
from invseg_jax.interactive.prompts import Prompt
from invseg_jax.interactive.rounds import CHOICES, KINDS, Annotation, play, reached
from invseg_jax.interactive.scores import dice
from tests.interactive.stacks import ellipsoid

TRUTH = ellipsoid()
VOLUME = SliceVolume(TRUTH.astype(np.float32), (3.0, 1.0, 1.0))


@dataclass
class Perfect:
    """Sees the truth of a slice, and interpolates."""

    name: str = "perfect"
    asked: list[tuple[int, tuple[Prompt, ...], bool]] = field(default_factory=list)

    def segment(
        self, volume: SliceVolume, index: int, prompts: Sequence[Prompt], mask: np.ndarray | None
    ) -> np.ndarray:
        self.asked.append((index, tuple(prompts), mask is not None))
        return volume.image[index]

    def carry(
        self,
        volume: SliceVolume,
        confirmed: Mapping[int, np.ndarray],
        slices: Sequence[int],
        probabilities: np.ndarray,
    ) -> Iterator[Carried]:
        whole = interpolate(confirmed, volume.slices, volume.spacing)
        for z in slices:
            yield Carried(z, whole[z].astype(np.float32), 0.5)

    def suggest(
        self,
        volume: SliceVolume,
        confirmed: Mapping[int, np.ndarray],
        probabilities: np.ndarray,
        quality: np.ndarray,
    ) -> int | None:
        free = [z for z in range(volume.slices) if z not in confirmed]
        return free[-1] if free else None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("choice", ["oracle", "even"])
def test_more_slices_bring_the_mask_nearer_to_the_truth(kind, choice):
    course = list(play(Annotation.begin(VOLUME, TRUTH), Perfect(), kind, choice, 0))
    scores = [dice(now.found, TRUTH) for now in course]
    assert len(scores) == 6 and scores[-1] > 0.92
    assert scores[0] < scores[-1] and (np.diff(scores) > -0.02).all()
    assert [len(now.confirmed) for now in course] == [1, 2, 3, 4, 5, 6]


def test_the_first_slice_is_the_largest_for_every_choice():
    for choice in CHOICES:
        method = Perfect()
        list(play(Annotation.begin(VOLUME, TRUTH), method, "box", choice, 0, 1))
        assert method.asked[0][0] == int(np.argmax(TRUTH.sum((1, 2))))
        assert method.asked[0][2] is False


def test_rounds_that_were_played_are_not_played_again():
    method = Perfect()
    (first,) = play(Annotation.begin(VOLUME, TRUTH), method, "box", "oracle", 0, 1)
    rest = list(play(first, method, "box", "oracle", 0))
    whole = list(play(Annotation.begin(VOLUME, TRUTH), Perfect(), "box", "oracle", 0))
    assert len(rest) == 5
    assert np.array_equal(rest[-1].probabilities, whole[-1].probabilities)


def test_a_slice_without_the_object_is_confirmed_as_empty_without_a_prompt():
    method = Perfect()
    course = list(play(Annotation.begin(VOLUME, TRUTH), method, "box", "predicted", 0, 3))
    assert not course[-1].confirmed[13].any() and not TRUTH[13].any()
    assert 13 not in [index for index, *_ in method.asked]


def test_what_is_confirmed_stays_as_it_is():
    course = list(play(Annotation.begin(VOLUME, TRUTH), Perfect(), "box", "random", 3))
    for before, after in zip(course[:-1], course[1:], strict=True):
        for z in before.confirmed:
            assert np.array_equal(before.probabilities[z], after.probabilities[z])


@pytest.mark.parametrize(
    ("confirmed", "index", "expected"),
    [
        ([4], 4, [0, 1, 2, 3, 5, 6]),
        ([1, 4], 4, [2, 3, 5, 6]),
        ([1, 4, 6], 4, [2, 3, 5]),
        ([3, 4, 5], 4, []),
    ],
)
def test_a_slice_reaches_to_the_next_confirmed_ones(confirmed, index, expected):
    assert reached(confirmed, index, 7) == expected


def test_a_volume_of_which_every_slice_is_confirmed_stays():
    small = SliceVolume(np.ones((2, 5, 5), np.float32), (1.0, 1.0, 1.0))
    truth = np.ones((2, 5, 5), bool)
    course = list(play(Annotation.begin(small, truth), Perfect(), "box", "predicted", 0))
    assert len(course) == 6 and len(course[-1].confirmed) == 2


def test_the_clicks_of_the_challenge_begin_with_a_box_in_the_middle():
    method = Perfect()
    found = play_clicks(Annotation.begin(VOLUME, TRUTH), method)
    held = np.flatnonzero(TRUTH.any((1, 2)))
    index, prompts, _ = method.asked[0]
    assert index == held[len(held) // 2] and prompts[0].kind == "box"
    assert len(found.dice) == len(found.surface_dice) == 1 + CLICKS
    assert found.dice[-1] >= found.dice[0]
    assert found.summary["dice_auc"] <= 4
