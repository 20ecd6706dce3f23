"""Outliers are compared with the definition: how much of the variance a voxel makes up."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from invseg_jax.data.prepare.outliers import outliers

Array = np.ndarray


def found(channel: Array) -> list[tuple[int, int, int]]:
    return outliers(channel, float(channel.min()), float(channel.max()))


def share(channel: Array, place: tuple[int, int, int]) -> float:
    """Of the variance that one voxel makes up, in Python's own numbers of any size."""
    values = [int(value) for value in channel.reshape(-1)]
    count, total = len(values), sum(values)
    squares = [(count * value - total) ** 2 for value in values]
    return squares[int(np.ravel_multi_index(place, channel.shape))] / sum(squares)


@pytest.mark.parametrize("value", [3e38, -3e38, 1e20, 1e6])
@pytest.mark.parametrize("shape", [(9, 8, 7), (40, 50, 30)])
@pytest.mark.parametrize("order", ["C", "F", "turned"])
def test_one_voxel_among_ordinary_ones(
    rng: np.random.Generator, value: float, shape: tuple[int, int, int], order: str
) -> None:
    channel = rng.integers(0, 300, shape).astype(np.float32)
    for _ in range(5):
        place = tuple(int(rng.integers(0, n)) for n in shape)
        damaged = channel.copy()
        damaged[place] = value
        if order == "turned":
            damaged, place = damaged.transpose(1, 2, 0), (*place[1:], place[0])
        else:
            damaged = np.asarray(damaged, order=order)  # pyright: ignore
        assert found(damaged) == [place]
    assert found(channel) == []


@given(st.integers(0, 1 << 20), st.integers(100, 300))
def test_the_limit_is_that_of_the_definition(value: int, spread: int) -> None:
    rng = np.random.default_rng(spread)
    channel = rng.integers(0, spread, (9, 8, 7)).astype(np.int32)
    channel[3, 4, 5] = value
    part = share(channel, (3, 4, 5))
    assert found(channel) == ([(3, 4, 5)] if part >= 0.99 else [])


def test_a_few_are_found_together_and_many_are_a_structure(rng: np.random.Generator) -> None:
    channel = rng.normal(100, 15, (30, 30, 30)).astype(np.float32)
    channel[0, 0, :3] = (2e38, 3e38, -1e38)
    assert found(channel) == [(0, 0, 1), (0, 0, 0), (0, 0, 2)]
    channel[0, 0, :9] = 3e38
    assert found(channel) == []


@pytest.mark.parametrize(
    "make",
    [
        lambda rng: np.zeros((20, 20, 20), np.float32),
        lambda rng: np.full((20, 20, 20), 7, np.int16),
        lambda rng: (rng.random((20, 20, 20)) < 0.002).astype(np.uint8),
        lambda rng: rng.lognormal(0, 2, (20, 20, 20)).astype(np.float32),
        lambda rng: np.array([[[0.0, 1.0]]], np.float32),
    ],
)
def test_images_without(rng: np.random.Generator, make: Callable[..., Array]) -> None:
    assert found(make(rng)) == []


def test_all_values_of_64_bits() -> None:
    channel = np.zeros((10, 10, 10), np.int64)
    channel[1, 2, 3] = np.iinfo(np.int64).min
    assert found(channel) == [(1, 2, 3)]
    assert found(channel.astype(np.uint64)) == [(1, 2, 3)]
