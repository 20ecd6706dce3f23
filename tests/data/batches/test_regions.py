"""Labels to regions and back."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from invseg_jax.data.batches.regions import Regions, regions_to_segment
from invseg_jax.data.layouts.brats2020 import CLASSES, MODALITIES, REGIONS, VALUES
from invseg_jax.data.layouts.case import IGNORED, Dataset, Region
from invseg_jax.errors import UserError
from invseg_jax.experiment import LossSettings

BRATS: Any = Regions.of(REGIONS, VALUES)
DATASET = Dataset("BraTS", Path("/data"), MODALITIES, CLASSES, VALUES, (), regions=REGIONS)
label_maps = hnp.arrays(
    np.uint8,
    hnp.array_shapes(min_dims=3, max_dims=3, max_side=4),
    elements=st.sampled_from([0, 1, 2, 3]),
)


@hypothesis.given(label_maps)
def test_there_and_back_is_the_identity_on_brats_labels(labels: np.ndarray):
    masks = np.asarray(BRATS.masks(jnp.asarray(labels, jnp.int32)))
    assert masks.shape == (*labels.shape, 3)
    np.testing.assert_array_equal(BRATS.decide(masks.astype(np.float32)), labels)
    # Any probability on the same side of one half will do.
    np.testing.assert_array_equal(BRATS.decide(np.where(masks, 0.51, 0.5)), labels)


@hypothesis.given(label_maps)
def test_masks_are_those_of_the_values_on_disk(labels: np.ndarray):
    on_disk = np.asarray(VALUES)[labels]
    masks = np.asarray(BRATS.masks(jnp.asarray(labels, jnp.int32)))
    for number, values in enumerate([(1, 2, 4), (1, 4), (4,)]):
        np.testing.assert_array_equal(masks[..., number], np.isin(on_disk, values))


@hypothesis.given(hnp.arrays(np.float32, (2, 3, 1, 3), elements=st.floats(0, 1, width=32)))
def test_the_last_region_that_is_there_is_written(probabilities: np.ndarray):
    found = np.asarray(VALUES)[BRATS.decide(probabilities)]
    for index in np.ndindex(found.shape):
        whole, core, enhancing = probabilities[index] > 0.5
        expected = 4 if enhancing else 1 if core else 2 if whole else 0
        assert found[index] == expected


def test_what_nobody_labelled_is_in_no_region():
    assert not BRATS.masks(jnp.full((1, 2, 2, 2), IGNORED)).any()


def test_values_on_disk_become_classes():
    regions = (Region("organ", (7, 9), 7), Region("lesion", (9,), 9))
    found = Regions.of(regions, (0, 7, 9))
    assert found == Regions(("organ", "lesion"), ((1, 2), (2,)), (1, 2))
    assert found is not None and len(found) == 2
    assert Regions.of((), (0, 1)) is None
    assert Regions.apart(2) == Regions(("1", "2"), ((1,), (2,)), (1, 2))


def test_they_are_segmented_where_the_configuration_says_so():
    assert regions_to_segment(LossSettings(), DATASET) is None
    settings = LossSettings(regions=True)
    assert regions_to_segment(settings, DATASET) == BRATS
    with pytest.raises(UserError, match="config.loss.regions: the data in /data have no regions"):
        regions_to_segment(settings, replace(DATASET, regions=()))


def test_there_is_a_weight_for_each_output():
    three = LossSettings(weights=(1.0, 2.0, 3.0))
    with pytest.raises(UserError, match="weights has 3 numbers; give one for each of background, "):
        regions_to_segment(three, DATASET)
    assert regions_to_segment(replace(three, regions=True), DATASET) == BRATS
    with pytest.raises(UserError, match="weights has 1 numbers; give one for each of WT, TC, ET, "):
        regions_to_segment(LossSettings(regions=True, weights=(1.0,)), DATASET)
