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

# What each room may import, besides itself and `errors`. docs/explanation/architecture.md has the
# same table. No arrow goes in a circle, see below.
BASE = {"files", "devices", "experiment"}
ROOMS: dict[str, set[str]] = {
    "errors": set(),
    "reversible": set(),
    "layers": {"reversible"},
    "models": {"layers", "reversible"},
    "files": set(),
    "devices": {"files"},
    "experiment": {"models", "layers", "reversible"},
    "data": BASE,
    "runs": {"files", "experiment", "reversible"},
    "training": BASE | {"runs", "data", "models", "reversible"},
    "inference": BASE | {"runs", "data", "models"},
    "evaluation": {"files", "experiment", "data", "runs", "inference"},
    "segmentation": {"devices", "experiment", "layers", "reversible", "data"}
    | {"runs", "training", "inference", "evaluation"},
    "interactive": BASE
    | {"models", "layers", "reversible", "data", "runs"}
    | {"training", "inference", "evaluation", "segmentation"},
    "memory_plan": BASE | {"data", "models", "training", "inference", "segmentation"},
    "sweep": BASE | {"data", "runs", "training", "inference", "evaluation", "memory_plan"},
}
ROOMS["benchmarks"] = set(ROOMS)
COMMANDS = {
    *("train", "evaluate", "predict", "annotate", "check_data", "plan", "compare", "benchmark"),
    *("command", "__main__"),
}
# What the rooms that run on a bare GPU machine may import besides the standard library.
NETWORKS_NEED = frozenset({"jax", "flax", "optax", "numpy"})
FOREIGN = {
    "errors": frozenset[str](),
    "files": frozenset({"numpy"}),
    "devices": frozenset({"jax", "numpy"}),
    "reversible": frozenset({"jax", "numpy"}),
    "layers": NETWORKS_NEED,
    "models": NETWORKS_NEED,
    # The last three in child processes only, see tests/benchmarks/test_worker.py.
    "benchmarks": NETWORKS_NEED | {"torch", "iunets", "memcnn"},
    "benchmark": frozenset[str](),
}
# These benchmarks look at data and training as well, and need all that the package needs.
OF_TRAININGS = {
    "pipeline",
    "cohort",
    "host_augmentation",
    "training_loop",
    "damage",
    "clips",
    "session",
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


def allowed_rooms(path: Path) -> set[str]:
    """The rooms that a file may import from."""
    room, *inner = path.relative_to(PACKAGE).with_suffix("").parts
    if room in COMMANDS:
        return {*ROOMS, "command"}
    rooms = {room, "errors", *ROOMS[room]}
    if room == "benchmarks" and inner[0] not in OF_TRAININGS:
        rooms &= {"benchmarks", *FOREIGN}
    return rooms


def broken_layer_rules(path: Path) -> list[str]:
    """The imports that the table does not allow."""
    room, *inner = path.relative_to(PACKAGE).with_suffix("").parts
    bare = room in FOREIGN and not (inner and inner[0] in OF_TRAININGS)
    broken = []
    for line, module in imported_modules(path):
        top, *inside = module.split(".")
        if top == "invseg_jax":
            # `__version__` and the like belong to the package itself.
            target = inside[0] if inside else ""
            allowed = target in allowed_rooms(path) or target.startswith("__")
        else:
            allowed = not bare or top in FOREIGN[room] or top in sys.stdlib_module_names
        if not allowed:
            broken.append(f"{path.relative_to(ROOT)}:{line} imports {module}")
    return broken


def room_files() -> list[Path]:
    """All files of the package but its face, `__init__.py`, and the configurations."""
    return [
        path
        for path in sorted(PACKAGE.rglob("*.py"))
        if path != PACKAGE / "__init__.py" and "configs" not in path.relative_to(PACKAGE).parts
    ]


def test_rooms_import_what_the_table_allows() -> None:
    files = room_files()
    assert PACKAGE / "errors.py" in files
    assert [fault for path in files for fault in broken_layer_rules(path)] == []


def test_the_table_has_no_circle_and_no_arrow_that_nobody_needs() -> None:
    done: list[str] = []
    for room, imported in ROOMS.items():
        assert imported <= set(done), f"{room} imports what stands below it"
        done.append(room)
    used = {room: set() for room in ROOMS}
    for path in room_files():
        room = path.relative_to(PACKAGE).with_suffix("").parts[0]
        if room in used:
            modules = (module.split(".") for _, module in imported_modules(path))
            used[room] |= {inside[1] for inside in modules if inside[0] == "invseg_jax"}
    del used["benchmarks"]  # it may import anything above it
    assert {room: sorted(ROOMS[room] - used[room]) for room in used} == {r: [] for r in used}


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
        ("data", "from invseg_jax.train import main", False),
        ("benchmarks", "from invseg_jax.data.volumes import nifti", False),
        ("evaluation", "from invseg_jax.training import losses", False),
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


def test_package_root_loads_nothing_of_the_package() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {alias.name for node in imports for alias in node.names}
    assert names == {"importlib", "sys", "types", "TYPE_CHECKING"}


def test_continuous_integration_can_start() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
