"""The checkout itself: the lock, the layers and the configs."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "invseg_jax"
LOCK = ROOT / "requirements" / "py311.lock.txt"

# A room may import itself and the rooms before it.
ROOMS = (
    "errors",
    "atomic_file",
    "folder_lock",
    "main_memory",
    "byte_size",
    "printable",
    "json_values",
    "topology",
    "virtual_devices",
    "reversible",
    "layers",
    "models",
    "benchmarks",
    "benchmark",
    "experiment",
    "figure",
    "data",
    "training",
    "inference",
    "evaluation",
    "segmentation",
    "planning",
    "throughput",
    "damage",
    "comparison",
    "interactive",
)
# What the rooms that run on a bare GPU machine may import besides the standard library.
FOREIGN = {
    "errors": frozenset[str](),
    "atomic_file": frozenset[str](),
    "folder_lock": frozenset[str](),
    "main_memory": frozenset[str](),
    "byte_size": frozenset[str](),
    "printable": frozenset[str](),
    "json_values": frozenset[str](),
    "topology": frozenset({"jax"}),
    "virtual_devices": frozenset({"jax"}),
    "reversible": frozenset({"jax", "numpy"}),
    "layers": frozenset({"jax", "flax", "optax", "numpy"}),
    "models": frozenset({"jax", "flax", "optax", "numpy"}),
    # The last three in child processes only, see tests/benchmarks/test_worker.py.
    "benchmarks": frozenset({"jax", "flax", "optax", "numpy", "torch", "iunets", "memcnn"}),
    "benchmark": frozenset[str](),
}

# In pieces, so that this file does not name what it looks for.
REGISTRY_HOSTS = re.compile(
    "|".join(
        re.escape(".".join(parts))
        for parts in (
            ("pypi", "org"),
            ("python" + "hosted", "org"),
            ("npmjs", "org"),
            ("npmjs", "com"),
            ("deb", "debian", "org"),
        )
    )
)


def repository_files() -> list[Path]:
    """The files that are, or would be, committed."""
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("not a git checkout")
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return [path for name in listing.split("\0") if name and (path := ROOT / name).is_file()]


def locked_versions() -> dict[str, str]:
    text = LOCK.read_text(encoding="utf-8").replace("\\\n", " ")
    pins = {}
    for line in text.splitlines():
        if not line or line.lstrip().startswith("#"):
            continue
        found = re.match(r"([A-Za-z0-9._-]+)==([^\s;]+)", line)
        assert found, f"not an exact version: {line[:80]}"
        assert "--hash=sha256:" in line, f"no hash: {line[:80]}"
        pins[canonicalize_name(found[1])] = found[2]
    return pins


def test_no_file_names_a_package_registry() -> None:
    offenders = [
        f"{path.relative_to(ROOT)}: {found[0]}"
        for path in repository_files()
        if (found := REGISTRY_HOSTS.search(path.read_bytes().decode("utf-8", "replace")))
    ]
    assert offenders == []


def test_lock_leaves_the_choice_of_index_to_the_machine() -> None:
    text = LOCK.read_text(encoding="utf-8")
    option = r"^\s*(-i|-f|--index-url|--extra-index-url|--find-links|--trusted-host)\b"
    assert re.search(option, text, re.MULTILINE) is None
    assert "://" not in text


def test_lock_holds_every_dependency_in_its_declared_range() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"]
    declared = [
        *project["project"]["dependencies"],
        *extras["demo"],
        *extras["test"],
        *extras["lint"],
        *project["build-system"]["requires"],
    ]
    pins = locked_versions()
    for requirement in map(Requirement, declared):
        name = canonicalize_name(requirement.name)
        assert name in pins, f"{name} is not in the lock"
        assert pins[name] in requirement.specifier, f"{requirement} but locked {pins[name]}"


def test_version_is_declared_once() -> None:
    import invseg_jax

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert "version" not in project
    assert re.fullmatch(r"\d+\.\d+\.\d+", invseg_jax.__version__)


def test_every_config_says_what_it_is() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / "configs").rglob("*.py"))
        if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert silent == []


def imported_modules(path: Path) -> Iterator[tuple[int, str]]:
    """Every import of a file, with its line, as a dotted name; `from a import b` gives a.b."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            parents = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*parents, *((node.module,) if node.module else ())))
            for alias in node.names:
                yield node.lineno, f"{module}.{alias.name}"


def broken_layer_rules(path: Path) -> list[str]:
    """The imports that point down the list, or outside of what the room may use."""
    room = path.relative_to(PACKAGE).with_suffix("").parts[0]
    broken = []
    for line, module in imported_modules(path):
        top, *inner = module.split(".")
        if top == "invseg_jax":
            # `__version__` and the like belong to the package itself, which imports nothing.
            target = inner[0] if inner else ""
            allowed = target in ROOMS[: ROOMS.index(room) + 1] or target.startswith("__")
        else:
            allowed = room not in FOREIGN or top in FOREIGN[room] or top in sys.stdlib_module_names
        if not allowed:
            broken.append(f"{path.relative_to(ROOT)}:{line} imports {module}")
    return broken


def room_files() -> list[Path]:
    return [
        path
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.relative_to(PACKAGE).with_suffix("").parts[0] in ROOMS
    ]


def test_rooms_import_upwards_only() -> None:
    files = room_files()
    assert PACKAGE / "errors.py" in files
    assert [fault for path in files for fault in broken_layer_rules(path)] == []


@pytest.mark.parametrize(
    ("room", "line", "allowed"),
    [
        ("reversible", "import jax.numpy as jnp", True),
        ("reversible", "from flax import nnx", False),
        ("reversible", "import scipy", False),
        ("reversible", "from invseg_jax.layers import norm", False),
        ("reversible", "from ..layers import norm", False),
        ("reversible", "from .. import layers", False),
        ("reversible", "from .chain import compose", True),
        ("layers", "from flax import nnx", True),
        ("layers", "from invseg_jax import reversible, errors", True),
        ("layers", "def f():\n    import nibabel", False),
        ("models", "from invseg_jax.data import nifti", False),
        ("data", "import nibabel", True),
        ("data", "from invseg_jax.training import step", False),
        ("data", "from invseg_jax import train", False),
    ],
)
def test_the_layer_rule_itself(
    room: str, line: str, allowed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = sys.modules[__name__]
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "PACKAGE", tmp_path / "invseg_jax")
    path = tmp_path / "invseg_jax" / room / "thing.py"
    path.parent.mkdir(parents=True)
    path.write_text(line, encoding="utf-8")
    assert (broken_layer_rules(path) == []) is allowed


def test_package_root_imports_nothing() -> None:
    assert list(imported_modules(PACKAGE / "__init__.py")) == []


def test_continuous_integration_can_start() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
