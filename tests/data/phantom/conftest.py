"""The atlas and three subjects on a coarse grid, made once for all tests of the phantom."""

from collections.abc import Sequence

import numpy as np
import pytest

from invseg_jax.data.phantom.atlas import Atlas, load_atlas
from invseg_jax.data.phantom.scan import simulate_subject


@pytest.fixture(scope="session")
def atlas() -> Atlas:
    return load_atlas()


@pytest.fixture(scope="session")
def spacing() -> float:
    """Of `subjects`, mm."""
    return 3.0


@pytest.fixture(scope="session")
def subjects(atlas: Atlas, spacing: float) -> Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """T1, T2 and classes of subjects 1 to 3 of seed 0."""
    return [simulate_subject(atlas, 0, number, spacing) for number in (1, 2, 3)]
