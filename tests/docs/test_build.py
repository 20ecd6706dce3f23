"""The script that builds the site, and what fails a build."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONF = f"""
import sys
sys.path[:0] = [{str(ROOT / "docs" / "extensions")!r}, "."]
extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "plain_docstrings"]
nitpicky = True
nitpick_ignore_regex = [(r"py:.*", r"(?!invseg_jax).*")]
"""
MODULE = '''"""A module of `names`*."""


def documented(x: int) -> int:
    """Adds 1.

        y = x + 1

    Args:
        x: a number *.

    Raises:
        ValueError: never.
    """
    return x + 1
'''


def build(folder: Path, module: str, page: str = "") -> subprocess.CompletedProcess[str]:
    """Builds a site of one page about one module, warnings as errors."""
    pytest.importorskip("sphinx")
    (folder / "conf.py").write_text(CONF, encoding="utf-8")
    (folder / "invseg_jax_sample.py").write_text(module, encoding="utf-8")
    text = f"Page\n====\n\n{page}\n\n.. automodule:: invseg_jax_sample\n   :members:\n"
    (folder / "index.rst").write_text(text, encoding="utf-8")
    line = [sys.executable, "-m", "sphinx", "-q", "-n", "-W", ".", "_build"]
    return subprocess.run(line, cwd=folder, capture_output=True, text=True, timeout=120)


def test_a_documented_module_builds(tmp_path: Path) -> None:
    done = build(tmp_path, MODULE)
    assert (done.returncode, done.stderr) == (0, "")
    page = (tmp_path / "_build" / "index.html").read_text(encoding="utf-8")
    text = re.sub(r"<[^>]+>", "", page)
    assert "y = x + 1" in text and "a number *." in text


@pytest.mark.parametrize(
    "addition",
    [
        "def bare(x): return x\n",
        "class Bare: pass\n",
        'class Named:\n    """A class."""\n\n    def bare(self): pass\n',
    ],
)
def test_a_public_name_without_a_docstring_fails(tmp_path: Path, addition: str) -> None:
    done = build(tmp_path, f"{MODULE}\n\n{addition}")
    assert done.returncode != 0
    assert "public name without a docstring: invseg_jax_sample." in done.stderr


def test_private_names_need_no_docstring(tmp_path: Path) -> None:
    assert build(tmp_path, f"{MODULE}\n\ndef _bare(x): return x\n").returncode == 0


def test_a_reference_that_leads_nowhere_fails(tmp_path: Path) -> None:
    done = build(tmp_path, MODULE, page=":py:func:`invseg_jax_sample.gone`")
    assert done.returncode != 0 and "gone" in done.stderr


def script(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs launch/docs.sh in a checkout whose Python prints the arguments that it is given."""
    launch = folder / "launch"
    launch.mkdir()
    shutil.copy(ROOT / "launch" / "docs.sh", launch)
    recorder = folder / "recorder"
    recorder.write_text(
        "#!/usr/bin/env bash\nif [[ $1 == -c ]]; then exit 1; fi\nprintf '<%s>' \"$@\"\necho\n",
        encoding="utf-8",
    )
    recorder.chmod(0o755)
    (launch / "environment.sh").write_text(
        f'root="{folder}"\npython="{recorder}"\nprepare_environment() {{ :; }}\n', encoding="utf-8"
    )
    return subprocess.run(
        ["bash", str(launch / "docs.sh"), *arguments],
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_script_installs_what_is_missing_and_makes_warnings_errors(tmp_path: Path) -> None:
    done = script(tmp_path, "-E")
    assert (done.returncode, done.stderr) == (0, "")
    install, sphinx, *_ = done.stdout.splitlines()
    assert install.startswith("<-m><pip><install>") and install.endswith(f"<{tmp_path}[docs]>")
    assert "<--nitpicky><--fail-on-warning>" in sphinx
    assert sphinx.endswith("<-E><docs><docs/_build/html>")


def test_the_script_says_how_it_is_used(tmp_path: Path) -> None:
    done = script(tmp_path, "--help")
    assert done.returncode == 0 and "bash launch/docs.sh" in done.stdout
