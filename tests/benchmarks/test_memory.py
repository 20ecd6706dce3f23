import importlib.util

import jax
import pytest

from invseg_jax.benchmarks.alternatives import Group, Way
from invseg_jax.benchmarks.compiled import temporary_bytes
from invseg_jax.benchmarks.subjects import Subject
from invseg_jax.devices.topology import tpu_devices
from invseg_jax.layers.execution import Execution

WAYS = [
    "plain",
    "remat",
    "sqrt-remat",
    "plain, our branches",
    "reversible",
    "reversible, fixed",
]


def check(table, bounds, depths):
    """The rows of a table by depth, and all that is computed from them."""
    rows = {row["candidate"]: row for row in table["rows"]}
    assert list(rows) == WAYS
    first, last = (f"mib_{depth}" for depth in (depths[0], depths[-1]))
    for row in rows.values():
        assert all(row[f"mib_{depth}"] > 0 for depth in depths)
        assert row["growth"] == pytest.approx(row[last] / row[first] - 1)
        assert row["share"] == pytest.approx(rows["reversible"][last] / row[last])
    said = bounds(table)
    for name in ("reversible", "reversible, fixed"):
        assert said[f"growth of {name}"] == pytest.approx(rows[name]["growth"])
        for other in ("plain", "remat", "sqrt-remat"):
            ratio = rows[name][last] / rows[other][last]
            assert said[f"{name} / {other}"] == pytest.approx(ratio)
    return rows


def test_figures_and_bounds(measure, bounds, monkeypatch):
    asked = []

    def some_bytes(subject, way, device):
        asked.append((subject, way))
        size = subject.couplings + (way.group.size if way.group else 5)
        return (size + 20 * way.ordinary) << 20

    monkeypatch.setattr("invseg_jax.benchmarks.memory.temporary_bytes", some_bytes)
    tables, out = measure("memory", "--subjects", "chain", "network", "--depths", "15", "1")
    chain, network, published = tables
    assert "chain: temporary bytes of one gradient at 6^3 voxels x 4 channels" in chain["title"]
    assert "FullInvRes: temporary bytes of one gradient at 8^3 voxels x 4-8" in network["title"]
    rows = check(chain, bounds, (1, 15))
    check(network, bounds, (1, 15))
    # Those of both sides in the one, a side in the other.
    assert {subject.couplings for subject, _ in asked if subject.kind == "chain"} == {2, 30}
    assert {subject.couplings for subject, _ in asked if subject.kind != "chain"} == {1, 15}
    assert (rows["plain"]["mib_1"], rows["plain"]["mib_15"]) == (27, 55)
    assert rows["plain"]["activations"] == pytest.approx((55 << 20) / (4 * 6**3 * 4))
    # The best of its group sizes at each depth.
    assert (rows["sqrt-remat"]["mib_1"], rows["sqrt-remat"]["mib_15"]) == (23, 55)
    assert rows["sqrt-remat"]["remark"] == "checkpoints of 5"
    assert rows["reversible, fixed"]["mib_15"] == 35
    assert {way.execution.loop for _, way in asked} == {"scan"}
    assert published["rows"][-1]["growth"] == pytest.approx(2.06 / 0.85 - 1)
    assert "Published, not measured here" in out


def test_what_does_not_fit_is_a_result(measure, bounds, monkeypatch):
    def some_bytes(subject, way, device):
        if way.execution.memory == "plain" and way.group is None and subject.couplings > 2:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: 119 GiB")
        return subject.couplings << 20

    monkeypatch.setattr("invseg_jax.benchmarks.memory.temporary_bytes", some_bytes)
    (chain, _), _ = measure("memory", "--subjects", "chain", "--depths", "1", "15")
    rows = {row["candidate"]: row for row in chain["rows"]}
    assert list(rows) == WAYS
    assert rows["plain"] == {"candidate": "plain", "mib_1": 2, "remark": "15: out of memory"}
    assert rows["remat"]["share"] == 1
    said = bounds(chain)
    assert "reversible / remat" in said and "reversible / plain" not in said


@pytest.mark.slow
def test_chain(measure, bounds):
    (chain, _), _ = measure("memory", "--subjects", "chain")
    check(chain, bounds, (1, 2))


@pytest.mark.slow
def test_network(measure, bounds):
    (network, _), _ = measure("memory", "--subjects", "network", "--depths", "1", "2")
    assert network["title"].startswith("FullInvRes: temporary bytes of one gradient at 8^3 voxels")
    check(network, bounds, (1, 2))


def test_the_order_of_the_ways():
    """At a depth where all of them differ, on volumes that outweigh the parameters."""
    subject = Subject("chain", 16, (4,), 12)

    def size(memory, ordinary=False, group=None):
        execution = Execution(memory=memory, loop="scan")
        return temporary_bytes(subject, Way(execution, ordinary, group))

    root = size("plain", True, Group(4, True))
    assert size("reversible") < root < size("remat", True) < size("plain", True)


on_tpu = pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="no libtpu here")


@pytest.mark.slow
@pytest.mark.tpu_backend
@on_tpu
def test_for_a_tpu_that_is_not_here(measure):
    arguments = ["--subjects", "chain", "--platform", "tpu-v5e", "--chain-size", "64"]
    (chain, *_), _ = measure("memory", *arguments, "--chain-channels", "32", "--depths", "2", "30")
    assert chain["title"].endswith("for tpu")
    assert [row["candidate"] for row in chain["rows"]] == WAYS
    mib = {row["candidate"]: row["mib_30"] for row in chain["rows"]}
    for name in ("reversible", "reversible, fixed"):
        assert mib[name] < 4 * 32  # activations
        assert mib[name] < 0.05 * mib["plain"]
        assert mib[name] < 0.12 * mib["remat"]
        assert mib[name] < 0.40 * mib["sqrt-remat"]


@pytest.mark.tpu_backend
@on_tpu
def test_on_a_tpu_a_volume_larger_than_the_chip_s_own_memory_is_flat_too():
    device = tpu_devices("tpu-v5e")[0]
    sizes = []
    for couplings in (4, 60):
        subject = Subject("chain", 128, (32,), couplings)
        sizes.append(temporary_bytes(subject, Way(Execution()), device))
        assert sizes[-1] < 4 * subject.activation
    assert abs(sizes[1] / sizes[0] - 1) < 0.02
