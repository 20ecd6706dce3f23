"""Interactive segmentation: a person marks a slice, and the networks carry it through the volume.

    python -m invseg_jax.train --config configs/interactive.py:cpu --data ROOT --workdir RUN
    python -m invseg_jax.evaluate --workdir RUN
    python -m invseg_jax.annotate --workdir RUN --image SCAN.nii.gz

After Mem3D (Zhou et al. 2021): an interaction network segments the slice with the prompts, a memory
network carries it into the others, and a quality head says which slice to correct next.

`cpu` and `gpu` take the MR of the soft-tissue sarcoma data of configs/sarcoma.py: ROOT holds one
folder a subject with mr_t1.nii.gz and tumour.nii.gz.
"""

from dataclasses import replace

from invseg_jax.errors import UserError
from invseg_jax.experiment import (
    DataSettings,
    Experiment,
    InteractiveSettings,
    OptimiserSettings,
    PlainSettings,
)

FILES = PlainSettings(
    images=(("mr", "*/mr_t1.nii.gz"),),
    label="*/tumour.nii.gz",
    classes=(("tumour", 1),),
)
VARIANTS = ("cpu", "gpu")


def get_config(variant: str = "cpu") -> Experiment:
    """The experiment of a variant."""
    if variant not in VARIANTS:
        raise UserError(f"there is no variant {variant!r}; there are {', '.join(VARIANTS)}")
    cpu = Experiment(
        task="interactive",
        steps=2400,
        eval_every=500,
        save_every=250,
        data=DataSettings(layout="plain", plain=FILES, batch=4),
        optimiser=OptimiserSettings(warmup=100, average=0.998),
        interactive=InteractiveSettings(memory="plain"),  # faster, and memory is not short here
    )
    if variant == "cpu":
        return cpu
    return replace(
        cpu,
        steps=20_000,
        eval_every=2000,
        save_every=1000,
        data=replace(cpu.data, batch=16),
        optimiser=OptimiserSettings(warmup=500, average=0.999),
        interactive=InteractiveSettings(
            window=192, channels=(48, 96, 160, 256), couplings=4, key=64, value=192, asked=8
        ),
    )
