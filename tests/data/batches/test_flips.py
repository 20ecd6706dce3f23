"""How often training mirrors along each axis: left open, and given by hand."""

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from invseg_jax.data.batches.flips import choose_flips
from invseg_jax.data.batches.regions import Regions
from invseg_jax.data.prepare.fingerprint import Fingerprint, measure
from invseg_jax.data.prepare.loaded_case import LoadedCase
from invseg_jax.data.volumes.placement import Placement
from invseg_jax.experiment import Augmentation, Preprocessing

TWINS = ("background", "left_kidney", "liver", "right_kidney")
DIRECTIONS = {"R": (1, 0, 0), "A": (0, 1, 0), "S": (0, 0, 1)}
DIRECTIONS |= {"L": (-1, 0, 0), "P": (0, -1, 0), "I": (0, 0, -1)}
APART = ("background", "anterior", "posterior")


OPEN = Augmentation()
CANONICAL, AS_STORED = Preprocessing(), Preprocessing(canonical=False)


def given(*flip: float) -> Augmentation:
    d, h, w = flip
    return Augmentation(flip=(d, h, w))


def fingerprint(settings: Preprocessing, *codes: str | None) -> Fingerprint:
    """Of one image for each of the codes, such as "LPS": where its axes run to; None: unknown."""
    measured = {}
    for number, code in enumerate(codes):
        affine = np.eye(4)
        affine[:3, :3] = np.transpose([DIRECTIONS[letter] for letter in code or "RAS"])
        assert code is None or nib.aff2axcodes(affine) == tuple(code)
        label = np.ones((4, 5, 6), np.uint8)
        image = np.zeros((4, 5, 6, 1), np.float32)
        place = Placement.of_affine(affine, oriented=code is not None)
        case = LoadedCase(str(number), image, label, affine, place)
        measured[case.id] = measure(case, 2, np.random.default_rng(0))
    return Fingerprint.of(measured, ("MR",), ("background", "a"), settings)


def test_without_sides_it_is_one_half_along_each_axis():
    for codes in (("RAS", "RAS"), ("RAS", None), (None,)):
        measured = fingerprint(CANONICAL, *codes)
        flips = choose_flips(OPEN, CANONICAL, APART, fingerprint=measured)
        assert flips.probabilities == (0.5, 0.5, 0.5) and flips.note == ""
    assert choose_flips(OPEN, CANONICAL, APART).probabilities == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    "canonical, codes, off",
    [
        (True, ("RAS", "RAS"), (0,)),
        (True, ("LPS", "PIR", "SAL"), (0,)),
        (False, ("RAS", "LPS"), (0,)),
        (False, ("PIR", "AIL"), (2,)),
        (False, ("SLP",), (1,)),
        (False, ("RAS", "PIR"), (0, 2)),  # each is left-right in one of them
        (False, ("RAS", "PIR", "SLP"), (0, 1, 2)),
        (True, ("RAS", None), (0, 1, 2)),
        (False, (None, None), (0, 1, 2)),
    ],
)
def test_with_sides_it_is_off_along_the_axes_that_are_left_right(
    canonical: bool, codes: tuple, off: tuple
):
    settings = Preprocessing(canonical=canonical)
    measured = fingerprint(settings, *codes)
    assert measured.left_right == off
    assert measured.oriented == tuple(code is not None for code in codes)
    flips = choose_flips(OPEN, settings, TWINS, fingerprint=measured)
    assert flips.probabilities == tuple(0.0 if axis in off else 0.5 for axis in range(3))
    axes = {1: f"axis {off[0]}", 2: "axes 0 and 2", 3: "all axes"}[len(off)]
    assert flips.note.startswith(f"mirroring is off along {axes} (")
    assert "the classes left_kidney and right_kidney differ only in their side" in flips.note
    assert "\n" not in flips.note
    unknown = codes.count(None)
    assert (f"the headers of {unknown} of {len(codes)} training images" in flips.note) == (
        unknown > 0
    )


def test_what_is_given_by_hand_stays_with_a_warning():
    for flip, axes in (((0.5, 0.5, 0.5), "axis 0 (left-right)"), ((1, 0, 0), "axis 0")):
        measured = fingerprint(CANONICAL, "RAS", "LAS")
        flips = choose_flips(given(*flip), CANONICAL, TWINS, fingerprint=measured)
        assert flips.probabilities == flip
        assert flips.note.startswith(f"warning: config.augment.flip mirrors along {axes}")
        assert "left_kidney and right_kidney" in flips.note and "\n" not in flips.note
        assert given(*flip).settled(flips.probabilities).flip == flip
    # Along the other axes there is nothing to say.
    assert choose_flips(given(0, 0.5, 0.5), CANONICAL, TWINS).note == ""
    assert choose_flips(given(0.5, 0.5, 0.5), CANONICAL, APART).note == ""
    unknown = fingerprint(CANONICAL, None)
    note = choose_flips(given(0, 0.5, 0), CANONICAL, TWINS, fingerprint=unknown).note
    assert note.startswith("warning: config.augment.flip mirrors along axis 1 (the headers of 1 of")


def test_regions_count_where_they_are_segmented():
    regions = Regions(("lung left", "lung right"), ((1, 2), (2,)), (1, 2))
    flips = choose_flips(OPEN, CANONICAL, APART, regions)
    assert flips.probabilities == (0.0, 0.5, 0.5)
    assert "the regions lung left and lung right differ only" in flips.note
    assert choose_flips(OPEN, CANONICAL, TWINS, Regions.apart(2)).note == ""


def test_all_pairs_are_counted():
    names = [f"rib_{side}_{number}" for side in ("left", "right") for number in range(12)]
    note = choose_flips(OPEN, CANONICAL, names).note
    assert "the classes rib_left_0 and rib_right_0 (and 11 more such pairs) differ" in note


def test_before_the_images_are_known_axis_0_of_canonical_ones_is_left_right():
    earlier = replace(fingerprint(CANONICAL, "RAS"), left_right=(), oriented=())
    for measured in (None, earlier):
        for settings, expected in ((CANONICAL, (0, 0.5, 0.5)), (AS_STORED, (0, 0, 0))):
            flips = choose_flips(OPEN, settings, TWINS, fingerprint=measured)
            assert flips.probabilities == expected


def test_what_is_settled_counts_as_given():
    settled = OPEN.settled(choose_flips(OPEN, CANONICAL, TWINS).probabilities)
    assert settled.flip == (0.0, 0.5, 0.5) and OPEN.flip is None
    # The axes do not change any more, whatever is found out about the images.
    assert choose_flips(settled, AS_STORED, TWINS).probabilities == (0.0, 0.5, 0.5)
