import numpy as np
import pytest

from invseg_jax.benchmarks.drift import measure as measure_one
from invseg_jax.benchmarks.drift import relative_error
from invseg_jax.benchmarks.subjects import Subject


def check(table, bounds, depths):
    rows = table["rows"]
    assert [(row["couplings"], row["stream"], row["precision"]) for row in rows] == [
        (depth, stream, precision)
        for depth in depths
        for stream in ("float32", "fixed")
        for precision in ("float32", "bfloat16")
    ]
    for row in rows:
        if row["stream"] == "fixed":
            assert (row["input_error"], row["exact"]) == (0.0, 0)
        assert 0.0 <= row["input_error"] < 1e-2
        # Branches in bfloat16 differentiate what they computed.
        assert 0.0 <= row["gradient_error"] < (1e-4 if row["precision"] == "float32" else 0.1)
    assert max(row["input_error"] for row in rows if row["stream"] == "float32") > 0.0
    said = bounds(table)
    assert said.pop("greatest error of the input in fixed point") == 0.0
    # Plain autodiff rounds the same sums in the same places: what is left is float32's own error.
    assert said.keys() == {f"of the gradient, branches in {p}" for p in ("float32", "bfloat16")}
    assert said["of the gradient, branches in float32"] < 1e-5
    assert said["of the gradient, branches in bfloat16"] < 1e-3


@pytest.mark.parametrize(("stream", "precision"), [("float32", "float32"), ("fixed", "bfloat16")])
def test_only_fixed_point_comes_back_bit_for_bit(stream, precision):
    row = measure_one(Subject("chain", 3, (4,), 5), stream, precision)
    assert (row["couplings"], row["stream"], row["precision"]) == (5, stream, precision)
    assert (row["input_error"] == 0.0) == (row["exact"] == 0) == (stream == "fixed")
    assert row["input_error"] < 1e-5 and row["gradient_error"] < 1e-2


@pytest.mark.slow
def test_chain(measure, bounds):
    (table,), out = measure("drift", "--subjects", "chain", "--depths", "3")
    check(table, bounds, (3,))
    assert "greatest error of the input in fixed point: 0.0e+00" in out


@pytest.mark.slow
def test_network(measure, bounds):
    (table,), _ = measure("drift", "--subjects", "network", "--depths", "1", "2")
    check(table, bounds, (1, 2))


def test_relative_error():
    wanted = np.array([3.0, 4.0])
    assert relative_error(wanted, wanted) == 0.0
    assert relative_error(wanted + np.array([0.0, 0.5]), wanted) == pytest.approx(0.1)
