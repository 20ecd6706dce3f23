"""Child processes: a peak of memory belongs to a process, and PyTorch stays out of ours.

A worker is set up once and then answers requests, so that workers can take turns:

    with Worker("invseg_jax.benchmarks.torch_worker:convolution", settings) as worker:
        seconds = worker.number("step")

The function is called with the settings in the child and returns the answers by name, each a
function of no argument that gives something JSON can hold.
"""

import contextlib
import importlib
import json
import os
import select
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

from invseg_jax.files.json_values import JsonObject

PACKAGE_ROOT = Path(__file__).resolve().parents[2]
OUT_OF_MEMORY = "out of memory"

Answers = Mapping[str, Callable[[], object]]


class WorkerError(Exception):
    """A child process could not do what it was asked; the message is one line."""


class Worker:
    """A child process that answers requests."""

    def __init__(self, function: str, settings: JsonObject, patience: float = 1800.0):
        """Starts the child.

        Args:
            function: called in the child with the settings; named as "module:function".
            settings: what JSON can hold.
            patience: seconds after which a request that is not answered ends the child.
        """
        self.patience = patience
        paths = [str(PACKAGE_ROOT), os.environ.get("PYTHONPATH", "")]
        variables = {
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            # Other processes want their share of the accelerator too.
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "invseg_jax.benchmarks.worker", function, json.dumps(settings)],
            env=os.environ | variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, request: str) -> object:
        """The answer to a request.

        Raises:
            WorkerError: the child says why not, or has ended.
        """
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.write(request + "\n")
            self.process.stdin.flush()
            # A reply is one line, so nothing of an earlier one waits in Python's own buffer.
            if not select.select([self.process.stdout], [], [], self.patience)[0]:
                self.process.kill()
                self.process.wait()
                raise WorkerError(f"no answer after {self.patience:g} s")
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            status = self.process.wait()
            # Linux ends with signal 9 the process for which it has no memory left.
            raise WorkerError(OUT_OF_MEMORY if status == -9 else f"ended with status {status}")
        reply = json.loads(line)
        if "error" in reply:
            raise WorkerError(reply["error"])
        return reply["value"]

    def number(self, request: str) -> float:
        """The answer to a request that is answered by a number.

        Raises:
            WorkerError: as `ask`.
        """
        answer = self.ask(request)
        assert isinstance(answer, int | float), answer
        return answer

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the child."""
        self.close()

    def close(self) -> None:
        """Ends the child; a second call does nothing."""
        assert self.process.stdin is not None and self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.stdout.close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def reason(error: Exception) -> str:
    """One line about an exception; every library words a lack of memory differently."""
    text = str(error)
    lacking = ("RESOURCE_EXHAUSTED", "out of memory", "can't allocate memory", "std::bad_alloc")
    if isinstance(error, MemoryError) or any(sign in text for sign in lacking):
        return OUT_OF_MEMORY
    first = text.strip().splitlines()
    return f"{type(error).__name__}: {first[0][:200]}" if first else type(error).__name__


def serve(function: str, settings: JsonObject) -> None:
    """The child: answers the requests on its standard input until that is closed."""
    # What libraries print goes to standard error; the replies have the pipe for themselves.
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    answers: Answers = {}
    for line in sys.stdin:
        try:
            if not answers:
                module, _, name = function.partition(":")
                answers = getattr(importlib.import_module(module), name)(settings)
            reply = {"value": answers[line.strip()]()}
        except Exception as error:  # whatever it is, the parent's table goes on without this row
            reply = {"error": reason(error)}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


if __name__ == "__main__":
    serve(sys.argv[1], json.loads(sys.argv[2]))
