import functools
import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from invseg_jax.errors import UserError
from invseg_jax.training.profile import Profile, parse_window

PHASES = ("wait for data", "place on devices", "start step")


def test_a_window_is_the_steps_from_start_to_before_stop():
    assert parse_window("2:5", 10) == range(2, 5)
    assert parse_window("0:10", 10) == range(10)
    assert not parse_window(None, 10)


@pytest.mark.parametrize(
    "text, said",
    [
        ("5:2", "is empty; START must be less than STOP"),
        ("3:3", "is empty"),
        ("a:b", "START:STOP"),
        ("4", "START:STOP"),
        ("", "START:STOP"),
        ("1:2:3", "START:STOP"),
        ("-1:2", "START:STOP"),
        (" 1:2", "START:STOP"),
        ("1:²", "START:STOP"),
        ("2:11", "beyond the run's 10 steps; STOP is at most 10"),
        ("10:12", "beyond the run's 10 steps"),
    ],
)
def test_a_bad_window_is_one_line(text: str, said: str):
    with pytest.raises(UserError) as caught:
        parse_window(text, 10)
    message = str(caught.value)
    assert said in message
    assert "--profile" in message and text in message
    assert "\n" not in message


def loop(profiling: Profile, steps: range, fail_at: int | None = None) -> None:
    """A training loop in miniature: a donated state, a batch."""

    @functools.partial(jax.jit, donate_argnums=0)
    def take_step(state, batch):
        return state + batch @ batch

    state = jnp.zeros((300, 300))
    with profiling:
        for number in steps:
            with profiling.step(number):
                with profiling.phase(PHASES[0]):
                    batch = np.ones((300, 300), np.float32)
                with profiling.phase(PHASES[1]):
                    batch = jnp.asarray(batch)
                if number == fail_at:
                    raise ZeroDivisionError
                with profiling.phase(PHASES[2]):
                    state = take_step(state, batch)


def traces(folder: Path) -> list[list[dict[str, Any]]]:
    """The complete events of each trace in a folder."""
    files = sorted(folder.glob("plugins/profile/*/*.trace.json.gz"))
    read = [json.loads(gzip.decompress(file.read_bytes()))["traceEvents"] for file in files]
    return [[event for event in events if event.get("ph") == "X"] for events in read]


def traced_steps(events: list[dict[str, Any]]) -> list[int]:
    return sorted(int(event["args"]["step_num"]) for event in events if event["name"] == "train")


def test_the_window_is_traced_with_its_steps_and_their_phases(tmp_path: Path):
    lines: list[str] = []
    loop(Profile(range(2, 4), tmp_path / "profile", lines.append), range(6))
    (events,) = traces(tmp_path / "profile")
    assert traced_steps(events) == [2, 3]
    steps = [event for event in events if event["name"] == "train"]
    for phase in (*PHASES, "devices at work"):
        named = [event for event in events if event["name"] == phase]
        assert len(named) == 2, phase
        for part, step in zip(named, sorted(steps, key=lambda step: step["ts"]), strict=True):
            assert step["tid"] == part["tid"]
            assert step["ts"] <= part["ts"]
            assert part["ts"] + part["dur"] <= step["ts"] + step["dur"] + 1e-3
    # What the devices did in the last step is there as well, since it is waited for.
    named = [event.get("args", {}) for event in events]
    assert len({a["run_id"] for a in named if a.get("hlo_module") == "jit_take_step"}) == 2
    # No Python calls, which would hide all this.
    assert not [e for e in events if e["name"].startswith("$")]
    assert len(lines) == 3
    said = "\n".join(lines)
    assert "steps 2 to 3" in said
    assert f"xprof --port=8791 {tmp_path / 'profile'}" in said
    assert str(tmp_path / "profile" / "memory.prof") in said


def test_the_memory_profile_holds_the_state_and_the_batch(tmp_path: Path):
    loop(Profile(range(1, 2), tmp_path / "profile", lambda text: None), range(3))
    content = gzip.decompress((tmp_path / "profile" / "memory.prof").read_bytes())
    # A pprof file names in its string table the kinds of what it counts, and who allocated.
    assert b"space" in content and b"buffer" in content
    assert b"test_profile.py" in content


def test_nothing_is_written_without_a_window(tmp_path: Path):
    loop(Profile(range(0), tmp_path / "profile", pytest.fail), range(3))
    assert not list(tmp_path.iterdir())


def test_a_loop_that_ends_inside_the_window_closes_the_trace(tmp_path: Path):
    lines: list[str] = []
    loop(Profile(range(1, 9), tmp_path / "profile", lines.append), range(3))
    assert "steps 1 to 2" in lines[0]
    assert [traced_steps(events) for events in traces(tmp_path / "profile")] == [[1, 2]]
    assert (tmp_path / "profile" / "memory.prof").stat().st_size > 100
    # And JAX would take another one.
    loop(Profile(range(1, 2), tmp_path / "other", lines.append), range(3))
    assert len(traces(tmp_path / "other")) == 1


def test_a_loop_that_begins_inside_the_window_traces_the_rest(tmp_path: Path):
    lines: list[str] = []
    loop(Profile(range(1, 5), tmp_path / "profile", lines.append, first=3), range(3, 7))
    assert [traced_steps(events) for events in traces(tmp_path / "profile")] == [[3, 4]]
    assert "steps 3 to 4" in lines[0]


def test_a_loop_that_begins_behind_the_window_says_so(tmp_path: Path):
    lines: list[str] = []
    loop(Profile(range(1, 3), tmp_path / "profile", lines.append, first=3), range(3, 6))
    assert lines == ["profile: step 2 is behind already; nothing is traced"]
    assert not list(tmp_path.iterdir())


def test_an_error_in_the_window_goes_through_and_the_trace_is_closed(tmp_path: Path):
    with pytest.raises(ZeroDivisionError):
        loop(Profile(range(1, 5), tmp_path / "profile", lambda text: None), range(6), fail_at=2)
    assert len(traces(tmp_path / "profile")) == 1


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path):
    (tmp_path / "profile").write_text("a file")
    with pytest.raises(UserError, match="cannot write to .*profile: File exists"):
        loop(Profile(range(1, 5), tmp_path / "profile", pytest.fail), range(3))


def test_a_profile_that_cannot_be_written_does_not_stop_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(path: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(jax.profiler, "save_device_memory_profile", full)
    lines: list[str] = []
    loop(Profile(range(1, 2), tmp_path / "profile", lines.append), range(3))
    (said,) = lines
    assert "cannot be written" in said and "No space left" in said
    assert len(traces(tmp_path / "profile")) == 1


def test_the_step_is_named_in_parts(repository: Path):
    # A process of its own: this needs no devices, and the names only show in the lowered text.
    code = """
import jax, re
from flax import nnx
from invseg_jax.experiment import base_experiment
from invseg_jax.models import UNet3DSettings, build
from invseg_jax.segmentation.objective import SegmentationObjective
from invseg_jax.training.optimiser import first_state, make_optimiser
from invseg_jax.training.step import make_step
experiment = base_experiment().changed({"data.patch": (8, 8, 8)})
settings = UNet3DSettings(channels=(4, 8), auxiliary=0)
graph, params = nnx.split(build("UNet3D", 1, 2, settings, 0))
objective = SegmentationObjective.build(experiment, graph, 1)
optimiser = make_optimiser(experiment.optimiser, 10)
step = make_step(objective.loss, optimiser, average=0.9)
state = jax.eval_shape(lambda: first_state(params, optimiser, 0))
text = jax.jit(step).lower(state, dict(objective.batch)).as_text(debug_info=True)
for name in ("jvp(augmentation)", "jvp(network)", "jvp(loss)", "transpose(jvp(network))",
             "optimiser", "average"):
    assert re.search(r'"jit\\(step\\)/' + re.escape(name) + "/", text), name
"""
    subprocess.run([sys.executable, "-c", code], cwd=repository, check=True)
