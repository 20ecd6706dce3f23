import time

import jax.numpy as jnp

from invseg_jax.benchmarks.timing import alternate, medians, timed


def test_candidates_take_turns_and_the_first_round_does_not_count():
    order = []

    def run(name, values):
        values = iter(values)

        def next_value() -> float:
            order.append(name)
            return next(values)

        return next_value

    candidates = {"a": run("a", (100.0, 1.0, 5.0, 2.0)), "b": run("b", (100.0, 4.0, 4.0, 8.0))}
    seconds = alternate(candidates, 3)
    assert order == ["a", "b"] * 4
    assert seconds == {"a": [1.0, 5.0, 2.0], "b": [4.0, 4.0, 8.0]}
    assert medians(seconds) == {"a": 2.0, "b": 4.0}


def test_the_whole_call_is_timed():
    called = []

    def wait(x):
        time.sleep(0.02)
        called.append(x)
        return jnp.ones(3)

    assert timed(wait, 7)() >= 0.02
    assert called == [7]
