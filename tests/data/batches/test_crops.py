import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from invseg_jax.data.batches.crops import centred_start, choose_start, crop, crop_label
from invseg_jax.data.layouts.case import IGNORED

triples = st.tuples(*[st.integers(1, 9)] * 3)
starts = st.tuples(*[st.integers(-12, 12)] * 3)


def no_voxels(index):
    return np.empty((0, 3), np.int32)


@given(triples, triples, starts, st.sampled_from([(), (1,), (2,)]))
def test_crop_is_a_window_of_the_zero_padded_volume(shape, patch, start, channels):
    volume = np.arange(1, 1 + np.prod((*shape, *channels)), dtype=np.float32)
    volume = volume.reshape(*shape, *channels)
    margin = 24
    padded = np.pad(volume, [(margin, margin)] * 3 + [(0, 0)] * len(channels))
    window = tuple(slice(margin + s, margin + s + p) for s, p in zip(start, patch, strict=True))
    result = crop(volume, start, patch)
    np.testing.assert_array_equal(result, padded[window])
    assert result.dtype == volume.dtype and result.flags.c_contiguous


def test_around_a_patch_is_background_or_with_unlabelled_voxels_nothing_labelled():
    label = np.ones((4, 4, 4), np.uint8)
    label[0, 0, 0] = IGNORED
    inside = np.zeros((6, 4, 4), bool)
    inside[1:5] = True
    np.testing.assert_array_equal(crop_label(label[::-1], (1, 0, 0), (2, 4, 4)), 1)
    padded = crop_label(label, (-1, 0, 0), (6, 4, 4))
    np.testing.assert_array_equal(padded[inside].reshape(4, 4, 4), label)
    assert (padded[~inside] == IGNORED).all()

    label[0, 0, 0] = 1
    np.testing.assert_array_equal(crop_label(label, (-1, 0, 0), (6, 4, 4)), np.where(inside, 1, 0))


def test_crop_does_not_share_memory_with_the_volume():
    volume = np.ones((4, 4, 4), np.uint8)
    crop(volume, (0, 0, 0), (4, 4, 4))[:] = 0
    assert volume.all()


@given(triples, triples, st.integers(0, 1000), st.sampled_from([0.0, 0.5, 1.0]))
def test_a_patch_lies_in_the_volume_or_the_volume_in_the_patch(shape, patch, seed, foreground):
    rng = np.random.default_rng(seed)
    voxel = rng.integers(0, shape)
    start = choose_start(
        rng, shape, patch, foreground=foreground, classes=2, voxels=lambda _: voxel[None]
    )
    for first, size, extent in zip(start, shape, patch, strict=True):
        if size >= extent:
            assert 0 <= first <= size - extent
        else:
            before, after = -first, first + extent - size
            assert 0 <= before and 0 <= after and abs(before - after) <= 1
    assert all(type(first) is int for first in start)


@given(triples, triples, st.integers(0, 1000))
def test_a_foreground_patch_holds_its_voxel(shape, patch, seed):
    rng = np.random.default_rng(seed)
    voxel = rng.integers(0, shape)
    start = choose_start(rng, shape, patch, foreground=1, classes=2, voxels=lambda _: voxel[None])
    for first, extent, index in zip(start, patch, voxel, strict=True):
        assert first <= index < first + extent
    assert start == centred_start(voxel, shape, patch)


def test_a_voxel_away_from_the_border_becomes_the_centre():
    assert centred_start((20, 30, 25), (50, 60, 50), (5, 8, 7)) == (18, 26, 22)


def test_all_positions_are_reached_equally():
    rng = np.random.default_rng(0)
    counts = np.zeros((3, 2))
    for _ in range(3000):
        d, h, w = choose_start(rng, (6, 5, 2), (4, 4, 2), foreground=0, classes=2, voxels=no_voxels)
        counts[d, h] += 1
        assert w == 0
    assert (np.abs(counts - 500) < 100).all()


def test_classes_are_drawn_equally_however_small():
    voxels = {
        1: np.tile([[5, 5, 5]], (1000, 1)),
        2: np.empty((0, 3), np.int32),
        3: np.array([[14, 14, 14]]),
    }
    rng = np.random.default_rng(0)
    drawn = [
        choose_start(
            rng, (20, 20, 20), (3, 3, 3), foreground=1, classes=4, voxels=voxels.__getitem__
        )
        for _ in range(1000)
    ]
    assert set(drawn) == {(4, 4, 4), (13, 13, 13)}
    assert 400 < drawn.count((4, 4, 4)) < 600


@pytest.mark.parametrize("classes", [1, 3])
def test_without_foreground_any_position_will_do(classes):
    rng = np.random.default_rng(0)
    drawn = {
        choose_start(rng, (9, 4, 4), (4, 4, 4), foreground=1, classes=classes, voxels=no_voxels)
        for _ in range(200)
    }
    assert drawn == {(d, 0, 0) for d in range(6)}


def test_the_share_of_foreground_is_kept():
    rng = np.random.default_rng(1)
    drawn = [
        choose_start(
            rng,
            (101, 101, 101),
            (3, 3, 3),
            foreground=0.3,
            classes=2,
            voxels=lambda _: np.array([[50, 50, 50]]),
        )
        for _ in range(1000)
    ]
    assert 240 < drawn.count((49, 49, 49)) < 360
