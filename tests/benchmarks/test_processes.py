import pytest

from invseg_jax import benchmark
from invseg_jax.benchmarks.processes import in_processes

TASK = """
def network(settings):
    if settings.get("broken"):
        raise MemoryError
    peaks = iter(settings["peaks"])
    seconds = iter(settings["seconds"])
    mib = 2**20
    return {
        "baseline": lambda: 10 * mib,
        "build": lambda: None,
        "parameters": lambda: settings["parameters"],
        "step": lambda: next(seconds),
        "peak": lambda: next(peaks) * mib,
    }
"""


@pytest.mark.parametrize("together", [True, False])
def test_rows_and_ratios(tmp_path, monkeypatch, together):
    (tmp_path / "another_task.py").write_text(TASK, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    function = "another_task:network"
    begun = []
    rows = in_processes(
        {
            # A first step and a first round do not count.
            "ours": (function, {"parameters": 5, "peaks": [30], "seconds": [9, 9, 1, 3, 2]}),
            "greedy": (function, {"broken": True}),
            "theirs": (function, {"parameters": 6, "peaks": [60], "seconds": [9, 9, 6, 6, 5]}),
            "late": (function, {"parameters": 7, "peaks": [60], "seconds": [9, 9, 6]}),
        },
        3,
        reference="ours",
        together=together,
        report=begun.append,
    )
    assert begun == ["ours", "greedy", "theirs", "late"]
    ours, greedy, theirs, late = rows
    assert ours == {
        "network": "ours",
        "parameters": 5,
        "before_mib": 10,
        "peak_mib": 30,
        "grown_mib": 20,
        "seconds": 2,
        "peak_ratio": 1,
        "grown_ratio": 1,
        "time_ratio": 1,
    }
    assert greedy == {"network": "greedy", "remark": "out of memory"}
    # One that fails on the way is no reason to lose the others.
    assert late == {"network": "late", "parameters": 7, "before_mib": 10, "remark": "StopIteration"}
    assert (theirs["peak_ratio"], theirs["grown_ratio"], theirs["time_ratio"]) == (2, 2.5, 3)


def test_peers_without_their_packages(capsys, monkeypatch):
    monkeypatch.setattr("invseg_jax.benchmarks.peers.find_spec", lambda name: None)
    assert benchmark.main(["peers", "--quick"]) == 2
    err = capsys.readouterr().err
    assert err == (
        "error: not installed: torch, iunets, memcnn; pip install 'invseg_jax[benchmarks]'\n"
    )


@pytest.mark.slow
def test_peers_are_the_same_network(measure):
    for package in ("torch", "iunets", "memcnn"):
        pytest.importorskip(package)
    (table,), _ = measure("peers", "--couplings", "2")
    rows = {row["network"]: row for row in table["rows"]}
    assert list(rows) == ["ours", "ours, fixed", "iunets", "memcnn"]
    assert not any("remark" in row for row in rows.values())
    # They differ in the weights of the resampling only.
    for name in ("iunets", "memcnn"):
        assert rows[name]["parameters"] == pytest.approx(rows["ours"]["parameters"], rel=0.05)
        assert rows[name]["time_ratio"] == pytest.approx(
            rows[name]["seconds"] / rows["ours"]["seconds"]
        )


@pytest.mark.slow
def test_volume(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("invseg_jax.benchmarks.peers.find_spec", lambda name: None)
    arguments = ["volume", "--quick", "--networks", "partial", "--size", "5", "4", "6"]
    assert benchmark.main(arguments) == 0
    out, err = capsys.readouterr()
    assert "PartialInvRes, channels 4-8, 2 couplings a level and side: 4 x 5 x 4 x 6 voxels" in out
    ways = ["ours, reversible", "ours, reversible, fixed", "ours, remat", "ours, plain"]
    assert err.splitlines() == [f"partial: {way} ..." for way in ways]
    counts = {line.split("  ")[0]: line.split() for line in out.splitlines() if "ours," in line}
    assert list(counts) == ways
    assert "PyTorch: pip install 'invseg_jax[benchmarks]'" in out


def test_torch_networks_have_the_parameters_of_the_papers():
    for package in ("torch", "iunets", "memcnn"):
        pytest.importorskip(package)
    from invseg_jax.benchmarks import torch_networks

    settings = {
        "library": "memcnn-partial",
        "modalities": 4,
        "classes": 3,
        "channels": (60, 120, 240, 360, 480),
        "couplings": 2,
        "groups": 30,
        "reversible": True,
    }
    network = torch_networks.build(settings)
    assert sum(weight.numel() for weight in network.parameters()) == 12_365_283
