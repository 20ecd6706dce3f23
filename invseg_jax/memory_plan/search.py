"""The largest training step that fits a memory: patch first, then batch, then width, then depth.

A compilation takes seconds to minutes, so few are made: the bytes of a step are close to a straight
line in the number of voxels, in the batch, in the channels and in the couplings. From what has been
compiled the line foretells the largest candidate that fits; that one is compiled, and corrects the
line, until the next candidate is foretold not to fit. What is returned has been compiled.

Where devices share a memory, it holds a copy of the state for each, and how many devices `train`
takes varies with the batch: 8 examples on 4 devices may take more than 7 on one. There the bytes
are foretold from both numbers, and that a batch does not fit says nothing of larger ones.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from invseg_jax.devices.virtual_devices import largest_divisor
from invseg_jax.errors import UserError
from invseg_jax.experiment import Experiment
from invseg_jax.files.byte_size import show_size
from invseg_jax.memory_plan.choice import (
    AXES,
    DEPTHS,
    PATCH_TIMES,
    WIDTHS,
    Choice,
    batches,
    patches,
)
from invseg_jax.memory_plan.measure import Measured

Measure = Callable[[Choice], Measured]


@dataclass(frozen=True)
class Found:
    """What a search came to.

    Attributes:
        choice: the largest step that fits.
        measured: its compiled memory.
        tried: everything that was compiled on the way, in order.
    """

    choice: Choice
    measured: Measured
    tried: tuple[tuple[Choice, Measured], ...]


def search(
    experiment: Experiment,
    budget: int,
    measure: Measure,
    *,
    devices: int,
    shared: bool,
    multiple: int,
    largest_patch: Sequence[int] | None = None,
    vary: Sequence[str] = AXES,
    possible: Callable[[Choice], bool] = lambda choice: True,
) -> Found:
    """Searches the largest patch, batch, width and depth whose step fits, each after the other.

    The patch grows at the smallest batch, up to the case's size, for what a network can see counts
    most; then the batch, up to 8 a device (on a CPU in all); then the channels, up to twice as
    many; then the couplings, up to twice as many, which reversible networks take almost for free.

    Args:
        experiment: where the search begins; a value that is not varied stays as it is.
        budget: bytes.
        measure: compiles a choice; asked once for each.
        devices: how many there are to spread a batch over.
        shared: whether they share one memory.
        multiple: of which every size of a patch is one.
        largest_patch: voxels; by default twice the configuration's patch.
        vary: which of `AXES` may change.
        possible: whether the network can have a choice's patch and channels.

    Raises:
        UserError: not even the smallest step fits.
    """
    tried: dict[Choice, Measured] = {}

    def compiled(choice: Choice) -> Measured:
        if choice not in tried:
            tried[choice] = measure(choice)
        return tried[choice]

    best = Choice.of(experiment)
    # Accelerators are all used; on a CPU `train` takes as many devices as divide the batch.
    sizes = batches(experiment.devices or devices, shared, not shared or experiment.devices > 0)
    if "batch" in vary:
        best = replace(best, batch=sizes[0])
    if "patch" in vary:
        largest = largest_patch or [PATCH_TIMES * size for size in experiment.data.patch]
        grown = [replace(best, patch=patch) for patch in patches(largest, multiple)]
        grown = [choice for choice in grown if possible(choice)] or [best]
        # Eight activations at full resolution, to begin near the end.
        near = [8 * 4 * prod(c.patch) * c.batch * c.channels[0] <= budget for c in grown]
        best = _largest(grown, lambda c: prod(c.patch), compiled, budget, sum(near) - 1)
    else:
        best = _largest([best], lambda _: 1, compiled, budget)
    if "batch" in vary:
        bigger = [replace(best, batch=size) for size in sizes]
        if shared:

            def copies(batch: int) -> int:
                return experiment.devices or largest_divisor(batch, devices)

            best = _largest_batch(bigger, copies, compiled, budget)
        else:
            best = _largest(bigger, lambda c: c.batch, compiled, budget)
    if "width" in vary:
        wider = [c for c in _different(best.wider(times) for times in WIDTHS) if possible(c)]
        best = _largest(wider, lambda c: sum(c.channels), compiled, budget)
    if "depth" in vary and best.couplings is not None:
        deeper = _different(best.deeper(times) for times in DEPTHS)
        free = experiment.model.memory == "reversible"
        best = _largest(deeper, _depth, compiled, budget, fixed=lambda m: _beside_depth(m, free))
    return Found(best, tried[best], tuple(tried.items()))


def _largest(
    candidates: Sequence[Choice],
    work: Callable[[Choice], float],
    compiled: Measure,
    budget: int,
    first: int = 0,
    fixed: Callable[[Measured], float] = lambda measured: measured.rows.state,
) -> Choice:
    """The last candidate that fits, where each takes more than the one before.

    Args:
        candidates: in growing order.
        work: what the bytes of a candidate grow with.
        compiled: gives a candidate's memory.
        budget: bytes.
        first: the index to begin with.
        fixed: the bytes of a candidate that do not grow, for the line through a single one.
    """
    low, high = -1, len(candidates)
    points: dict[int, float] = {}
    line = (0.0, 0.0)
    index = first
    while low + 1 < high:
        index = min(max(index, low + 1), high - 1)
        measured = compiled(candidates[index])
        if measured.fits(budget):
            low = index
        else:
            high = index
        x, total = work(candidates[index]), float(measured.rows.total)
        if not points:
            slope = (total - fixed(measured)) / x
            line = (total - slope * x, slope)
        else:
            near = min(points, key=lambda i: abs(i - index))
            slope = (total - points[near]) / (x - work(candidates[near]))
            # A refused program's size may be unknown, and a line that falls foretells nothing.
            if slope > 0 and measured.refused is None:
                line = (total - slope * x, slope)
        points[index] = total
        inside = range(low + 1, high)
        foretold = [i for i in inside if line[0] + line[1] * work(candidates[i]) <= budget]
        if low >= 0 and not foretold:
            break
        index = max(foretold, default=(low + high) // 2)
        if measured.refused is not None:
            # The device has less than the budget, nobody knows how much less.
            index = (low + high) // 2
    if low < 0:
        smallest = compiled(candidates[0])
        raise UserError(
            f"the smallest step, {candidates[0]}, takes {show_size(smallest.rows.total)} and "
            f"{show_size(budget)} are given; take fewer channels (config.model.settings.channels)"
        )
    return candidates[low]


def _largest_batch(
    candidates: Sequence[Choice], copies: Callable[[int], int], compiled: Measure, budget: int
) -> Choice:
    """The largest batch that fits a memory in which the state lies once for each device.

    A batch of b examples on c devices takes

        bytes(b, c) = c (state + x) + b y

    with x, what else each device needs once, and y, what an example needs, fitted to what has been
    compiled. While each device has had one example, the two cannot be told apart and are taken as
    equal: mostly x is less, and this asks for one compilation too many rather than too few.

    Args:
        candidates: with growing batches; the first is known to fit.
        copies: on how many devices a batch lies.
        compiled: gives a candidate's memory.
        budget: bytes.
    """
    best = candidates[0]
    points: dict[int, Measured] = {}
    inside = [best]
    while inside:
        chosen = inside[-1]
        measured = points[chosen.batch] = compiled(chosen)
        if measured.fits(budget):
            best = chosen
        shares = [[copies(batch), batch] for batch in points]
        beside = [m.rows.total - m.rows.state for m in points.values()]
        # The least squares, and of several solutions the smallest.
        once, each = np.linalg.lstsq(np.asarray(shares, float), np.asarray(beside, float))[0]
        state = measured.rows.state / copies(chosen.batch)
        inside = [
            c
            for c in candidates
            if c.batch > best.batch
            and c.batch not in points
            and round(copies(c.batch) * (state + once) + c.batch * each) <= budget
        ]
    return best


def _different(choices) -> list[Choice]:
    return list(dict.fromkeys(choices))


def _depth(choice: Choice) -> int:
    counts = (choice.couplings, choice.decoder_couplings)
    return sum(c if isinstance(c, int) else sum(c) for c in counts if c is not None)


def _beside_depth(measured: Measured, free: bool) -> float:
    """The bytes that do not grow with the couplings."""
    rows = measured.rows
    return rows.total - rows.state - (0 if free else rows.activations)
