"""The tissue maps: their ranges, their anatomy, and what is said without the template."""

import importlib.util
import itertools
from dataclasses import fields

import numpy as np
import pytest
from scipy import ndimage

from invseg_jax.data.phantom.atlas import load_atlas, sample
from invseg_jax.errors import UserError


def test_maps_are_shares_of_one_brain_with_an_empty_border(atlas):
    for field in fields(atlas):
        volume = getattr(atlas, field.name)
        assert volume.shape == atlas.brain.shape and volume.dtype == np.float32
        low = -1 if field.name == "texture" else -1e-6
        assert low <= volume.min() and volume.max() <= 1 + 1e-6
    assert (atlas.grey + atlas.white <= atlas.brain + 1e-6).all()
    assert not atlas.brain[[0, -1]].any()
    assert not atlas.brain[:, [0, -1]].any()
    assert not atlas.brain[:, :, [0, -1]].any()
    np.testing.assert_array_equal(atlas.centre.ravel() * 2 + 1, atlas.brain.shape)


def test_volumes_are_those_of_an_adult(atlas):
    litres = {name: getattr(atlas, name).sum() / 1e6 for name in ("brain", "grey", "white")}
    assert 1.5 < litres["brain"] < 2.3
    assert 0.7 < litres["grey"] < 1.1
    assert 0.4 < litres["white"] < 0.8


def test_myelination_comes_first_in_the_centre_and_at_the_back(atlas):
    half = np.s_[::2, ::2, ::2]  # 2 mm
    white = (atlas.white > 0.8)[half]
    depth = np.asarray(ndimage.distance_transform_edt((atlas.brain > 0.5)[half]))[white]
    myelin = atlas.myelin[half][white]
    assert myelin[depth > 15].mean() > myelin[depth < 5].mean() + 0.2
    back = np.nonzero(white)[1] < white.shape[1] // 2  # y runs from back to front
    assert myelin[back].mean() > myelin[~back].mean()


def test_sampling_against_the_trilinear_formula():
    rng = np.random.default_rng(0)
    volume = rng.random((4, 5, 6), np.float32)
    places = rng.uniform(0, 3, (3, 20))
    whole = places.astype(int)
    expected = np.zeros(20)
    for corner in itertools.product((0, 1), repeat=3):
        step = np.array(corner)[:, None]
        weight = np.abs(1 - step - (places - whole)).prod(axis=0)
        expected += weight * volume[tuple(whole + step)]
    np.testing.assert_allclose(sample(volume, places), expected, rtol=1e-5)
    assert sample(volume, np.array([[-9.0], [0.0], [0.0]])) == 0


def test_without_nilearn_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'pip install "invseg_jax\[demo\]".*--data'):
        load_atlas()
