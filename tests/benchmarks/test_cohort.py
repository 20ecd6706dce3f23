import numpy as np

from invseg_jax.benchmarks.cohort import SHAPE, SPREAD, write_cohort
from invseg_jax.data.layouts import open_dataset
from invseg_jax.data.prepare.loaded_case import load_case


def test_it_is_an_msd_data_set_of_the_real_ones_sizes(tmp_path):
    dataset = open_dataset("msd", write_cohort(tmp_path / "data", 3))
    assert len(dataset.cases) == 3 and len(dataset.modalities) == 1
    shapes = set()
    for case in dataset.cases:
        loaded = load_case(dataset, case)
        assert loaded.label is not None
        assert np.abs(np.subtract(loaded.label.shape, SHAPE)).max() <= SPREAD
        assert set(np.unique(loaded.label)) == {0, 1, 2}
        # Its classes can be told apart, so that a network has something to learn.
        means = [loaded.image[loaded.label == index].mean() for index in range(3)]
        assert means[0] < means[1] < means[2]
        shapes.add(loaded.label.shape)
    assert len(shapes) > 1
