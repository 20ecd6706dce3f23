"""Commands of this package, each in a process of its own.

One process for each training: its memory goes back to the machine, the devices are split as its
batch asks for, and what ends it ends nothing else.
"""

import subprocess
import sys
from collections.abc import Sequence

from invseg_jax.training.preemption import StopRequest

POLL = 0.2  # seconds
GRACE = 5.0  # seconds


def run_command(module: str, arguments: Sequence[str], stop: StopRequest) -> int:
    """Runs `python -m MODULE ARGUMENTS`, its output on this terminal.

    Args:
        module: its name, dots included.
        arguments: of the command.
        stop: asked of this process by SIGTERM; passed on, and `train` saves then.

    Returns:
        Its exit status; that of a shell where a signal ended it.

    Raises:
        KeyboardInterrupt: Ctrl-C, once the command has ended too.
        SystemExit: this process was asked to stop, and the command has ended.
    """
    refuse_to_go_on(stop)
    process = subprocess.Popen([sys.executable, "-m", module, *arguments])
    told = False
    try:
        while True:
            try:
                status = process.wait(POLL)
                break
            except subprocess.TimeoutExpired:
                if stop.asked and not told:
                    told = True
                    process.terminate()
    except KeyboardInterrupt:
        # A terminal sends Ctrl-C to both; where only this process got it, the other is told here.
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            process.terminate()
            process.wait()
        raise
    refuse_to_go_on(stop)
    return status if status >= 0 else 128 - status


def refuse_to_go_on(stop: StopRequest) -> None:
    """Ends this process where it was asked to.

    Raises:
        SystemExit: it was.
    """
    if stop.asked:
        raise SystemExit(StopRequest.EXIT_STATUS)
