import importlib.util
import os

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import SingleDeviceSharding

from invseg_jax.devices.topology import TPU_TOPOLOGIES, tpu_devices
from invseg_jax.errors import UserError

libtpu = pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="no libtpu here")


@pytest.fixture(autouse=True)
def environment():
    """What the compiler needs is left in the environment; not beyond a test."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


def test_an_unknown_tpu_is_refused():
    with pytest.raises(UserError, match=r"^no TPU is called 'tpu-v1'; there are tpu-v4, tpu-v5e, "):
        tpu_devices("tpu-v1")


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is not None, reason="libtpu is here")
def test_without_the_compiler_it_says_what_to_install():
    with pytest.raises(UserError) as caught:
        tpu_devices("tpu-v5e")
    said = str(caught.value)
    assert "\n" not in said
    assert f"pip install libtpu, in the version that jax[tpu] {jax.__version__} names" in said


@libtpu
@pytest.mark.tpu_backend
@pytest.mark.parametrize("platform", TPU_TOPOLOGIES)
def test_a_program_is_compiled_for_a_tpu_that_is_not_here(platform):
    devices = tpu_devices(platform)
    # Four chips; those of v4 count as two devices each.
    assert len(devices) in (4, 8) and {device.platform for device in devices} == {"tpu"}
    x = jax.ShapeDtypeStruct((8, 100), jnp.float32, sharding=SingleDeviceSharding(devices[0]))
    compiled = jax.jit(lambda x: x @ x.T).lower(x).compile()
    # 100 numbers take up 128 there.
    memory = compiled.memory_analysis()
    assert memory is not None and memory.argument_size_in_bytes == 8 * 128 * 4
