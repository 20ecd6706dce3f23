import ast
from pathlib import Path

import pytest

from invseg_jax.benchmarks import resident
from invseg_jax.benchmarks.worker import OUT_OF_MEMORY, Worker, WorkerError, reason

TASK = """
import os, signal, time

def count(settings):
    print("a library that talks")
    held = {"n": settings["begin"]}

    def add():
        held["n"] += 1
        return held["n"]

    def lack():
        raise MemoryError

    return {
        "add": add,
        "fail": lambda: 1 // 0,
        "lack": lack,
        "vanish": lambda: os.kill(os.getpid(), signal.SIGKILL),
        "leave": lambda: os._exit(3),
        "sleep": lambda: time.sleep(60),
    }
"""


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "a_task.py").write_text(TASK, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with Worker("a_task:count", {"begin": 4}) as worker:
        yield worker


def test_a_worker_answers_until_it_is_closed(worker):
    assert [worker.ask("add"), worker.ask("add")] == [5, 6]
    worker.close()
    assert worker.process.returncode == 0
    worker.close()


def test_an_error_is_one_line_and_the_worker_lives_on(worker):
    with pytest.raises(WorkerError, match="^ZeroDivisionError: integer division or modulo by zero"):
        worker.ask("fail")
    with pytest.raises(WorkerError, match="^KeyError: 'nothing'$"):
        worker.ask("nothing")
    with pytest.raises(WorkerError, match=f"^{OUT_OF_MEMORY}$"):
        worker.ask("lack")
    assert worker.ask("add") == 5


@pytest.mark.parametrize(
    ("request_", "said"), [("vanish", OUT_OF_MEMORY), ("leave", "ended with status 3")]
)
def test_a_worker_that_ends_says_how(worker, request_, said):
    with pytest.raises(WorkerError, match=f"^{said}$"):
        worker.ask(request_)


def test_a_worker_that_does_not_answer_is_ended(worker):
    assert worker.ask("add") == 5
    worker.patience = 0.2
    with pytest.raises(WorkerError, match=r"^no answer after 0\.2 s$"):
        worker.ask("sleep")
    assert worker.process.returncode == -9


@pytest.mark.parametrize(
    "text",
    [
        "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 12345 bytes.",
        "CUDA out of memory. Tried to allocate 2.00 GiB.",
        "DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes.",
    ],
)
def test_a_lack_of_memory_is_told_from_other_errors(text):
    assert reason(RuntimeError(text)) == OUT_OF_MEMORY
    assert reason(ValueError("first line\nsecond")) == "ValueError: first line"
    assert reason(KeyboardInterrupt()) == "KeyboardInterrupt"  # pyright: ignore[reportArgumentType]


def test_resident_memory():
    before = resident.now()
    held = bytearray(64 << 20)
    held[:: 1 << 12] = b"x" * len(held[:: 1 << 12])
    assert resident.process_peak() >= before + (60 << 20)
    assert resident.now() >= before + (60 << 20)


def test_pytorch_is_imported_in_child_processes_only(repository):
    peers = {"torch", "iunets", "memcnn"}
    importing = set()
    for path in (repository / "invseg_jax" / "benchmarks").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or "", *(f"{node.module}.{a.name}" for a in node.names)]
            if peers & {name.split(".")[0] for name in names}:
                importing.add(path.name)
            if any(name.endswith(("torch_networks", "torch_worker")) for name in names):
                assert path.name == "torch_worker.py", path
    assert importing == {"torch_networks.py", "torch_worker.py"}
