"""Pages that are made from the code when the site is built: settings, command lines, modules.

They are written below docs/reference/generated, which git ignores, before Sphinx looks for pages.
"""

import importlib
import os
import pkgutil
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType

from sphinx.application import Sphinx
from sphinx.util import logging

LOGGER = logging.getLogger(__name__)
PACKAGE = "invseg_jax"
# Imported by the benchmarks' child processes alone; a reader of the site need not have them.
OPTIONAL = {"torch", "iunets", "memcnn", "xprof"}
COMMANDS = (
    "train",
    "evaluate",
    "predict",
    "check_data",
    "plan",
    "compare",
    "benchmark",
    "annotate",
    "export",
)
# The order in which the rooms build on one another; others come behind.
ROOMS = (
    "reversible",
    "layers",
    "models",
    "experiment",
    "data",
    "runs",
    "training",
    "inference",
    "evaluation",
)


def settings_page(rows: Iterable[Sequence[object]]) -> str:
    """The table of all settings, a section of them at a time.

    Args:
        rows: of each setting its key, type, default and meaning. A setting of one network's own
            has the network in brackets behind its key.
    """
    sections: dict[str, list[Sequence[object]]] = defaultdict(list)
    for full, *others in rows:
        key, _, network = str(full).partition(" ")
        section = key.rpartition(".")[0]
        title = f"`{section}`" if section else "The run"
        title += f" of {network.strip('()')}" if network else ""
        sections[title].append((key, *others))
    parts = []
    for title, members in sections.items():
        parts += [f"## {title}", "", ":::{list-table}"]
        parts += [":header-rows: 1", ":widths: 30 20 50", ":class: settings", ""]
        parts += ["* - key", "  - type and default", "  - meaning"]
        for key, kind, default, meaning in members:
            parts.append(f"* - `{key}`")
            parts.append(f"  - {_code(kind)}, by default {_code(default)}")
            parts.append("  - " + _running_text(str(meaning)))
        parts += [":::", ""]
    return "\n".join(parts)


def _running_text(text: str) -> str:
    """Plain text as Markdown: nothing but single backticks means anything."""
    parts = re.split(r"(`[^`]+`)", " ".join(text.split()))
    parts[::2] = [re.sub(r"([\\*_<>\[\]$|#])", r"\\\1", part) for part in parts[::2]]
    return "".join(parts)


def _code(value: object) -> str:
    text = value.__name__ if isinstance(value, type) else str(value)
    return f"`{text}`" if text else '`""`'


def commands_page(root: Path) -> str:
    """The help of each command, as it prints it."""
    parts = []
    for name in COMMANDS:
        if not (root / PACKAGE / f"{name}.py").is_file():
            continue
        line = [sys.executable, "-m", f"{PACKAGE}.{name}", "--help"]
        environment = {**os.environ, "COLUMNS": "96", "PYTHONPATH": str(root)}
        done = subprocess.run(line, cwd=root, env=environment, capture_output=True, text=True)
        if done.returncode:
            LOGGER.warning("%s --help failed: %s", name, done.stderr.strip()[-300:])
        parts += [f"## {name}", "", "```text", done.stdout.rstrip(), "```", ""]
    return "\n".join(parts)


def module_pages() -> dict[str, str]:
    """A page for each package, by its name: the package's docstring, then its modules."""
    package = importlib.import_module(PACKAGE)
    by_package: dict[str, list[str]] = defaultdict(list)
    names = sorted(info.name for info in pkgutil.walk_packages(package.__path__, f"{PACKAGE}."))
    for name in names:
        module = _imported(name)
        if module is None or any(part.startswith("_") for part in name.split(".")[1:]):
            continue
        if hasattr(module, "__path__"):
            by_package[name].insert(0, name)
        else:
            by_package[name.rpartition(".")[0]].append(name)
    return {name: _package_page(name, modules) for name, modules in by_package.items()}


def _imported(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in OPTIONAL:
            raise
        return None


def _package_page(package: str, modules: list[str]) -> str:
    title = package.removeprefix(f"{PACKAGE}.")
    if package == PACKAGE:
        title = "commands, and what serves several rooms"
    parts = [f"# {title}", ""]
    for name in modules:
        if name == package:
            options = [":no-members:"]
        else:
            parts += [f"## {name.rpartition('.')[2]}", ""]
            options = []
        parts += ["```{eval-rst}", f".. automodule:: {name}"]
        parts += [f"   {option}" for option in options] + ["```", ""]
    return "\n".join(parts)


def _rank(package: str) -> tuple[int, str]:
    room = package.split(".")[1] if "." in package else ""
    if not room:
        return (len(ROOMS) + 1, package)
    return (ROOMS.index(room) if room in ROOMS else len(ROOMS), package)


def _generate(app: Sphinx, config: object) -> None:
    docs = Path(app.srcdir)
    folder = docs / "reference" / "generated"
    pages = module_pages()
    written = {f"modules/{name}.md": text for name, text in pages.items()}
    ordered = sorted(pages, key=_rank)
    written["modules.md"] = "\n".join(
        ["# Modules", "", "Every public name, room by room; a room builds on those above it.", ""]
        + ["```{toctree}", ":maxdepth: 1", "", *(f"modules/{name}" for name in ordered), "```", ""]
    )
    written["commands.txt"] = commands_page(docs.parent)
    written["settings.txt"] = _settings()
    for name, text in written.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")  # an unchanged page is not read anew
    for path in folder.rglob("*.*"):
        if str(path.relative_to(folder)) not in written:
            path.unlink()


def _settings() -> str:
    try:
        reference = importlib.import_module(f"{PACKAGE}.experiment.reference")
    except ModuleNotFoundError:
        return ""
    return settings_page(reference.rows())


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("config-inited", _generate)
    return {"parallel_read_safe": True}
