"""Our side of the comparisons that need a process for each candidate (`worker`)."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from invseg_jax import models
from invseg_jax.benchmarks import resident, spread
from invseg_jax.benchmarks.timing import timed
from invseg_jax.benchmarks.worker import Answers
from invseg_jax.devices.main_memory import give_back
from invseg_jax.files.json_values import JsonObject
from invseg_jax.layers.execution import Execution


def network(settings: JsonObject) -> Answers:
    """A network's gradient, with the answers that `torch_worker.network` gives.

    Args:
        settings: name of the network and its arguments `network`; modalities and classes;
            execution, the arguments of `Execution`; shape (n, d, h, w) of the input; threads;
            cache, the folder of the compilation cache. On CPUs the batch is spread over virtual
            devices, as in training; elsewhere it is on one.
    """
    shape = tuple(settings["shape"])
    jax.config.update("jax_compilation_cache_dir", settings["cache"])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    spread.prepare(shape[0], settings["threads"])
    execution = Execution(**settings["execution"])
    held: dict[str, Any] = {}

    def prepare(network: Mapping[str, Any], shape: tuple[int, ...]):
        kind = models.find(settings["name"]).Settings
        # Without deep supervision, as the peers.
        given = {"auxiliary": 0} | {key: _hashable(value) for key, value in network.items()}
        model = models.build(
            settings["name"],
            settings["modalities"],
            settings["classes"],
            kind(**given),
            0,
            execution,
        )
        x = np.random.default_rng(0).standard_normal(
            (*shape, settings["modalities"]), dtype=np.float32
        )
        model, x = spread.place(model, x)
        gradient = jax.jit(jax.value_and_grad(_loss)).lower(model, x).compile()
        give_back()  # as training does
        return model, gradient, x

    def baseline() -> int:
        coarse = 2 ** (len(settings["network"]["channels"]) - 1)
        model, compiled, x = prepare(
            {**settings["network"], "couplings": 1}, (shape[0], *(2 * coarse,) * 3)
        )
        timed(compiled, model, x)()
        return resident.now() if _allocator_peak() is None else 0

    def build() -> None:
        held["model"], held["gradient"], held["x"] = prepare(settings["network"], shape)

    def parameters() -> int:
        return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(held["model"], nnx.Param)))

    def compiled_bytes() -> int:
        memory = held["gradient"].memory_analysis()
        return (
            memory.argument_size_in_bytes
            + memory.output_size_in_bytes
            + memory.temp_size_in_bytes
            - memory.alias_size_in_bytes
        )

    return {
        "baseline": baseline,
        "build": build,
        "parameters": parameters,
        "compiled": compiled_bytes,
        "step": lambda: timed(held["gradient"], held["model"], held["x"])(),
        "peak": lambda: _allocator_peak() or resident.process_peak(),
    }


def _loss(model, x: jax.Array) -> jax.Array:
    return jnp.square(model(x)).mean()


def _allocator_peak() -> int | None:
    """The most bytes that the accelerator's allocator gave out; None on CPUs."""
    statistics = jax.devices()[0].memory_stats()
    return None if statistics is None else statistics["peak_bytes_in_use"]


def _hashable(value: Any) -> Any:
    """A list, as JSON gives it, as a tuple."""
    return tuple(value) if isinstance(value, list) else value
