"""Public signatures say what they take and give: no `Any`, so that pyright sees every use."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "invseg_jax"

# The names under which a public signature may have `Any`, and the module that gives each. A name
# that is built of these, such as Params, needs no entry.
ALIASES = {
    "PyTree": "reversible/layer.py",  # pytrees of arrays
    "JsonObject": "files/json_values.py",  # objects of JSON
}
REMEDY = (
    "give it its type: `object` for what is only passed on or checked with isinstance; "
    + " or ".join(f"`{name}` of {module}" for name, module in ALIASES.items())
    + " for what they stand for"
)
Function = ast.FunctionDef | ast.AsyncFunctionDef


def says_any(expression: ast.expr | None) -> bool:
    """Whether a type is, or is built of, `Any`; types in quotes too."""
    for node in () if expression is None else ast.walk(expression):
        match node:
            case ast.Name(id="Any") | ast.Attribute(attr="Any"):
                return True
            case ast.Constant(value=str(text)):
                try:
                    if says_any(ast.parse(text, mode="eval").body):
                        return True
                except SyntaxError:
                    continue  # a text, and no type
    return False


def is_public(name: str) -> bool:
    """Whether a name is for others; those with two underscores on either side are."""
    return not name.startswith("_") or (name.startswith("__") and name.endswith("__"))


def of_function(function: Function) -> Iterator[tuple[int, str]]:
    """The parameters of a function that are `Any`, what it returns, and what it sets of `self`."""
    given = function.args
    parameters = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    for parameter in filter(None, parameters):
        if says_any(parameter.annotation):
            yield parameter.lineno, f"{parameter.arg} of {function.name}"
    if says_any(function.returns):
        yield function.lineno, f"what {function.name} returns"
    for node in ast.walk(function):
        match node:
            case ast.AnnAssign(target=ast.Attribute(value=ast.Name(id="self"), attr=name)):
                if is_public(name) and says_any(node.annotation):
                    yield node.lineno, f"self.{name}"


def of_body(body: list[ast.stmt], allowed: set[str]) -> Iterator[tuple[int, str]]:
    """All public names of a module or a class that are `Any`, and aliases that are not allowed."""
    for node in body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) if is_public(name):
                yield from of_function(node)
            case ast.ClassDef(name=name) if is_public(name):
                yield from of_body(node.body, allowed)
            case ast.AnnAssign(target=ast.Name(id=name)):
                # X: TypeAlias = Any
                alias = says_any(node.value) and name not in allowed
                if alias or (is_public(name) and says_any(node.annotation)):
                    yield node.lineno, name
            case ast.Assign(targets=targets) if says_any(node.value):
                if {ast.unparse(target) for target in targets} - allowed:
                    yield node.lineno, f"the alias {ast.unparse(node.targets[0])}"
            case ast.ImportFrom(names=names):
                renamed = (one.asname for one in names if one.name == "Any" and one.asname)
                yield from ((node.lineno, f"the alias {name}") for name in renamed)
            case ast.If() | ast.Try() | ast.With():
                inside = [*node.body, *getattr(node, "orelse", ())]
                yield from of_body(inside, allowed)


def faults(text: str, allowed: set[str]) -> list[tuple[int, str]]:
    return list(of_body(ast.parse(text).body, allowed))


def modules() -> list[Path]:
    """All modules of the package, without the configurations."""
    found = (path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))
    return sorted(PACKAGE / path for path in found if "configs" not in path.parts)


def test_no_public_signature_is_any() -> None:
    found = []
    for path in modules():
        inside = path.relative_to(PACKAGE).as_posix()
        allowed = {name for name, module in ALIASES.items() if module == inside}
        for line, what in faults(path.read_text(encoding="utf-8"), allowed):
            found.append(f"{path.relative_to(ROOT)}:{line}: {what} is `Any`; {REMEDY}")
    assert not found, "\n".join(found)


@pytest.mark.parametrize("name", ALIASES)
def test_every_alias_stands_where_the_table_says(name: str) -> None:
    text = (PACKAGE / ALIASES[name]).read_text(encoding="utf-8")
    assert [what for _, what in faults(text, set())] == [f"the alias {name}"]


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("def f(x: Any): ...", ["x of f"]),
        ("def f(*x: Any, **y: Any) -> int: ...", ["x of f", "y of f"]),
        ("async def f() -> 'dict[str, Any]': ...", ["what f returns"]),
        ("def f(x: typing.Any): ...", ["x of f"]),
        ("def _f(x: Any): ...", []),
        ("def f(x: object) -> PyTree:\n    y: Any = x", []),
        ("class A:\n    x: list[Any]", ["x"]),
        ("class A:\n    def __call__(self, x: Any): ...", ["x of __call__"]),
        ("class A:\n    def __init__(self):\n        self.x: Any = 1", ["self.x"]),
        ("class A:\n    _x: Any\n    def _f(self, x: Any): ...", []),
        ("class _A:\n    x: Any", []),
        ("X: dict[str, Any] = {}", ["X"]),
        ("_x: Any = 1", []),
        ("X = Mapping[str, Any]", ["the alias X"]),
        ("_X = Any", ["the alias _X"]),
        ("X: TypeAlias = Any", ["X"]),
        ("from typing import Any as X", ["the alias X"]),
        ("if x:\n    def f(x: Any): ...", ["x of f"]),
        ("def f(x: 'a text, no type'): ...", []),
        ("Known = Any", []),
    ],
)
def test_the_rule_itself(text: str, wrong: list[str]) -> None:
    assert [what for _, what in faults(text, {"Known"})] == wrong
