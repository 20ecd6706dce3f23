"""What a compiled gradient takes: temporary bytes without running it, and its peak when it runs."""

from dataclasses import asdict

import jax
from jax import stages

from invseg_jax.benchmarks.alternatives import Group, Way
from invseg_jax.benchmarks.subjects import Subject
from invseg_jax.benchmarks.timing import timed
from invseg_jax.benchmarks.worker import Answers, Worker
from invseg_jax.devices.device import Device
from invseg_jax.files.json_values import JsonObject
from invseg_jax.layers.execution import Execution

# On CPUs memory is laid out before machine code is made: quickly made code has the same buffers.
BUFFERS_ONLY = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


def temporary_bytes(subject: Subject, way: Way, device: Device | None = None) -> int:
    """The compiler's temporary buffers, without arguments and results.

    Args:
        subject: what the gradient is of.
        way: how it is had.
        device: a device that need not be here, or None for the default one.
    """
    lowered = subject.build(way).lower(device)
    on_cpu = device is None and jax.default_backend() == "cpu"
    compiled = lowered.compile(BUFFERS_ONLY if on_cpu else None)
    return bytes_of(compiled)


def bytes_of(compiled: stages.Compiled) -> int:
    """The temporary buffers of a program that is compiled already."""
    analysis = compiled.memory_analysis()
    assert analysis is not None
    return analysis.temp_size_in_bytes


def peak_of_run(subject: Subject, way: Way) -> int:
    """The most bytes that the accelerator's allocator gave out over two steps.

    Everything counts: parameters, input, gradients, and what the compiler tries out.

    Raises:
        WorkerError: it could not be run.
    """
    settings = {"subject": asdict(subject), "way": asdict(way)}
    with Worker("invseg_jax.benchmarks.compiled:peak_worker", settings) as worker:
        return int(worker.number("peak"))


def peak_worker(settings: JsonObject) -> Answers:
    """The child process of `peak_of_run`."""

    def peak() -> int:
        way = settings["way"]
        group = None if way["group"] is None else Group(**way["group"])
        way = Way(Execution(**way["execution"]), way["ordinary"], group)
        program = Subject(**settings["subject"]).build(way)
        run = timed(program.lower().compile(), program.model, program.input())
        run()
        run()
        statistics = jax.devices()[0].memory_stats()
        if statistics is None:
            raise RuntimeError("this device does not count its memory")
        return statistics["peak_bytes_in_use"]

    return {"peak": peak}
