"""The largest training step that fits a memory: patch first, then batch, then width, then depth.

A compilation takes seconds to minutes, so few are made: the bytes of a step are close to a straight
line in the number of voxels, in the batch, in the channels and in the couplings. From what has been
compiled the line foretells the largest candidate that fits; that one is compiled, and corrects the
line, until the next candidate is foretold not to fit. What is returned has been compiled.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod

from invseg_jax.configuration import Config
from invseg_jax.errors import UserError
from invseg_jax.planning.choice import (
    AXES,
    DEPTHS,
    PATCH_TIMES,
    WIDTHS,
    Choice,
    batches,
    patches,
)
from invseg_jax.planning.measure import Measured
from invseg_jax.planning.size import show_size

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
    config: Config,
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
        config: where the search begins; a value that is not varied stays as it is.
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

    best = Choice.of(config)
    # Accelerators are all used; on a CPU `train` takes as many devices as divide the batch.
    sizes = batches(config.devices or devices, shared, not shared or config.devices > 0)
    if "batch" in vary:
        best = replace(best, batch=sizes[0])
    if "patch" in vary:
        largest = largest_patch or [PATCH_TIMES * size for size in config.data.patch]
        grown = [replace(best, patch=patch) for patch in patches(largest, multiple)]
        grown = [choice for choice in grown if possible(choice)] or [best]
        # Eight activations at full resolution, to begin near the end.
        near = [8 * 4 * prod(c.patch) * c.batch * c.channels[0] <= budget for c in grown]
        best = _largest(grown, lambda c: prod(c.patch), compiled, budget, sum(near) - 1)
    else:
        best = _largest([best], lambda _: 1, compiled, budget)
    if "batch" in vary:
        bigger = [replace(best, batch=size) for size in sizes]
        best = _largest(bigger, lambda c: c.batch, compiled, budget)
    if "width" in vary:
        wider = [c for c in _different(best.wider(times) for times in WIDTHS) if possible(c)]
        best = _largest(wider, lambda c: sum(c.channels), compiled, budget)
    if "depth" in vary and best.couplings is not None:
        deeper = _different(best.deeper(times) for times in DEPTHS)
        free = config.model.memory == "reversible"
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


def _different(choices) -> list[Choice]:
    return list(dict.fromkeys(choices))


def _depth(choice: Choice) -> int:
    counts = (choice.couplings, choice.decoder_couplings)
    return sum(c if isinstance(c, int) else sum(c) for c in counts if c is not None)


def _beside_depth(measured: Measured, free: bool) -> float:
    """The bytes that do not grow with the couplings."""
    rows = measured.rows
    return rows.total - rows.state - (0 if free else rows.activations)
