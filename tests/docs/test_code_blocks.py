"""README and docs: every block that is marked runnable runs, and the others are not out of date."""

import ast
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import invseg_jax as iv
from tests.docs.code_blocks import Block, blocks

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted(
        page
        for page in (ROOT / "docs").rglob("*.md")
        if not {"generated", "_build"} & {*page.parts}
    ),
]
TINY = {
    "model.settings.channels": (4, 8),
    "model.settings.couplings": 1,
    "data.folds": 3,
    "data.patch": (8, 8, 8),
    "data.threads": 0,
    "devices": 1,
    "steps": 2,
    "log_every": 1,
    "save_every": 2,
    "eval_every": 2,
    "optimiser.warmup": 0,
    "inference.batch": 1,
}
FLAGS = " ".join(f"--config.{key}={str(value).replace(' ', '')!r}" for key, value in TINY.items())


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def is_marked(block: Block, slow: bool) -> bool:
    return block.runnable and (block.word("slow") is not None) == slow


def marked(slow: bool) -> list[Path]:
    """The pages that have runnable blocks of this kind."""
    return [page for page in PAGES if any(is_marked(block, slow) for block in blocks(page))]


@pytest.fixture
def folder(tmp_path: Path, balls: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the blocks of a page run."""
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (tmp_path / "Task04_Hippocampus").symlink_to(balls)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


@pytest.fixture(scope="session")
def small_run(balls: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps."""
    workdir = tmp_path_factory.mktemp("docs") / "run"
    experiment = iv.read_experiment("hippocampus:cpu", TINY)
    iv.train(experiment, workdir, str(balls))
    return workdir


def run_block(block: Block, names: dict, request: pytest.FixtureRequest, place: str) -> None:
    if block.word("trained") is not None and not Path("runs/hippocampus").exists():
        shutil.copytree(request.getfixturevalue("small_run"), "runs/hippocampus")
    if (file := block.word("file")) is not None:
        Path(file).write_text(block.code, encoding="utf-8")
    elif block.language == "python":
        exec(compile(block.code, place, "exec"), names)
    else:
        code = block.code
        if block.word("tiny") is not None:
            code = re.sub(r"(invseg_jax\.(?:train|plan) --config \S+)", rf"\1 {FLAGS}", code)
        done = subprocess.run(
            ["bash", "-euc", code], stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        assert done.returncode == 0, (
            f"{place}\n{code}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        )


def run_page(page: Path, slow: bool, request: pytest.FixtureRequest) -> None:
    names: dict = {"__name__": "block", "TINY": TINY}
    for block in blocks(page):
        if is_marked(block, slow):
            run_block(block, names, request, f"{name_of(page)}, line {block.line}")


@pytest.mark.parametrize("page", marked(slow=False), ids=name_of)
def test_runnable_blocks_run(page: Path, folder: Path, request: pytest.FixtureRequest) -> None:
    run_page(page, False, request)


@pytest.mark.slow
@pytest.mark.parametrize("page", marked(slow=True), ids=name_of)
def test_slow_runnable_blocks_run(page: Path, folder: Path, request: pytest.FixtureRequest) -> None:
    run_page(page, True, request)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_python_blocks_are_python(page: Path) -> None:
    for block in blocks(page):
        if block.language == "python":
            ast.parse(block.code, f"{name_of(page)}, line {block.line}")


@cache
def help_of(command: str) -> str:
    module = importlib.util.find_spec(f"invseg_jax.{command}")
    assert module is not None, f"there is no command {command}"
    line = [sys.executable, "-m", f"invseg_jax.{command}", "--help"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(line, capture_output=True, text=True, env=environment, check=True).stdout


COMMAND = re.compile(r"python -m invseg_jax\.(\w+)((?:[^\n`|]|\\\n|\|(?=[^\n]*\"))*)")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_have_the_flags_and_files_that_pages_name(page: Path) -> None:
    for command, rest in COMMAND.findall(page.read_text(encoding="utf-8")):
        text = help_of(command)
        for config in re.findall(r"(configs/\w+\.py)", rest):
            assert (ROOT / config).is_file(), f"{name_of(page)}: {config}"
        if command == "benchmark":  # its tables have flags of their own
            name = rest.split()[0] if rest.split() else "--help"
            assert name.startswith("-") or re.search(rf"^  {name} ", text, re.MULTILINE), name
            continue
        for flag in re.findall(r"(?<=\s)--(\w+)(?=[\s=])", rest.split("#")[0]):
            known = flag == "help" or f"  --{flag}" in text or f"--no{flag}" in text
            assert known, f"{name_of(page)}: {command} has no --{flag}"


def test_a_block_is_read_with_its_comment(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# T\n\n<!-- runnable: slow; file a.py; 400 -> 2 -->\n```python\nx = 400\n```\n\n"
        "```bash\nls\n```\n\n```{image} a.png\n```\n",
        encoding="utf-8",
    )
    first, second = blocks(page)
    assert (first.language, first.code, first.runnable) == ("python", "x = 2\n", True)
    assert (first.word("slow"), first.word("file"), first.word("tiny")) == ("", "a.py", None)
    assert first.line == 4
    assert (second.language, second.code, second.runnable) == ("bash", "ls\n", False)


def test_a_replacement_that_finds_nothing_is_an_error(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- runnable: 400 -> 2 -->\n```python\nx = 300\n```\n", encoding="utf-8")
    with pytest.raises(ValueError, match="no '400' to replace"):
        list(blocks(page))
