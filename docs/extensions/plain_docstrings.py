"""Lets Sphinx read this project's docstrings, which are plain text with Google's sections.

Three things differ from reStructuredText, and are translated before Sphinx parses a docstring:

- a name in single backticks is code;
- an indented block, and a paragraph whose columns are aligned with spaces, is shown as it stands;
- an asterisk, a bar and an underscore at the end of a word mean nothing.

A public class, function, method or property without a docstring is a warning.
"""

import inspect
import re
import sys
from collections.abc import Iterator
from types import FunctionType
from typing import Any, TypeVar

from sphinx.application import Sphinx
from sphinx.util import logging

LOGGER = logging.getLogger(__name__)
SECTIONS = ("Args:", "Attributes:", "Raises:", "Returns:", "Yields:", "Note:", "Example:")
# What a docstring's section "Example:" holds is shown as it stands as well.
_CODE = re.compile(r"(``.+?``|`[^`\n]+`)")
_ALIGNED = re.compile(r"\S {2,}\S")


def escaped(line: str) -> str:
    """One line of running text as reStructuredText."""
    parts = _CODE.split(line)
    for i, part in enumerate(parts):
        if i % 2:
            inner = part.strip("`")
            parts[i] = f"``{inner}``"
            # Inline code must not touch the word after it: `x`s.
            if i + 1 < len(parts) and parts[i + 1][:1].isalnum():
                parts[i] += "\\ "
            if parts[i - 1][-1:].isalnum() or parts[i - 1][-1:] in "*|":
                parts[i] = "\\ " + parts[i]
        else:
            parts[i] = re.sub(r"([*|\\])|(?<=\w)(_)(?!\w)", r"\\\g<0>", part)
    return "".join(parts)


def paragraphs(lines: list[str]) -> Iterator[list[str]]:
    """Runs of lines without an empty one."""
    run: list[str] = []
    for line in [*lines, ""]:
        if line.strip():
            run.append(line)
        elif run:
            yield run
            run = []


def translated(lines: list[str]) -> list[str]:
    """A docstring's text outside of its sections, and its sections."""
    text, sections = _split(lines)
    out: list[str] = []
    for paragraph in paragraphs(text):
        indented = all(line.startswith("  ") for line in paragraph)
        listed = re.match(r"\s*([-*]|\d+\.) ", paragraph[0])
        aligned = not listed and any(map(_ALIGNED.search, paragraph))
        if not listed and (indented or aligned):
            out += ["::", "", *("    " + line for line in paragraph), ""]
        else:
            out += [*_with_blocks(paragraph, bool(listed)), ""]
    section = ""
    for line in sections:
        if line.strip() in SECTIONS and not line.startswith(" "):
            section = line.strip()
            out += ["", line]
        elif section == "Example:":
            out.append(line)
        else:
            out.append(escaped(line))
    return [*out, ""]


def _with_blocks(paragraph: list[str], listed: bool) -> list[str]:
    out: list[str] = []
    block = False
    for line in paragraph:
        if not listed and line.startswith("    ") and not block:
            out += ["", "::", ""]
            block = True
        elif block and not line.startswith("    "):
            out.append("")
            block = False
        if not block and re.match(r"- ", line) and out and not re.match(r"[- ] ", out[-1]):
            out.append("")  # a list begins after an empty line
        out.append("    " + line if block else escaped(line))
    return out


def _split(lines: list[str]) -> tuple[list[str], list[str]]:
    """Text before the first section (and after the last), and the sections."""
    text: list[str] = []
    sections: list[str] = []
    inside = False
    for line in lines:
        if line.strip() in SECTIONS and not line.startswith(" "):
            inside = True
        elif inside and line.strip() and not line.startswith(" "):
            inside = False
        (sections if inside else text).append(line)
    return text, sections


def _process(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    if not name.startswith("invseg_jax"):
        return
    # What a type alias or a constant inherits from its class says nothing about it.
    if what in ("data", "attribute") and not isinstance(obj, property):
        lines[:] = [escaped(line) for line in lines]
        return
    lines[:] = translated(lines)


def _skip(app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Warns of public names that Sphinx leaves out because they have no docstring."""
    if not skip or name.startswith("_"):
        return None
    plain = inspect.unwrap(obj) if callable(obj) else obj
    if isinstance(plain, (property, FunctionType, type)) and not inspect.getdoc(plain):
        module = str(getattr(plain, "__module__", ""))
        fields = getattr(plain, "__qualname__", name)
        if not module or module.startswith("invseg_jax"):
            LOGGER.warning("public name without a docstring: %s.%s", module, fields)
    return None


def _variable(app: Sphinx, env: Any, node: Any, shown: Any) -> Any:
    """Shows a type variable in a signature without a link: it is no page's subject."""
    module, _, name = node.get("reftarget", "").rpartition(".")
    found = getattr(sys.modules.get(module), name, None)
    return shown if isinstance(found, TypeVar) else None


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx. Napoleon, which reads the sections, comes after the translation."""
    app.connect("autodoc-process-docstring", _process, priority=100)
    app.connect("autodoc-skip-member", _skip)
    app.connect("missing-reference", _variable)
    return {"parallel_read_safe": True}
