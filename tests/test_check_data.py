"""The command line: what it prints, what it writes and how it ends."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

from invseg_jax import command
from invseg_jax.data.volumes import nifti as volumes
from tests.nifti_bytes import nifti, save


@pytest.fixture(autouse=True)
def limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one test sets for its process, the next one does not find."""
    monkeypatch.setattr(volumes, "_limit", volumes.MAX_BYTES)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three cases in folders of their own."""
    rng = np.random.default_rng(0)
    root = tmp_path / "plain data"
    for id in ("a", "b [1]", "c"):
        (root / id).mkdir(parents=True)
        image = rng.uniform(1, 2, (6, 5, 4)).astype(np.float32)
        label = rng.integers(0, 2, (6, 5, 4)).astype(np.uint8)
        nibabel.save(nibabel.Nifti1Image(image, np.eye(4)), root / id / "mr.nii.gz")
        nibabel.save(nibabel.Nifti1Image(label, np.eye(4)), root / id / "tumour.nii.gz")
    return root


PLAIN = (
    "--layout=plain",
    "--config.data.plain.images=(('mr','*/mr.nii.gz'),)",
    "--config.data.plain.reference=",
)


@pytest.fixture
def check(capsys: pytest.CaptureFixture, repository: Path):
    """Runs the command line; returns its status and what it printed."""

    def run(
        root: Path, *arguments: str, config: bool = True, changes: tuple[str, ...] = ()
    ) -> tuple[object, str, str]:
        # Flags are parsed once in a process.
        module = importlib.reload(importlib.import_module("invseg_jax.check_data"))
        argv = ["check_data", "--data", str(root), *arguments]
        if config:
            argv += ["--config", str(repository / "configs" / "sarcoma.py"), *PLAIN, *changes]
        with pytest.raises(SystemExit) as caught:
            command.run(module.main, module.FLAGS, module.__doc__, argv)
        return caught.value.code, *capsys.readouterr()

    return run


def test_a_sound_data_set(check, data: Path, tmp_path: Path) -> None:
    status, out, err = check(data, "--json", str(tmp_path / "new" / "faults.json"))
    assert (status, err) == (0, "")
    assert out.splitlines() == [
        "checking case a (1 of 3)",
        f"{data}: 3 cases, 3 with a label map: no fault",
    ]
    assert json.loads((tmp_path / "new" / "faults.json").read_text()) == {
        "layout": "plain",
        "root": str(data),
        "cases": 3,
        "labelled": 3,
        "faults": [],
        "warnings": [],
    }


def test_all_faults_are_in_the_table_and_in_the_file(check, data: Path, tmp_path: Path) -> None:
    (data / "a" / "mr.nii.gz").unlink()
    (data / "b [1]" / "tumour.nii.gz").write_bytes(b"")
    nibabel.save(
        nibabel.Nifti1Image(np.zeros((6, 5, 4), np.float32), np.eye(4)), data / "c" / "mr.nii.gz"
    )
    status, out, _ = check(data, "--json", str(tmp_path / "faults.json"))
    assert status == 1
    table = " ".join(word.strip("│┃ ") for word in out.split())
    for text in ("a/mr.nii.gz: no such file", "b [1]/tumour.nii.gz: the file is empty"):
        assert text in table
    assert out.endswith(f"{data}: 3 cases, 3 with a label map: 3 faults in 3 cases\n")
    faults = json.loads((tmp_path / "faults.json").read_text())["faults"]
    assert [(fault["case"], fault["kind"]) for fault in faults] == [
        ("a", "file"),
        ("b [1]", "file"),
        ("c", "empty-image"),
    ]
    assert faults[2]["fault"].startswith("c/mr.nii.gz: all voxels are zero;")

    (data / "a" / "tumour.nii.gz").unlink()
    (data / "b [1]" / "tumour.nii.gz").unlink()
    assert check(data, "--tolerate=empty-image")[0] == 0
    status, _, err = check(data, "--tolerate=file")
    assert status == 2 and "'file' cannot be tolerated" in err


def test_links_that_lead_nowhere_are_faults(check, data: Path, tmp_path: Path) -> None:
    key = "SHA256E-s9--0a1b.nii.gz"
    for file in (data / "b [1]" / "mr.nii.gz", data / "c" / "tumour.nii.gz"):
        file.unlink()
        file.symlink_to(f"../../.git/annex/objects/aa/bb/{key}/{key}")
    (data / "d").symlink_to("/disk/d")
    status, out, _ = check(data, "--json", str(tmp_path / "faults.json"))
    assert status == 1
    assert out.endswith(f"{data}: 4 cases, 4 with a label map: 4 faults in 3 cases\n")
    faults = json.loads((tmp_path / "faults.json").read_text())["faults"]
    assert [(fault["case"], fault["fault"].partition(": ")[0]) for fault in faults] == [
        ("b [1]", "b [1]/mr.nii.gz"),
        ("c", "c/tumour.nii.gz"),
        ("d", "d/mr.nii.gz"),
        ("d", "d/tumour.nii.gz"),
    ]
    assert faults[0]["fault"].endswith("; `git annex get 'b [1]/mr.nii.gz'` fetches the file")
    assert "because d is a link that leads nowhere, to /disk/d" in faults[2]["fault"]


def test_warnings_do_not_fail_unless_asked_to(check, data: Path, tmp_path: Path) -> None:
    image = data / "b [1]" / "mr.nii.gz"
    values = nibabel.Nifti1Image.from_filename(image).get_fdata() - 1.5
    save(image, nifti(values.astype(np.float32), np.eye(4), sform=0, qform=0))
    output = tmp_path / "found.json"
    status, out, _ = check(data, "--json", str(output))
    assert status == 0 and "Faults" not in out and " Warnings " in out
    assert out.endswith("3 cases, 3 with a label map: no fault, 2 warnings\n")
    written = json.loads(output.read_text())
    assert written["faults"] == []
    assert [(entry["case"], entry["kind"]) for entry in written["warnings"]] == [
        ("b [1]", "orientation"),
        (None, "air"),
    ]
    assert written["warnings"][1]["warning"].startswith("modality mr: values below 0 in 1 of 3")
    assert "b [1]/mr.nii.gz: the header" in out

    status, out, _ = check(data, "--json", str(output), "--strict")
    assert status == 1 and " Faults " in out and "Warnings" not in out
    assert out.endswith("2 faults in 1 case\n")
    strict = json.loads(output.read_text())
    assert strict["warnings"] == []
    assert [entry["kind"] for entry in strict["faults"]] == ["orientation", "air"]
    # The normalisation of the configuration counts.
    changes = ("--config.data.preprocess.normalisation=z_score",)
    assert check(data, "--json", str(output), changes=changes)[0] == 0
    assert len(json.loads(output.read_text())["warnings"]) == 1
    # Faults stay faults, beside warnings.
    (data / "c" / "mr.nii.gz").unlink()
    status, out, _ = check(data)
    assert status == 1 and out.endswith("1 fault in 1 case, 2 warnings\n")


def test_constant_images_and_outliers_are_faults(check, data: Path, tmp_path: Path) -> None:
    for id, value in (("a", None), ("c", 3e38)):
        path = data / id / "mr.nii.gz"
        array = np.array(nibabel.Nifti1Image.from_filename(path).get_fdata(), np.float32)
        if value is None:
            array[:] = 7
        else:
            array[1, 2, 3] = value
        nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), path)
    output = tmp_path / "faults.json"
    assert check(data, "--json", str(output))[0] == 1
    constant, outlier = json.loads(output.read_text())["faults"]
    assert (constant["case"], constant["kind"]) == ("a", "empty-image")
    assert constant["fault"].startswith("a/mr.nii.gz: all voxels are 7; ")
    assert (outlier["case"], outlier["kind"]) == ("c", "outlier")
    assert outlier["fault"].startswith("c/mr.nii.gz: one voxel, 3e+38 at (1, 2, 3), makes up 99 %")
    assert check(data, "--tolerate=empty-image,outlier")[0] == 0


def test_the_size_of_a_volume_is_a_flag(check, data: Path) -> None:
    assert check(data, "--max_bytes=1KiB")[0] == 0
    status, out, _ = check(data, "--max_bytes=400")
    assert status == 1 and "3 faults in 3 cases" in out
    assert check(data, "--max_bytes=many")[0] == 2


def test_a_data_set_that_cannot_be_listed_is_a_fault(check, data: Path, tmp_path: Path) -> None:
    (data / "dataset.json").write_text("{")
    output = tmp_path / "faults.json"
    arguments = ("--layout=msd", "--json", str(output))
    status, out, _ = check(data, *arguments, config=False)
    assert status == 1
    assert out.endswith(f"{data}: the data set cannot be listed\n")
    written = json.loads(output.read_text())
    assert (written["cases"], written["labelled"]) == (None, None)
    assert written["faults"][0]["case"] is None
    assert "cannot be read as JSON" in written["faults"][0]["fault"]


@pytest.mark.parametrize(
    ("root", "arguments", "said"),
    [
        (".", (), "give --layout, or the --config"),
        (".", ("--layout=isg",), "did you mean 'iseg'?"),
        (".", ("--layout=plain",), "needs config.data.plain.images"),
        ("none", ("--layout=msd",), "no such folder"),
        (".", ("--layout=msd", "extra"), "unexpected argument 'extra'"),
    ],
)
def test_a_mistake_of_the_command_line_is_status_2(
    check, data: Path, root: str, arguments: tuple[str, ...], said: str
) -> None:
    status, out, err = check(data / root, *arguments, config=False)
    assert (status, out) == (2, "")
    assert err.startswith("error: ") and err.count("\n") == 1
    assert said in err


def test_a_child_process_on_real_data(repository: Path, sarcoma: Path) -> None:
    arguments = ("--config", "configs/sarcoma.py", "--data", str(sarcoma))
    done = subprocess.run(
        [sys.executable, "-m", "invseg_jax.check_data", *arguments],
        cwd=repository,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith(f"{sarcoma}: 37 cases, 37 with a label map: no fault\n")


def test_a_case_that_memory_does_not_hold_is_a_fault(check, data: Path, repository: Path) -> None:
    for name in ("mr", "tumour"):
        array = np.indices((6, 5, 4)).sum(axis=0).astype(np.uint8) % 2
        image = nibabel.Nifti1Image(array, np.diag((5000, 5000, 5000, 1.0)))
        nibabel.save(image, data / "b [1]" / f"{name}.nii.gz")
    config = ("--config", str(repository / "configs" / "sarcoma.py"), *PLAIN)
    assert check(data, *config, config=False)[0] == 0
    spacing = "--config.data.preprocess.spacing=(1.0,1.0,1.0)"
    status, out, err = check(data, *config, spacing, config=False)
    assert (status, err) == (1, "")
    said = " ".join(out.replace("│", " ").split())
    assert "memory" in said and "grid 30000 x 25000 x 20000" in said
    assert "1 fault in 1 case" in said
