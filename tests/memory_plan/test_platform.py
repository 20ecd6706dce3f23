import jax
import pytest

from invseg_jax.devices import mesh
from invseg_jax.errors import UserError
from invseg_jax.memory_plan import platform as platforms
from invseg_jax.memory_plan.platform import Platform


@pytest.mark.parametrize("batch", [1, 2, 3, 4])
def test_devices_here_are_taken_as_train_takes_them(batch: int):
    platform = Platform("cpu")
    assert platform.mesh(0, batch) == mesh.make_mesh(0, batch)
    assert Platform().name == platform.name == "cpu"
    assert platform.shared


def test_other_devices_are_spread_over_in_the_same_way(monkeypatch: pytest.MonkeyPatch):
    platform = Platform("cpu")
    # As if they were not the default ones: a TPU's.
    monkeypatch.setattr(jax, "devices", lambda: [])
    for batch, wanted, size in ((2, 0, 2), (3, 0, 1), (4, 0, 2), (4, 1, 1), (2, 2, 2)):
        made = platform.mesh(wanted, batch)
        assert made.size == size
        assert (made.axis_names, made.axis_types) == (("data",), (jax.sharding.AxisType.Auto,))
    for batch, wanted, said in (
        (3, 2, "cannot be spread evenly over 2 devices"),
        (4, 4, "config.devices is 4, but there are 2"),
        (0, 0, "a batch of at least 1"),
    ):
        with pytest.raises(UserError, match=said):
            platform.mesh(wanted, batch)


def test_memory_is_shared_among_a_cpu_s_devices_alone():
    platform = Platform("cpu")
    assert platform.shared and platform.quick is not None
    platform.devices = [type("Chip", (), {"platform": "tpu"})]
    assert not platform.shared and platform.quick is None


@pytest.mark.parametrize(
    "name, topology, said",
    [
        ("tpu-v7", None, "'tpu-v7': there are cpu, gpu, tpu-v4, tpu-v5e, tpu-v5p, tpu-v6e"),
        ("CPU", None, "there are cpu"),
        ("cpu", "2x2", "--topology is for a TPU"),
        (None, "2x2", "--topology is for a TPU"),
        ("gpu", None, "--platform gpu: JAX finds no gpu"),
    ],
)
def test_what_is_not_there_is_an_error_of_one_line(name, topology, said: str):
    with pytest.raises(UserError, match=said) as caught:
        Platform(name, topology)
    assert "\n" not in str(caught.value)


def test_the_tpu_compiler_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(platforms.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        UserError, match=r"libtpu .*own terms.* pip install .jax\[tpu\]==0"
    ) as caught:
        Platform("tpu-v5e")
    assert "\n" not in str(caught.value)


@pytest.mark.tpu_backend
@pytest.mark.parametrize(
    "name, topology, chips",
    [
        ("tpu-v5e", None, 1),
        ("tpu-v5e", "2x2", 4),
        ("tpu-v6e", "2x4", 8),
        ("tpu-v5p", "2x2", 4),
        ("tpu-v5p", "2x2x2", 8),
    ],
)
def test_slices(name: str, topology: str | None, chips: int):
    pytest.importorskip("libtpu")
    platform = Platform(name, topology)
    assert len(platform.devices) == chips
    assert {device.platform for device in platform.devices} == {"tpu"}
    assert platform.mesh(0, 8).size == chips


@pytest.mark.tpu_backend
@pytest.mark.parametrize("topology", ["3x3", "2", "0x2", "2x", "many", "2x2x2x2"])
def test_slices_that_are_not_made(topology: str):
    pytest.importorskip("libtpu")
    with pytest.raises(UserError, match=f"--topology '?{topology}") as caught:
        Platform("tpu-v5e", topology)
    assert "\n" not in str(caught.value)
