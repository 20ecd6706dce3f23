import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from invseg_jax.data.augment import augment
from invseg_jax.data.augment.intensity import CHANGES
from invseg_jax.data.layouts.case import IGNORED
from invseg_jax.experiment import Augmentation

OFF = Augmentation.off()
PROBABILITIES = [f.name for f in dataclasses.fields(OFF) if f.name.endswith("_probability")]
ALWAYS: dict[str, Any] = dict.fromkeys(PROBABILITIES, 1.0)


@pytest.mark.parametrize("case", ["off", "zero strength", "not drawn"])
def test_nothing_to_do_returns_the_input_bit_for_bit(run, head, everything, case):
    what = {
        "off": OFF,
        "zero strength": Augmentation(
            flip=(0, 0, 0),
            rotation=0,
            scale=(1, 1),
            stretch=0,
            elastic=0,
            noise=(0, 0),
            blur=(0, 0),
            brightness=(1, 1),
            bias_field=(1, 1),
            contrast=(1, 1),
            low_resolution=(1, 1),
            gamma=(1, 1),
            **ALWAYS,
        ),
        # The transforms are compiled, but practically never drawn.
        "not drawn": dataclasses.replace(
            everything, flip=(1e-30,) * 3, **dict.fromkeys(PROBABILITIES, 1e-30)
        ),
    }[case]
    image, label = head()
    new_image, new_label = run(image, label, what, seed=3)
    np.testing.assert_array_equal(new_image, image)
    np.testing.assert_array_equal(new_label, label)


def test_what_cannot_be_drawn_is_not_compiled(head, only):
    image, label = head()

    def operations(what: Augmentation) -> int:
        traced = jax.make_jaxpr(functools.partial(augment, settings=what))
        return str(traced(jax.random.key(0), image, label)).count("\n")

    nothing = operations(OFF)
    still = {"rotation": 0, "stretch": 0, "scale": (1, 1)}
    assert operations(only(affine_probability=1, **still)) == nothing
    assert operations(only(elastic_probability=1, elastic=0)) == nothing
    assert operations(only(affine_probability=1)) > nothing
    assert operations(only(elastic_probability=1)) > nothing
    for name in CHANGES:
        does_nothing = 1.0 if "noise" not in name and name != "blur" else 0.0
        idle = {f"{name}_probability": 1.0, name: (does_nothing, does_nothing)}
        assert operations(only(**idle)) == nothing
        assert operations(only(**{f"{name}_probability": 1.0})) > nothing


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("resampled", [False, True])
def test_flips_are_exact(run, head, only, axis, resampled):
    image, label = head()
    flip = [float(a == axis) for a in range(3)]
    # With a deformation that is compiled but never drawn, they are part of the resampling.
    what = only(flip=flip, elastic_probability=1e-30 if resampled else 0.0)
    new_image, new_label = run(image, label, what)
    np.testing.assert_array_equal(new_image, np.flip(image, axis + 1))
    np.testing.assert_array_equal(new_label, np.flip(label, axis + 1))


def test_each_sample_is_flipped_on_its_own(run, head, only):
    image, label = (np.repeat(a, 32, axis=0) for a in head(1, (3, 4, 5)))
    new_image, _ = run(image, label, only(flip=(0.5, 0.5, 0.5)))
    assert len({sample.tobytes() for sample in new_image}) == 8


@given(
    st.integers(0, 2**31 - 1),
    st.lists(st.integers(0, 100), max_size=4, unique=True),
)
@settings(max_examples=25)
def test_labels_are_never_mixed(run, head, everything, seed, values):
    image, label = head()
    values = [IGNORED, *values]
    label = np.random.default_rng(seed).choice(np.array(values, np.int32), label.shape)
    new_image, new_label = run(image, label, everything, seed)
    assert set(np.unique(new_label)) <= {0, *values}
    assert new_label.dtype == np.int32 and new_label.shape == label.shape
    assert new_image.dtype == np.float32 and new_image.shape == image.shape
    assert np.isfinite(new_image).all()


@pytest.mark.parametrize("shape", [(1, 12, 9), (1, 1, 1)])
def test_one_channel_and_thin_patches(run, head, everything, shape):
    image, label = head(3, shape, 1)
    gentle = dataclasses.replace(everything, rotation=15.0, elastic=0.3)
    new_image, new_label = run(image, label, gentle)
    assert new_image.shape == image.shape and np.isfinite(new_image).all()
    assert set(np.unique(new_label)) <= set(np.unique(label)) | {0}
    assert (new_label != 0).sum() >= 0.5 * (label != 0).sum()


@pytest.mark.parametrize(
    "moves",
    [
        {"affine_probability": 1},
        {"elastic_probability": 1, "elastic_grid": 8},
        {"affine_probability": 1, "elastic_probability": 1, "elastic_grid": 8},
    ],
)
def test_image_and_label_move_together(run, only, moves):
    label = np.zeros((4, 24, 24, 24), np.int32)
    label[:, 4:15, 3:19, 8:21] = 1
    image = label[..., None].astype(np.float32)
    new_image, new_label = run(image, label, only(flip=(0.5, 0.5, 0.5), **moves), seed=5)
    assert not np.array_equal(new_label, label)
    same = (new_image[..., 0] == 0) | (new_image[..., 0] == 1)  # eight equal corners
    np.testing.assert_array_equal(new_image[same][:, 0], new_label[same])
    assert same.mean() > 0.6 and new_label[same].any()
    # Elsewhere the two can differ by rounding at most: a voxel's own share is an eighth or more.
    assert (new_image[new_label == 1] >= 0.124).all()


def test_the_key_decides(run, head, everything):
    image, label = head()
    first = run(image, label, everything, seed=1)
    np.testing.assert_array_equal(run(image, label, everything, seed=1)[0], first[0])
    assert not np.array_equal(run(image, label, everything, seed=2)[0], first[0])


def test_equal_samples_become_different_ones(run, head, everything):
    image, label = (np.repeat(a, 2, axis=0) for a in head(1))
    new_image, new_label = run(image, label, everything)
    assert not np.array_equal(*new_image)
    assert not np.array_equal(*new_label)


def test_a_sharded_batch_needs_no_communication(run, head, everything):
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))
    split = NamedSharding(mesh, PartitionSpec("data"))
    image, label = head(2)
    arrays = jax.device_put(image, split), jax.device_put(label, split)
    key = jax.device_put(jax.random.key(7), NamedSharding(mesh, PartitionSpec()))
    compiled = jax.jit(functools.partial(augment, settings=everything))
    program = compiled.lower(key, *arrays).compile()
    instructions = program.as_text() or ""
    assert "fusion" in instructions
    for collective in ["all-gather", "all-reduce", "all-to-all", "collective-permute"]:
        assert collective not in instructions
    new_image, new_label = program(key, *arrays)
    assert new_image.sharding.is_equivalent_to(split, new_image.ndim)
    expected_image, expected_label = run(image, label, everything, seed=7)
    np.testing.assert_allclose(new_image, expected_image, atol=1e-4)
    assert (np.asarray(new_label) != expected_label).mean() < 1e-3


def test_arrays_that_do_not_belong_together_are_refused(head):
    image, label = head()
    key = jax.random.key(0)
    with pytest.raises(ValueError, match="label"):
        augment(key, jnp.asarray(image), jnp.asarray(label[:, :-1]), settings=OFF)
    with pytest.raises(ValueError, match="int32"):
        augment(key, jnp.asarray(image), jnp.asarray(label, jnp.uint8), settings=OFF)
