import os
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from invseg_jax.devices import compiled_memory as module
from invseg_jax.devices import mesh
from invseg_jax.devices.compiled_memory import compiled_bytes, copies, device_bytes, shortage

ROWS = 64


@pytest.fixture(scope="module")
def doubled():
    """A program that needs a temporary, on one and on two devices."""

    def compile_for(count: int):
        devices = mesh.make_mesh(count, ROWS)
        x = jax.ShapeDtypeStruct((ROWS, 256), jnp.float32, sharding=mesh.over_batch(devices))
        program = jax.jit(lambda x: jnp.sort(jnp.sin(x) @ jnp.cos(x.T), axis=0).sum())
        return program.lower(x).compile(), devices

    return compile_for


@pytest.mark.parametrize("count", [1, 2])
def test_bytes_are_those_of_the_whole_memory(doubled, count: int):
    compiled, devices = doubled(count)
    memory = compiled.memory_analysis()
    one = memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes
    assert memory.temp_size_in_bytes > 0
    assert copies(devices) == count
    assert compiled_bytes(compiled, devices) == count * one
    assert module.argument_bytes(compiled, devices) == ROWS * 256 * 4


def fake(platform: str, **sizes) -> tuple:
    """A program and a mesh of devices that are not here."""
    memory = dict.fromkeys(("argument", "output", "temp", "alias"), 0) | sizes
    analysis = SimpleNamespace(
        **{f"{name}_size_in_bytes": size for name, size in memory.items() if name != "peak"},
        peak_memory_in_bytes=sizes.get("peak", 0),
    )
    device = SimpleNamespace(
        platform=platform, device_kind="X100", memory_stats=lambda: {"bytes_limit": 1 << 30}
    )
    devices = SimpleNamespace(devices=np.array([device] * 4), local_devices=[device] * 4)
    return SimpleNamespace(memory_analysis=lambda: analysis), devices


def test_accelerators_have_a_memory_each():
    program, devices = fake("gpu", argument=100, output=70, temp=1000, alias=60, peak=5000)
    assert compiled_bytes(program, devices) == 1110
    program, devices = fake("tpu", argument=100, output=70, temp=1000, alias=60, peak=5000)
    assert compiled_bytes(program, devices) == 5000


def test_a_shortage_is_told_in_one_line():
    assert shortage(*fake("gpu", temp=1 << 30)) is None
    said = shortage(*fake("gpu", temp=5 << 30))
    assert said == (
        "warning: the training step takes 5.00 GiB and X100 has 1.00 GiB; python -m "
        "invseg_jax.plan --config CONFIG --memory 1024MiB finds what fits"
    )


def test_what_lies_on_a_cpu_already_is_not_needed_again(monkeypatch: pytest.MonkeyPatch, doubled):
    compiled, devices = doubled(2)
    need = compiled_bytes(compiled, devices)
    there = module.argument_bytes(compiled, devices)
    monkeypatch.setattr(module, "available", lambda: need - there)
    assert shortage(compiled, devices) is None
    monkeypatch.setattr(module, "available", lambda: need - there - 1)
    assert shortage(compiled, devices) is not None
    monkeypatch.setattr(module, "available", lambda: None)
    assert shortage(compiled, devices) is None


def test_the_free_memory_of_this_machine():
    free = device_bytes(jax.devices()[0])
    assert free is not None
    assert 0 < free <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
