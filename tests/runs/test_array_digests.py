import json
import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from invseg_jax.devices import mesh
from invseg_jax.files.json_values import json_checksum
from invseg_jax.runs.array_digests import (
    DamagedDescription,
    Description,
    checksum,
    checksum_of_state,
)

NAMED = {
    "a.kernel": jnp.arange(6, dtype=jnp.float32).reshape(2, 3),
    "a.half": jnp.asarray([1.5, -2.0], jnp.bfloat16),
    "step": jnp.asarray(7, jnp.int32),
    "key": jax.random.key(3),
}


def written() -> dict[str, Any]:
    return Description.of(NAMED, (checksum_of_state({"next_index": 3}),), 7).to_json()


@pytest.mark.parametrize(
    "values",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.asarray([np.nan, np.inf, -0.0, 1e-42], np.float32),
        np.asarray(5, np.int32),
        np.zeros((0, 3), np.float32),
        np.asarray([True, False]),
    ],
)
def test_the_checksum_is_crc32_of_the_bytes(values: np.ndarray):
    assert checksum(jnp.asarray(values)) == zlib.crc32(values.tobytes())


def test_types_that_numpy_has_not():
    half = jnp.asarray([1.0, -2.0], jnp.bfloat16)
    assert checksum(half) == zlib.crc32(bytes([0x80, 0x3F, 0x00, 0xC0]))
    key = jax.random.key(3)
    assert checksum(key) == zlib.crc32(np.asarray(jax.random.key_data(key)).tobytes())


def test_the_same_wherever_the_array_lies():
    array = np.arange(24, dtype=np.float32).reshape(4, 6)
    devices = mesh.make_mesh(2, 2)
    for placement in (mesh.replicated(devices), mesh.over_batch(devices)):
        assert checksum(jax.device_put(array, placement)) == zlib.crc32(array.tobytes())
    # In the order of the axes, not of the memory.
    assert checksum(jnp.asarray(array).T) == zlib.crc32(array.T.tobytes())


def test_an_array_may_be_donated_after_its_checksum():
    double = jax.jit(lambda x: 2 * x, donate_argnums=0)
    array = jnp.ones(1000)
    before = checksum(array)
    doubled = double(array)
    assert array.is_deleted()
    assert checksum(doubled) == zlib.crc32(np.full(1000, 2, np.float32).tobytes()) != before


def test_one_changed_bit_is_another_checksum():
    values = np.arange(8, dtype=np.float32)
    before = checksum(jnp.asarray(values))
    for bit in range(8 * values.nbytes):
        flipped = bytearray(values.tobytes())
        flipped[bit // 8] ^= 1 << bit % 8
        assert checksum(jnp.asarray(np.frombuffer(flipped, np.float32))) != before


def test_what_is_written_is_read():
    found = Description.from_json(json.dumps(written()).encode())
    assert found == Description.of(NAMED, (checksum_of_state({"next_index": 3}),), 7)
    assert found.verifiable and found.step == 7
    assert found.shapes["a.kernel"] == [[2, 3], "float32"]
    assert found.shapes["key"] == [[], "key<fry>"]
    assert found.sums["step"] == zlib.crc32(np.asarray(7, np.int32).tobytes())


def test_every_flipped_bit_is_found():
    text = json.dumps(written()).encode()
    right = Description.from_json(text)
    for at in range(len(text)):
        for bit in range(8):
            flipped = bytearray(text)
            flipped[at] ^= 1 << bit
            try:
                found = Description.from_json(bytes(flipped))
            except DamagedDescription as error:
                assert "\n" not in str(error)
            else:
                assert found == right  # such as a blank that is another blank


@pytest.mark.parametrize("content", ["", "[1]", "null", "{", "{}", '{"a": 3}', "\xff", "[" * 99999])
def test_what_is_no_description_is_refused(content: str):
    with pytest.raises(DamagedDescription):
        Description.from_json(content.encode("latin-1"))


@pytest.mark.parametrize(
    "change",
    [
        *(
            {name: value}
            for name in ("step", "arrays", "batches")
            for value in ("x", [], [{}], 1.5)
        ),
        {"arrays": None},
        {"batches": None},
        *({"arrays": {"a": value}} for value in (None, 3, [], [[2], "float32"], [[2], 3, 4], {})),
        {"arrays": {"a": [["x"], "float32", 5]}},
        {"batches": {"a": 3}},
    ],
)
def test_other_parts_are_damage_also_where_the_checksum_fits(change: dict[str, Any]):
    content = {"format": 2, "step": 7, "arrays": {"a": [[2], "float32", 5]}, "batches": [3]}

    def text(content: dict[str, Any]) -> bytes:
        return json.dumps(content | {"checksum": json_checksum(content)}).encode()

    assert Description.from_json(text(content)).sums == {"a": 5}
    with pytest.raises(DamagedDescription, match="it has not the parts"):
        Description.from_json(text(content | change))


def test_an_earlier_version_had_no_checksums():
    found = Description.from_json(b'{"step": [[], "int32"], "a": [[2, 3], "float32"]}')
    assert found.shapes == {"step": [[], "int32"], "a": [[2, 3], "float32"]}
    assert not found.verifiable and found.step is None


def test_a_later_version_is_said_to_be_one():
    content = {"format": 3, "arrays": {}}
    content["checksum"] = json_checksum(content)
    with pytest.raises(DamagedDescription, match="format 3, which a later version wrote"):
        Description.from_json(json.dumps(content).encode())


def test_the_state_of_an_iterator():
    assert checksum_of_state({"a": 1, "b": [2]}) == checksum_of_state({"b": [2], "a": 1})
    assert checksum_of_state({"a": 1}) != checksum_of_state({"a": 2})
    assert checksum_of_state(b"ab") == zlib.crc32(b"ab")
