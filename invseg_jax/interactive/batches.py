"""The stream of training batches: shuffled cases, examples drawn by threads (Grain)."""

from collections.abc import Sequence

import grain
import numpy as np

from invseg_jax.interactive.examples import Shapes, clip_example, slice_example
from invseg_jax.interactive.stack import Stack


def example_batches(
    stacks: Sequence[Stack],
    shapes: Shapes,
    slices: int,
    examples: int,
    *,
    seed: int,
    threads: int,
    process: int = 0,
    processes: int = 1,
) -> grain.DatasetIterator[dict[str, np.ndarray]]:
    """An endless stream of batches; a function of the seed and the cases alone.

    Args:
        stacks: cases that hold an object each.
        shapes: of an example.
        slices: slices with prompts in an example.
        examples: how many make a batch, over all processes.
        seed: 0 to 2^32 - 1.
        threads: that draw examples ahead; 0: none.
        process: number of this process.
        processes: how many there are; they must divide the batch.

    Returns:
        Iterator over dicts; see `InteractiveObjective.batch`.
    """

    def example(stack: Stack, rng: np.random.Generator) -> dict[str, np.ndarray]:
        try:
            pairs = [slice_example(stack, shapes, rng) for _ in range(slices)]
            images, truths = zip(*pairs, strict=True)
            return {
                "slices": np.stack(images),
                "slice_truth": np.stack(truths),
                **clip_example(stack, shapes, rng),
            }
        except Exception as error:
            # The traceback of a thread that reads ahead does not tell what it was at.
            error.add_note(f"while drawing an example of case {stack.id}")
            raise

    stream = grain.MapDataset.source(list(stacks)).seed(seed).shuffle().repeat()
    stream = stream.random_map(example)[process::processes]
    stream = stream.batch(examples // processes, drop_remainder=True)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    return iter(stream.to_iter_dataset(options))
