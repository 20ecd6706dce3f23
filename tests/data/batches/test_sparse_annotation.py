"""Which slices of a label map count as annotated."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from invseg_jax.data.batches.sparse_annotation import (
    annotated_voxels,
    keep_slices,
    leave_out_slices,
)
from invseg_jax.data.layouts.case import IGNORED


def test_slices_stand_in_the_middle_of_equal_parts() -> None:
    label = np.zeros((12, 10, 8), np.uint8)
    label[2:11, 3:5, 4] = 1  # 9, 2 and 1 voxels
    kept = annotated_voxels(label, (3, 1, 0))
    expected = np.zeros_like(kept)
    expected[[3, 6, 9]] = True
    expected[:, 4] = True
    np.testing.assert_array_equal(kept, expected)
    only = annotated_voxels(label, (0, 0, 2))  # both are the one that there is
    assert only.sum() == 120 and only[..., 4].all()


def test_without_foreground_slices_are_spread_over_the_volume() -> None:
    kept = annotated_voxels(np.full((9, 4, 4), IGNORED, np.uint8), (3, 0, 0))
    assert np.flatnonzero(kept.all(axis=(1, 2))).tolist() == [1, 4, 7]
    assert kept.sum() == 3 * 16


@given(
    hnp.arrays(np.uint8, hnp.array_shapes(min_dims=3, max_dims=3, max_side=7), elements=st.just(0)),
    st.tuples(*[st.integers(0, 4)] * 3),
    st.randoms(use_true_random=False),
)
def test_the_two_halves_make_the_whole(label, slices, random) -> None:
    for place in np.ndindex(label.shape):
        label[place] = random.choice((0, 0, 1, 2, IGNORED))
    kept, left = keep_slices(label, slices), leave_out_slices(label, slices)
    assert kept.dtype == left.dtype == np.uint8
    chosen = annotated_voxels(label, slices)
    np.testing.assert_array_equal(np.where(chosen, kept, left), label)
    assert (kept[~chosen] == IGNORED).all() and (left[chosen] == IGNORED).all()
    # Whole planes, at most as many as asked for, and at least one of each orientation asked for.
    for axis, count in enumerate(slices):
        others = tuple(other for other in range(3) if other != axis)
        alone = [count if other == axis else 0 for other in range(3)]
        planes = annotated_voxels(label, alone).any(axis=others)
        assert min(count, 1) <= planes.sum() <= count
