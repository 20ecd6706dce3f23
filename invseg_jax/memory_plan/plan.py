"""What one training step takes of a device's memory, and the largest step that fits."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from invseg_jax.errors import UserError
from invseg_jax.experiment import Experiment
from invseg_jax.files.json_values import JsonObject
from invseg_jax.memory_plan.choice import AXES

ASSUMED = 4  # modalities and classes where nothing says how many; they hardly matter


@dataclass(frozen=True)
class Images:
    """What a network is to be fed.

    Attributes:
        modalities: channels.
        classes: with the background; or regions, where the configuration segments those.
        size: voxels of the median case, or None where no data set was given.
        flip: how often training mirrors along each axis, where the data set's classes or regions
            form left/right pairs; else None, and the configuration decides.
    """

    modalities: int
    classes: int
    size: tuple[int, int, int] | None = None
    flip: tuple[float, float, float] | None = None


def read_images(
    experiment: Experiment,
    root: str | None,
    modalities: int | None,
    classes: int | None,
    say: Callable[[str], None] = print,
) -> Images:
    """Modalities, classes and the case's size, from a data set or from what the user gives.

    Raises:
        UserError: no such data set, fewer than one modality, two classes or one region, or weights
            of the loss for another number of them.
    """
    size = flip = None
    if root is not None:
        from invseg_jax.data.batches.flips import choose_flips
        from invseg_jax.data.batches.regions import regions_to_segment
        from invseg_jax.memory_plan.cases import median_size

        found, size = median_size(experiment.data, root, say)
        modalities = modalities or len(found.modalities)
        regions = regions_to_segment(experiment.loss, found)
        classes = classes or len(regions or found.classes)
        flips = choose_flips(experiment.augment, experiment.data.preprocess, found.classes, regions)
        flip = flips.probabilities if flips.note else None
    kind, least = ("regions", 1) if experiment.loss.regions else ("classes", 2)
    weights = experiment.loss.weights
    if modalities is None or classes is None:
        modalities = ASSUMED if modalities is None else modalities
        classes = (len(weights) or ASSUMED) if classes is None else classes
        say(
            f"taking {modalities} modalities and {classes} {kind}; --modalities and --classes, or "
            "--data, say otherwise"
        )
    if modalities < 1 or classes < least:
        raise UserError(
            f"{modalities} modalities and {classes} {kind}: give at least 1 and at least {least}"
        )
    if weights and len(weights) != classes:
        raise UserError(f"config.loss.weights has {len(weights)} weights for {classes} {kind}")
    return Images(modalities, classes, size, flip)


def plan(
    experiment: Experiment,
    images: Images,
    *,
    budget: int | None = None,
    platform: str | None = None,
    topology: str | None = None,
    vary: Sequence[str] = AXES,
    output: Path | None = None,
    say: Callable[[str], None] = print,
) -> JsonObject:
    """Compiles training steps, prints their memory, and searches what fits.

    Args:
        experiment: see `configs/`.
        images: what the network is fed.
        budget: bytes of one memory that must suffice; None to tell the configuration's alone.
        platform: one of `planning.platform.PLATFORMS`; None for what is here.
        topology: of a TPU slice.
        vary: what the search may change, of `AXES`.
        output: the JSON file, or None.
        say: told one line at a time.

    Returns:
        What the JSON file holds: `steps`, one for each column of the table; with a budget also
        `tried`, every step that was compiled on the way, and `config`, the arguments to paste.

    Raises:
        UserError: a fault of the configuration, no such platform, nothing that fits, or a file that
            cannot be written.
    """
    from invseg_jax.files.byte_size import show_size
    from invseg_jax.memory_plan import platform as platforms
    from invseg_jax.memory_plan.choice import Choice
    from invseg_jax.memory_plan.measure import Measured, measure
    from invseg_jax.memory_plan.report import as_json
    from invseg_jax.models import find

    if unknown := set(vary) - set(AXES):
        raise UserError(f"--vary {', '.join(sorted(unknown))}: there are {', '.join(AXES)}")
    if images.flip is not None:
        experiment = experiment.changed({"augment.flip": images.flip})
    platforms.prepare(platform, experiment.devices)
    where = platforms.Platform(platform, topology)

    def compiled(choice: Choice, memory: str) -> Measured:
        changed = choice.into(experiment).changed({"model.memory": memory})
        with _progress(f"compiling {memory}, {choice}"):
            measured = measure(changed, where, images.modalities, images.classes)
        size = "more than the device has" if measured.refused else show_size(measured.rows.total)
        say(f"{memory}, {choice}: {size} ({measured.seconds:.0f} s)")
        return measured

    own = experiment.model.memory
    assert own is not None
    result: JsonObject = {"platform": where.name, "memory": budget}
    network = find(experiment.model.name)
    if budget is None:
        choice = Choice.of(experiment)
        order = [mode for mode in ("plain", "remat", "reversible") if mode in network.memories]
        modes = {mode: compiled(choice, mode) for mode in order}
    else:
        found = _search(experiment, images, budget, where, vary, lambda c: compiled(c, own))
        choice, modes = found.choice, {own: found.measured}
        result["tried"] = [as_json(c, m, own) for c, m in found.tried]
        result["config"] = choice.lines()
    result["steps"] = [as_json(choice, measured, mode) for mode, measured in modes.items()]
    _show(experiment, images, where, choice, modes)
    if budget is not None:
        say(f"The largest step in {show_size(budget)}; arguments for train:")
        say("")
        say("    " + " ".join(choice.lines()))
    if output is not None:
        _write(output, result)
    return result


def _search(
    experiment: Experiment, images: Images, budget: int, where, vary: Sequence[str], compiled
):
    from flax import nnx

    from invseg_jax.inference.network import build_model
    from invseg_jax.memory_plan.choice import Choice
    from invseg_jax.memory_plan.search import search
    from invseg_jax.models import Network

    @cache
    def build(choice: Choice) -> Network:
        changed = choice.into(experiment)
        return nnx.eval_shape(lambda: build_model(changed, images.modalities, images.classes))

    def possible(choice: Choice) -> bool:
        try:
            # The patch and the batch are no part of a network: one is built for all of them.
            model = build(replace(choice, patch=experiment.data.patch, batch=1))
            model.check_patch(choice.patch)
        except (UserError, ValueError):
            return False
        return True

    return search(
        experiment,
        budget,
        compiled,
        devices=len(where.devices),
        shared=where.shared,
        multiple=build(Choice.of(experiment)).multiple,
        largest_patch=images.size,
        vary=vary,
        possible=possible,
    )


def _show(experiment: Experiment, images: Images, where, choice, modes) -> None:
    from rich.console import Console

    from invseg_jax.devices.compiled_memory import device_bytes
    from invseg_jax.files.byte_size import show_size
    from invseg_jax.memory_plan import report

    console = Console(highlight=False)
    first = next(iter(modes.values()))
    title = (
        f"One training step of {experiment.model.name}, {choice}\n{first.count:,} parameters, "
        f"{images.modalities} modalities, {images.classes} "
        f"{'regions' if experiment.loss.regions else 'classes'}, on {first.devices} "
        f"{where.name} device(s)"
    )
    console.print()
    console.print(report.table(title, modes, experiment.model.memory or ""))
    console.print(report.NOTE)
    console.print(report.ON_CPU if where.shared else report.ON_ACCELERATORS)
    if experiment.model.memory == "reversible":
        console.print(
            "Reversible activations are the trunk's output, whatever the depth: more couplings add "
            "parameters and time."
        )
    for mode, measured in modes.items():
        if measured.refused:
            console.print(f"{mode}: the compiler refused: {measured.refused}", markup=False)
    have = None if where.name.startswith("tpu-") else device_bytes(where.devices[0])
    if have is not None:
        console.print(f"{where.devices[0].device_kind} here has {show_size(have)} free for it.")
    console.print()


@contextmanager
def _progress(text: str) -> Iterator[None]:
    """A line with a clock on a terminal; elsewhere nothing, as a line follows each compilation."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(highlight=False)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        progress.add_task(text, total=None)
        yield


def _write(output: Path, result: JsonObject) -> None:
    from invseg_jax.files.atomic_file import write_atomically

    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(output, (json.dumps(result, indent=1) + "\n").encode())
    except OSError as error:
        raise UserError(f"cannot write {output}: {error.strerror}") from error
