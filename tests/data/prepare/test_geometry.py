"""The way to the network's grid and back: exact where nothing is resampled."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import asdict

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invseg_jax.data.prepare.geometry import Geometry, nonzero_box

SHAPES = st.tuples(*[st.integers(1, 7)] * 3)
SPACINGS = st.tuples(*[st.floats(0.4, 5.0)] * 3)


@st.composite
def affines(draw) -> np.ndarray:
    """Axes permuted, mirrored, turned by up to 40 degrees, of any spacing, and shifted."""
    turn = np.eye(3)
    for axes in ((0, 1), (0, 2), (1, 2)):
        angle = np.radians(draw(st.floats(-20, 20)))
        one = np.eye(3)
        one[np.ix_(axes, axes)] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        turn = turn @ one
    signs = draw(st.tuples(*[st.sampled_from((-1.0, 1.0))] * 3))
    affine = np.eye(4)
    affine[:3, :3] = (turn * signs)[:, draw(st.permutations(range(3)))] * draw(SPACINGS)
    affine[:3, 3] = draw(st.tuples(*[st.floats(-200, 200)] * 3))
    return affine


def one_hot(label: np.ndarray, classes: int) -> np.ndarray:
    return (label[..., None] == np.arange(classes)).astype(np.float32)


@settings(max_examples=100)
@given(affines(), SHAPES, st.integers(0, 2), st.integers(0, 2**31))
def test_axes_and_crop_are_undone_exactly(affine, shape, margin: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 4, shape).astype(np.uint8) * (rng.random(shape) < 0.3)
    box = nonzero_box(label[..., None])
    grid = Geometry.plan(shape, affine, canonical=True, crop=box, margin=margin)
    seen = grid.cut(label)
    assert seen.shape == grid.size == grid.extent
    np.testing.assert_array_equal(grid.label_map(one_hot(seen, 4)), label)
    # The network's affine puts its voxels where the file's puts them.
    places = np.indices(shape, np.float64).reshape(3, -1)
    places = (affine[:3, :3] @ places + affine[:3, 3:]).T.reshape(*shape, 3)
    own = np.indices(grid.size).reshape(3, -1)
    expected = grid.network_affine[:3, :3] @ own + grid.network_affine[:3, 3:]
    np.testing.assert_allclose(grid.cut(places).reshape(-1, 3).T, expected, atol=1e-9)


@settings(max_examples=50)
@given(affines(), SHAPES, st.booleans())
def test_left_right_is_the_axis_that_nibabel_calls_so(affine, shape, canonical: bool) -> None:
    grid = Geometry.plan(shape, affine, canonical=canonical)
    codes = nib.aff2axcodes(affine)
    expected = 0 if canonical else next(k for k, code in enumerate(codes) if code in "LR")
    assert grid.left_right == (expected,)
    assert nib.aff2axcodes(grid.network_affine)[expected] in "LR"
    unknown = Geometry.plan(shape, affine, canonical=canonical, oriented=False)
    assert unknown.left_right == (0, 1, 2)


@settings(max_examples=50)
@given(affines(), SHAPES)
def test_the_canonical_frame_is_that_of_nibabel(affine, shape) -> None:
    array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    grid = Geometry.plan(shape, affine, canonical=True)
    expected = nib.as_closest_canonical(nib.Nifti1Image(array, affine))
    np.testing.assert_array_equal(grid.cut(array), expected.get_fdata())
    np.testing.assert_allclose(grid.network_affine, expected.affine, atol=1e-9)
    assert nib.aff2axcodes(grid.network_affine) == ("R", "A", "S")


@settings(max_examples=50)
@given(affines(), SHAPES, SPACINGS)
def test_the_network_s_voxels_have_the_spacing_asked_for(affine, shape, spacing) -> None:
    grid = Geometry.plan(shape, affine, canonical=True, spacing=spacing)
    found = np.linalg.norm(grid.network_affine[:3, :3], axis=0)
    np.testing.assert_allclose(found, spacing, rtol=1e-3)
    middle = [(n - 1) / 2 for n in grid.size], [(n - 1) / 2 for n in shape]
    for affine_, voxel, other in ((grid.network_affine, middle[0], affine @ [*middle[1], 1]),):
        np.testing.assert_allclose(affine_ @ [*voxel, 1], other, atol=1e-6)
    assert grid.label_map(np.ones((*grid.size, 1), np.float32)).shape == shape


@pytest.mark.parametrize("spacing", [(0.5, 0.5, 0.5), (0.8, 1.0, 1.5)])
def test_resampled_and_back(spacing) -> None:
    """An ellipsoid of two classes on an anisotropic, oblique grid."""
    affine = np.array([[0, 0.2, 3.0, 4], [-1.0, 0.1, 0.3, 5], [0.1, 1.1, -0.2, 6], [0, 0, 0, 1]])
    axes = np.meshgrid(*(np.linspace(-1.3, 1.3, n) for n in (31, 33, 14)), indexing="ij")
    radius = np.sqrt(sum(a**2 for a in axes))
    label = np.where(radius < 0.6, 1, np.where(radius < 1.0, 2, 0)).astype(np.uint8)
    grid = Geometry.plan(label.shape, affine, canonical=True, spacing=spacing)
    assert grid.resamples
    places = np.indices(grid.size).reshape(3, -1)
    to_file = np.linalg.inv(affine) @ grid.network_affine
    x, y, z = to_file[:3, :3] @ places + to_file[:3, 3:]
    # What a perfect network would say there.
    shape = np.array(label.shape)[:, None]
    scaled = 2.6 * np.stack([x, y, z]) / (shape - 1) - 1.3
    radius = np.linalg.norm(scaled, axis=0).reshape(grid.size)
    seen = np.where(radius < 0.6, 1, np.where(radius < 1.0, 2, 0))
    back = grid.label_map(one_hot(seen, 3))
    for index in (1, 2):
        both = 2 * ((back == index) & (label == index)).sum()
        assert both / ((back == index).sum() + (label == index).sum()) > 0.93


def test_classes_are_never_all_held_on_the_file_s_grid() -> None:
    """Going back to a grid that is far finer takes one map of it and some planes of numbers."""
    grid = Geometry.plan((160, 160, 160), np.eye(4), spacing=(4, 4, 4))
    probabilities = np.random.default_rng(0).random((*grid.size, 10), np.float32)
    tracemalloc.start()
    try:
        result = grid.label_map(probabilities)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert result.nbytes == 160**3 and set(np.unique(result)) == set(range(10))
    # 160 MiB would be all classes in float32; the planes are 16, twice while they are made.
    assert peak < result.nbytes + (48 << 20)


def test_a_decision_of_one_s_own_is_taken_on_the_file_s_grid(monkeypatch) -> None:
    monkeypatch.setattr(
        "invseg_jax.data.prepare.geometry.SLAB", 2 * 10 * 8 * 2
    )  # numbers of two planes
    grid = Geometry.plan((7, 5, 4), np.diag([2.0, 2, 2, 1]), spacing=(1, 1, 1))
    probabilities = np.zeros((*grid.size, 2), np.float32)
    probabilities[:6, ..., 0], probabilities[..., 1] = 0.9, 0.8
    seen = []

    def both(slab: np.ndarray) -> np.ndarray:
        seen.append(slab.shape)
        return (slab > 0.5).sum(axis=-1)

    result = grid.label_map(probabilities, both)
    assert seen == [(2, 5, 4, 2)] * 3 + [(1, 5, 4, 2)]
    np.testing.assert_array_equal(result[:, 0, 0], [2, 2, 2, 1, 1, 1, 1])
    np.testing.assert_array_equal(grid.label_map(probabilities)[:, 0, 0], [0, 0, 0, 1, 1, 1, 1])


def test_what_is_not_oriented_stays_as_it_is() -> None:
    affine = np.diag([-2.0, 1.0, 1.0, 1.0])[[1, 0, 2, 3]]
    grid = Geometry.plan((3, 4, 5), affine, oriented=False, canonical=True)
    assert grid.axes == (0, 1, 2) and not any(grid.mirrored)
    assert Geometry.plan((3, 4, 5), affine, canonical=True).axes == (1, 0, 2)


def test_spacings_that_differ_by_rounding_are_one() -> None:
    affine = np.diag([1.0000001, 0.9999999, 2.0, 1.0])
    grid = Geometry.plan((5, 5, 5), affine, spacing=(1, 1, 1))
    assert grid.step == (1.0, 1.0, 0.5) and grid.size == (5, 5, 10)
    assert not Geometry.plan((5, 5, 5), affine, spacing=(1, 1, 2)).resamples


def test_boxes() -> None:
    image = np.zeros((6, 5, 4, 2))
    assert nonzero_box(image) == ((0, 0, 0), (6, 5, 4))
    image[2, 1, 3, 1] = -1
    assert nonzero_box(image) == ((2, 1, 3), (1, 1, 1))
    image[4, 3, 0, 0] = 1
    assert nonzero_box(image) == ((2, 1, 0), (3, 3, 4))


def test_travels_through_json() -> None:
    grid = Geometry.plan(
        (6, 5, 4), np.diag([-1.0, 2, 3, 1]), canonical=True, spacing=(1, 1, 1), margin=1
    )
    assert Geometry.from_json(json.loads(json.dumps(asdict(grid)))) == grid


def test_probabilities_of_another_grid_are_refused() -> None:
    grid = Geometry.plan((6, 5, 4), np.eye(4))
    with pytest.raises(ValueError, match=r"\(4, 5, 6, 2\), not \(6, 5, 4\)"):
        grid.label_map(np.zeros((4, 5, 6, 2), np.float32))
