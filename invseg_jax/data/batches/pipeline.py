"""The stream of training batches: shuffled cases, random crops, read ahead by threads (Grain)."""

from collections.abc import Sequence
from typing import Any

import grain
import numpy as np

from invseg_jax.data.batches.crops import choose_start, crop, crop_label
from invseg_jax.data.prepare.cache import CachedCase
from invseg_jax.errors import UserError
from invseg_jax.experiment import DataSettings


def training_batches(
    cases: Sequence[CachedCase],
    settings: DataSettings,
    *,
    patches: int | None = None,
    seed: int = 0,
    margin: int = 0,
    process: int = 0,
    processes: int = 1,
) -> grain.DatasetIterator[dict[str, np.ndarray]]:
    """An endless stream of batches of random crops.

    Every case comes once an epoch, in another order and with another crop each time; a batch may
    reach over the end of an epoch, so it can be larger than the number of cases. The stream is a
    function of the seed and the cases alone: threads do not change it, and with several processes
    the k-th batches of all of them together hold just the crops of the k-th batch of one process.
    `get_state` and `set_state` resume it (also by Orbax, through Grain's checkpoint handler); the
    state is the number of batches given, so resume with the same seed and batch, on any number of
    processes and threads.

    Threads, not processes: the cache is memory-mapped and numpy copies outside of the GIL, while
    Grain's worker processes need parsed absl flags and seconds to start.

    Args:
        cases: cached cases that all have a label map and the same channels.
        settings: of the patch, how crops are drawn, and the threads that read ahead, two batches
            each. A volume smaller than the patch is padded with zeros, see `crop_label` too. Voxels
            that nobody labelled (`IGNORED`) are no foreground.
        patches: how many make a batch, over all processes; must divide among them. None:
            `settings.batch`.
        seed: 0 to 2**32 - 1.
        margin: voxels at each side of a patch that are context alone: patches reach so far beyond
            the volume, into zeros, and what lies inside of it is the middle of some patch.
        process: index of this process, `jax.process_index()`.
        processes: number of processes, `jax.process_count()`.

    Returns:
        Iterator over dicts: image (n, *patch, C) float32 and label (n, *patch) int32, where
        n = patches // processes.

    Raises:
        UserError: no cases, a case without label map, patches that do not divide; and, while
            iterating, a cache entry that cannot be read, with the case and the file.
    """
    patch, count = settings.patch, settings.batch if patches is None else patches
    if not 0 <= process < processes:
        raise ValueError(f"process {process} of {processes}")
    if count < 1 or count % processes:
        raise UserError(
            f"{count} patches a step do not divide among {processes} process(es): give a multiple "
            "in config.data.batch"
        )
    if not cases:
        raise UserError("no training cases: check the split and the data's root")
    # The label maps are not read: all of them together may be many gigabytes.
    unlabelled = [case.id for case in cases if not case.labelled]
    if unlabelled:
        raise UserError(
            f"cannot train on cases without a label map: {', '.join(unlabelled)}; leave them out"
        )

    def random_crop(case: CachedCase, rng: np.random.Generator) -> dict[str, np.ndarray]:
        try:
            image, label = _read(case, "image"), _read(case, "label")
            start = choose_start(
                rng,
                label.shape,
                patch,
                foreground=settings.foreground,
                classes=case.classes,
                voxels=lambda index: _read(case, "foreground", index),
                margin=margin,
            )
            return {
                "image": crop(image, start, patch).astype(np.float32, copy=False),
                "label": crop_label(label, start, patch).astype(np.int32),
            }
        except Exception as error:
            # The traceback of a thread that reads ahead does not tell what it was at.
            error.add_note(f"while reading case {case.id} from {case.folder}")
            raise

    stream = grain.MapDataset.source(list(cases)).seed(seed).shuffle().repeat()
    # Divided among processes last, so that neither the order nor the crops depend on their number,
    # and fewer cases than processes are enough.
    stream = stream.random_map(random_crop)[process::processes]
    # There is no remainder; without this, Grain divides the stream's length (2**63 - 1) in floating
    # point, and a batch of one overflows.
    stream = stream.batch(count // processes, drop_remainder=True)
    options = grain.ReadOptions(
        num_threads=settings.threads, prefetch_buffer_size=2 * settings.threads
    )
    return iter(stream.to_iter_dataset(options))


def _read(case: CachedCase, what: str, index: int | None = None) -> Any:
    """`case.image`, `case.label` or `case.foreground(index)`; a fault names the case and file."""
    try:
        value = getattr(case, what) if index is None else getattr(case, what)(index)
        if value is None:
            raise ValueError("it is gone")
        fits = value.shape[:3] == case.shape if index is None else value.shape[1:] == (3,)
        if not fits:
            raise ValueError(f"it is of the shape {value.shape}")
        return value
    except (OSError, ValueError, EOFError) as error:
        file = case.folder / f"{what if index is None else f'{what}-{index}'}.npy"
        raise UserError(
            f"case {case.id}: {file} cannot be read ({error}); delete this folder, and it is made "
            "anew at the next start"
        ) from error
