"""Mirroring: the mean of flips by hand, one network in the program, and which axes are allowed."""

import importlib
from dataclasses import replace
from functools import partial
from itertools import chain, combinations, product
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from invseg_jax import command
from invseg_jax.data.batches.regions import Regions
from invseg_jax.devices import mesh
from invseg_jax.errors import UserError
from invseg_jax.experiment import Augmentation, Experiment, InferenceSettings, base_experiment
from invseg_jax.inference.mirroring import (
    check_mirror,
    mean_over_mirrors,
    parse_mirror,
    refuse_unlearned,
    warning_of_sides,
)
from invseg_jax.inference.network import as_network, build_model
from invseg_jax.inference.trained_run import DataDescription
from tests.compiling import temporary_bytes

SUBSETS = list(chain.from_iterable(combinations(range(3), k) for k in range(4)))


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def lopsided(x: jax.Array) -> jax.Array:
    """Two outputs a voxel; what lies before it counts otherwise than what lies behind."""
    x = x[..., :1] + 0.5 * jnp.roll(x, 1, 1)[..., :1] - jnp.roll(x, 1, 2)[..., 1:] * x[..., 1:]
    return jax.nn.softmax(jnp.concatenate((x, jnp.sin(jnp.roll(x, 1, 3))), axis=-1))


def by_hand(call: Any, image: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """The mean of what `call` says of each mirror image, mirrored back; the axes come first."""
    results = []
    for flips in product((False, True), repeat=len(axes)):
        along = tuple(axis for axis, flip in zip(axes, flips, strict=True) if flip)
        results.append(np.flip(np.asarray(call(np.flip(image, along))), along))
    return np.mean(results, axis=0)


@pytest.mark.parametrize("axes", SUBSETS)
def test_it_is_the_mean_of_the_flips(axes: tuple[int, ...]):
    x = random(2, 5, 4, 6, 2)
    found = jax.jit(partial(mean_over_mirrors, lopsided, axes=axes))(x)
    expected = by_hand(lopsided, x, tuple(axis + 1 for axis in axes))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    if axes:
        assert np.abs(found - lopsided(jnp.asarray(x))).max() > 0.01


def test_what_is_symmetric_stays_as_it_is():
    def blurred(x: jax.Array) -> jax.Array:
        for axis in (1, 2, 3):
            x = x + 0.25 * (jnp.roll(x, 1, axis) + jnp.roll(x, -1, axis))
        return jax.nn.sigmoid(x)

    x = random(1, 5, 4, 6, 2)
    found = jax.jit(partial(mean_over_mirrors, blurred, axes=(0, 1, 2)))(x)
    np.testing.assert_allclose(found, blurred(jnp.asarray(x)), rtol=1e-5)


def test_memory_does_not_grow_with_the_axes():
    def bytes_of(axes: tuple[int, ...]) -> int:
        x = jax.ShapeDtypeStruct((1, 16, 16, 16, 2), jnp.float32)
        return temporary_bytes(jax.jit(partial(mean_over_mirrors, lopsided, axes=axes)).lower(x))

    volume = 16**3 * 2 * 4
    assert bytes_of((0, 1, 2)) <= bytes_of((0,)) + volume < bytes_of(()) + 6 * volume


def test_a_network_is_evaluated_on_each_mirror_image():
    """One that gives regions, in the middle of its windows alone."""
    experiment = base_experiment("CicekUNet3D").changed(
        {"model.settings.channels": (4, 8), "data.patch": (20, 20, 18)}
    )
    model = nnx.split(build_model(experiment, 2, 3))
    plain = as_network(experiment, *model, 3, mesh.make_mesh(1, 1), Regions.apart(3))
    # As large as what the network gives, so that there is one window.
    image = random(4, 4, 2, 2)
    mirrored = replace(plain, mirrored=(0, 2)).probabilities(image)
    expected = by_hand(plain.probabilities, image, (0, 2))
    np.testing.assert_allclose(mirrored, expected, rtol=1e-4, atol=1e-5)
    assert np.abs(mirrored - plain.probabilities(image)).max() > 1e-3


def test_axes_as_they_are_written():
    assert parse_mirror("0") == (True, False, False)
    assert parse_mirror("2, 0") == (True, False, True)
    assert parse_mirror("0,1,2") == (True, True, True)
    assert parse_mirror("none") == (False, False, False)


@pytest.mark.parametrize("text", ["3", "-1", "0,0", "0,", "", "D", "01", "none,0"])
@pytest.mark.parametrize("name", ["evaluate", "predict"])
def test_a_wrong_axis_is_one_line(name: str, text: str, capsys: pytest.CaptureFixture):
    module = importlib.import_module(f"invseg_jax.{name}")
    arguments = ["--workdir=RUN", *(["--input=A", "--output=B"] if name == "predict" else [])]
    with pytest.raises(SystemExit) as caught:
        command.run(module.main, module.FLAGS, "", [name, *arguments, f"--mirror={text}"])
    assert caught.value.code == 2
    said = capsys.readouterr().err
    module.FLAGS.unparse_flags()
    assert said.count("\n") == 1 and f"--mirror is {text!r}; give axes" in said


def mirrored(*axes: int) -> InferenceSettings:
    return InferenceSettings(mirror=flags(axes))


def flipping(*flip: float) -> Augmentation:
    d, h, w = flip
    return Augmentation(flip=(d, h, w))


def flags(axes: tuple[int, ...]) -> tuple[bool, bool, bool]:
    return 0 in axes, 1 in axes, 2 in axes


@pytest.mark.parametrize("learned", SUBSETS)
@pytest.mark.parametrize("asked", SUBSETS)
def test_axes_that_training_did_not_mirror_are_refused(learned: tuple, asked: tuple):
    augment = flipping(*(0.25 * along for along in flags(learned)))
    run, plain, in_config = Path("RUN"), InferenceSettings(), mirrored(*asked)
    refuse_unlearned(run, augment, plain)
    refuse_unlearned(run, augment, in_config, flags(()))
    if set(asked) <= set(learned):
        refuse_unlearned(run, augment, plain, flags(asked))
        refuse_unlearned(run, augment, in_config)
        check_mirror(augment, in_config)
        return
    axes = ",".join(map(str, learned))
    give = f"give --mirror {axes} or --mirror none" if learned else "give --mirror none"
    with pytest.raises(UserError, match=f"^RUN was trained .* {give}$") as caught:
        refuse_unlearned(run, augment, plain, flags(asked))
    assert f"--mirror {','.join(map(str, asked))} asks for" in str(caught.value)
    with pytest.raises(UserError, match=f"its config.inference.mirror asks for .*; {give}$"):
        refuse_unlearned(run, augment, in_config)
    with pytest.raises(UserError, match="config.inference.mirror asks for .*; take") as caught:
        check_mirror(augment, in_config)
    allowed = set(asked) & set(learned)
    assert str(caught.value).endswith(f"take {flags(tuple(allowed))}")
    check_mirror(augment, mirrored(*allowed))


def test_a_flip_that_is_left_open_allows_every_axis():
    check_mirror(Augmentation(), mirrored(0, 1, 2))
    refuse_unlearned(Path("RUN"), Augmentation(), mirrored(0, 1, 2))


def test_the_refusal_in_words():
    one, none = flipping(0.5, 0.0, 0.0), flipping(0, 0, 0)
    with pytest.raises(UserError) as caught:
        refuse_unlearned(Path("RUN"), one, InferenceSettings(), (True, True, True))
    assert str(caught.value) == (
        "RUN was trained with mirror images along axis 0 alone (config.augment.flip is "
        "(0.5, 0.0, 0.0)), and --mirror 0,1,2 asks for all axes; give --mirror 0 or --mirror none"
    )
    with pytest.raises(UserError) as caught:
        refuse_unlearned(Path("RUN"), none, mirrored(1, 2))
    assert str(caught.value) == (
        "RUN was trained without mirror images (config.augment.flip is (0.0, 0.0, 0.0)), and its "
        "config.inference.mirror asks for axes 1 and 2; give --mirror none"
    )


def trained(*axes: int, canonical: bool = True) -> Experiment:
    """Mirrored along each axis in training, and along these in inference."""
    return base_experiment().changed(
        {
            "augment.flip": (0.5, 0.5, 0.5),
            "inference.mirror": flags(axes),
            "data.preprocess.canonical": canonical,
        }
    )


def test_sides_that_are_mirrored_by_hand_are_told(tmp_path: Path):
    twins = DataDescription(
        "msd", None, ("MR",), ("background", "Kidney (L)", "Kidney (R)"), (0, 1, 2), (), ()
    )
    apart = replace(twins, classes=("background", "anterior", "posterior"))
    warning = warning_of_sides(tmp_path, trained(0, 2), twins)
    assert warning.startswith(f"warning: {tmp_path}: windows are mirrored along axis 0, which is")
    assert "Kidney (L) and Kidney (R)" in warning and "\n" not in warning
    assert warning_of_sides(tmp_path, trained(0, 2), apart) == ""
    assert warning_of_sides(tmp_path, trained(), twins) == ""
    assert warning_of_sides(tmp_path, trained(1, 2), twins) == ""
    # As the files have them, any axis may be it.
    as_stored = trained(1, 2, canonical=False)
    assert "axes 1 and 2" in warning_of_sides(tmp_path, as_stored, twins)
