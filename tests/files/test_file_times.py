import time

import pytest

from invseg_jax.files.file_times import settled


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [((-3600.0,), True), ((-0.5,), False), ((0.5,), False), ((3600.0,), True)]
    + [((-3600.0, -0.5), False), ((-3600.0, -7200.0), True), ((), True)],
)
def test_a_file_has_settled_when_none_of_its_times_is_near(
    seconds: tuple[float, ...], expected: bool, monkeypatch: pytest.MonkeyPatch
):
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now)
    assert settled(*(now + int(s * 1e9) for s in seconds)) is expected
