"""The package as it is installed, away from its checkout."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# The smallest run of the embedded cohort: two subjects at 4 mm.
QUICK = [
    "--config.steps=2",
    "--config.optimiser.warmup=1",
    "--config.data.embedded.spacing=4",
    "--config.data.patch=16,16,16",
    "--config.model.settings.channels=4,8",
    "--config.model.settings.couplings=1",
    "--config.eval_cases=1",
]


@pytest.mark.slow
def test_a_wheel_that_is_installed_elsewhere_trains_the_quickstart(
    repository: Path, tmp_path: Path
) -> None:
    source, site = tmp_path / "source", tmp_path / "site"
    ignored = shutil.ignore_patterns(".venv*", ".git", "_build", "__pycache__", "*.egg-info")
    shutil.copytree(repository, source, symlinks=True, ignore=ignored)
    # What npm would fetch; where it lies there already, nothing is fetched.
    viewer = Path("invseg_jax", "interactive", "page", "static", "niivue.umd.js")
    (source / viewer).write_text("// NiiVue", encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path)]
    subprocess.run([*pip, *build, str(source)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    install = ["install", "--no-deps", "--target", str(site), str(wheel)]
    subprocess.run([*pip, *install], check=True, capture_output=True)
    assert (site / "invseg_jax" / "py.typed").exists()
    assert (site / viewer).read_text(encoding="utf-8") == "// NiiVue"
    assert {(site / viewer).with_name(name).is_file() for name in ("index.html", "main.js")} == {
        True
    }
    assert (site / viewer).parent.with_name("package-lock.json").is_file()
    shutil.rmtree(source)

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "invseg_jax", *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(site), "JAX_PLATFORMS": "cpu"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "done: 2 steps" in run("train", "--config=iseg:quick", "--workdir=RUN", *QUICK)
    assert "report: " in run("evaluate", "--workdir=RUN")
    assert "--image scan.nii.gz" in run("annotate", "--help")
    (command,) = (site / "bin").glob("invseg")
    assert command.read_text().startswith("#!")
