"""The method without a network: each kind of prompt, corrections, and real tumours."""

from pathlib import Path

import numpy as np
import pytest

from invseg_jax.data.volumes.nifti import read_volume
from invseg_jax.interactive.classical import Classical, middle_of_gap
from invseg_jax.interactive.hand import Hand, next_click
from invseg_jax.interactive.method import SliceVolume
from invseg_jax.interactive.prompts import Box, Click, ExtremePoints, Lasso, Prompt, Scribble

KINDS = ("extreme_points", "box", "lasso", "scribble", "click")


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / max(one.sum() + other.sum(), 1))


def disc(radius: float, centre=(60.0, 50.0), shape=(120, 110)) -> np.ndarray:
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2


def stack(truth: np.ndarray, contrast: float = 60, noise: float = 15) -> SliceVolume:
    values = 200 + contrast * truth + np.random.default_rng(0).normal(0, noise, truth.shape)
    return SliceVolume(values[None].astype(np.float32), (4.0, 1.0, 1.0))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("contrast", [60, -60])
@pytest.mark.parametrize("radius", [4, 12, 25])
def test_each_kind_of_prompt_finds_a_disc(kind, contrast, radius):
    truth = disc(radius)
    prompt = getattr(Hand(noise=0), kind)(truth, np.random.default_rng(0))
    found = Classical().segment(stack(truth, contrast), 0, [prompt], None)
    assert found.shape == truth.shape and found.dtype == np.float32
    assert found.min() >= 0 and found.max() <= 1
    assert dice(found > 0.5, truth) > (0.8 if radius == 4 else 0.9)


@pytest.mark.parametrize("kind", KINDS)
def test_wide_voxels_and_a_large_slice(kind):
    rows, columns = np.mgrid[:512, :512]
    truth = ((rows - 300) / 40) ** 2 + ((columns - 200) / 80) ** 2 <= 1  # 40 x 40 mm
    values = 5.0 * truth + np.random.default_rng(0).normal(0, 1, truth.shape)
    volume = SliceVolume(values[None].astype(np.float32), (4.0, 1.0, 0.5))
    prompt = getattr(Hand(noise=0), kind)(truth, np.random.default_rng(0))
    found = Classical().segment(volume, 0, [prompt], None) > 0.5
    assert dice(found, truth) > 0.85


def test_a_scale_of_its_own_for_small_animals():
    truth = disc(25)
    volume = SliceVolume(stack(truth).image, (0.1, 0.05, 0.05))
    found = Classical().segment(volume, 0, [Click(((60, 50),))], None)
    assert dice(found > 0.5, truth) > 0.85


def test_negative_prompts_alone_give_nothing():
    truth = disc(20)
    for prompt in (
        Click(((60, 50),), False),
        Scribble(((50, 50), (70, 50)), False),
        Box(((40, 30), (80, 70)), False),
        Lasso(((40, 30), (80, 30), (60, 80)), False),
    ):
        assert not (Classical().segment(stack(truth), 0, [prompt], None) > 0.5).any()


@pytest.mark.parametrize("negative", [Click, Scribble, Box, Lasso])
def test_a_negative_prompt_takes_a_part_away(negative):
    keep, away = disc(14, (40, 50)), disc(10, (85, 50))
    corners = {
        Click: ((85.0, 50.0),),
        Scribble: ((79.0, 50.0), (91.0, 50.0)),
        Box: ((74.0, 39.0), (96.0, 61.0)),
        Lasso: ((73.0, 38.0), (73.0, 62.0), (97.0, 62.0), (97.0, 38.0)),
    }
    mask = (keep | away).astype(np.float32)
    prompts: list[Prompt] = [negative(corners[negative], False)]
    found = Classical().segment(stack(keep | away), 0, prompts, mask) > 0.5
    assert dice(found, keep) > 0.93 and not (found & disc(7, (85, 50))).any()


@pytest.mark.parametrize("kind", ["box", "lasso", "scribble", "click"])
def test_a_positive_prompt_adds_a_part(kind):
    known, missing = disc(16, (40, 50)), disc(10, (85, 50))
    truth = known | missing
    prompt = getattr(Hand(noise=0), kind)(missing, np.random.default_rng(0))
    found = Classical().segment(stack(truth), 0, [prompt], known.astype(np.float32)) > 0.5
    assert dice(found, truth) > 0.9


@pytest.mark.parametrize("kind", ["box", "lasso", "extreme_points"])
def test_an_area_around_the_whole_object_replaces_a_wrong_mask(kind):
    truth, wrong = disc(20), disc(26, (66, 56))
    prompt = getattr(Hand(noise=0), kind)(truth, np.random.default_rng(0))
    found = Classical().segment(stack(truth), 0, [prompt], wrong.astype(np.float32)) > 0.5
    assert dice(found, truth) > 0.95


@pytest.mark.parametrize("radius", [12, 28])
def test_a_click_on_a_carried_slice_makes_the_object_anew(radius):
    truth, carried = disc(20), 0.9 * disc(radius).astype(np.float32)
    found = Classical().segment(stack(truth), 0, [Click(((60, 50),))], carried) > 0.5
    assert dice(found, truth) > 0.93


def test_a_click_changes_a_painted_slice_only_nearby():
    truth, painted = disc(20), disc(12) | disc(6, (20, 20))
    prompts = [Click(((20.0, 90.0),))]
    found = Classical().segment(stack(truth), 0, prompts, painted.astype(np.float32)) > 0.5
    assert dice(found[:, :75], painted[:, :75]) > 0.95


def test_marks_hold():
    truth = disc(20)
    prompts = [Box(((40, 30), (80, 70))), Click(((60, 50),), False), Click(((41, 32),))]
    found = Classical().segment(stack(truth), 0, prompts, None)
    assert found[60, 50] == 0 and found[41, 32] == 1


def test_the_same_arguments_give_the_same_bits():
    truth = disc(20)
    prompts = [Scribble(((50, 50), (70, 52))), Click(((90, 90),), False)]
    one, other = (Classical().segment(stack(truth), 0, prompts, None) for _ in range(2))
    assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize("value", [0.0, -1000.0, 3e38])
def test_an_image_without_contrast(value):
    volume = SliceVolume(np.full((1, 30, 40), value, np.float32), (1.0, 1.0, 1.0))
    for prompt in (Box(((5, 5), (20, 20))), Click(((5, 5),)), Scribble(((5, 5), (9, 30)))):
        found = Classical().segment(volume, 0, [prompt], None)
        assert np.isfinite(found).all() and (found > 0.5).any()


def test_prompts_that_reach_over_the_border():
    truth = disc(20, (5, 50))
    for prompt in (
        Box(((-9, 29), (26, 71))),
        Scribble(((-4, 50), (20, 50)), radius=2),
        Lasso(((-8, 28), (-8, 72), (28, 72), (28, 28))),
        ExtremePoints(((0, 50), (25, 50), (5, 30), (5, 70))),
    ):
        found = Classical().segment(stack(truth), 0, [prompt], None) > 0.5
        assert dice(found, truth) > 0.8, prompt.kind


def test_carrying_interpolates():
    volume = SliceVolume(np.zeros((9, 120, 110), np.float32), (2.0, 1.0, 1.0))
    confirmed = {2: disc(10), 6: disc(20)}
    carried = list(Classical().carry(volume, confirmed, (4, 3, 8), volume.image))
    assert [one.index for one in carried] == [4, 3, 8]
    assert dice(carried[0].probabilities > 0.5, disc(15)) > 0.97
    assert all(np.isnan(one.quality) for one in carried)
    (none,) = Classical().carry(volume, {}, (4,), volume.image)
    assert not none.probabilities.any()


@pytest.mark.parametrize(
    ("confirmed", "holding", "wanted"),
    [
        ([], [], None),
        ([5], [], None),
        ([0, 9], range(1, 9), 4),
        ([0, 4, 9], [1, 2, 3, 5, 6, 7, 8], 6),
        ([5], [1, 2, 3, 4, 6, 7], 2),  # beyond an end, the object is known on one side alone
        ([5], [3, 4, 6, 7], 3),  # the first of equal ones
        ([0, 8, 12], [*range(1, 8), 9, 13, 14, 15, 16, 17], 15),
    ],
)
def test_the_middle_of_the_largest_gap(confirmed, holding, wanted):
    assert middle_of_gap(confirmed, list(holding)) == wanted


def middle_slices(folder: Path):
    """The slice in the middle of each tumour, and its mask."""
    for file in sorted(folder.glob("STS_*/tumour.nii.gz"))[::4]:
        labels, image = read_volume(file), read_volume(file.with_name("mr_t1.nii.gz"))
        masks = np.moveaxis(labels.channels[..., 0] > 0, 2, 0)
        holding = np.flatnonzero(masks.any((1, 2)))
        z = int(holding[len(holding) // 2])
        rows, columns, depth = labels.spacing
        voxels = image.channels[:, :, z, 0].astype(np.float32)
        yield SliceVolume(voxels[None], (depth, rows, columns)), masks[z]


@pytest.mark.parametrize(
    ("kind", "first", "third"),
    [
        ("extreme_points", 0.86, 0.88),
        ("box", 0.86, 0.88),
        ("lasso", 0.94, 0.93),
        ("scribble", 0.58, 0.68),
        ("click", 0.68, 0.76),
    ],
)
def test_tumours_from_one_prompt_and_two_clicks(kind, first, third, sarcoma: Path):
    """Of all 37 subjects the mean Dice of the first and third round is 0.895 and 0.913 from extreme
    points, 0.894 and 0.915 from a box, 0.964 and 0.950 from a lasso, 0.718 and 0.819 from a
    scribble, 0.784 and 0.844 from a click.
    """
    curves = []
    for n, (volume, truth) in enumerate(middle_slices(sarcoma)):
        rng, mask, curve = np.random.default_rng(n), None, []
        prompts: list[Prompt] = [getattr(Hand(), kind)(truth, rng)]
        for _ in range(3):
            mask = Classical().segment(volume, 0, prompts, mask)
            curve.append(dice(mask > 0.5, truth))
            if (error := next_click(truth, mask > 0.5, rng)) is None:
                break
            (row, column), positive = error
            prompts.append(Click(((row, column),), positive))
        curves.append(curve + [1.0] * (3 - len(curve)))
    mean = np.mean(curves, axis=0)
    assert mean[0] > first and mean[2] > third, mean
