"""Interactive segmentation: a person marks a slice, and networks carry it through the volume.

    python -m invseg_jax.train --config configs/interactive.py:cpu --data ROOT --workdir RUN
    python -m invseg_jax.evaluate --workdir RUN
    python -m invseg_jax.annotate --workdir RUN --image SCAN.nii.gz

After Mem3D (Zhou et al. 2021): an interaction network segments the slice with the prompts, a memory
network carries it into the others, and a quality head says which slice to correct next.

    variant       data
    cpu           soft-tissue sarcoma, the MR alone; ROOT as in configs/sarcoma.py
    gpu           the same, larger networks; not run: needs a GPU
    hippocampus   MSD Task04; ROOT as in configs/hippocampus.py
    msd-lung      MSD Task06, lung cancer on CT; not run: needs the data
    msd-colon     MSD Task10, colon cancer on CT; not run: needs the data
    kits19        KiTS19, kidney and tumour on CT: ROOT holds case_00000/imaging.nii.gz and
                  case_00000/segmentation.nii.gz, ...; not run: needs the data

2400 steps of `cpu` take some 70 minutes on 2 CPU cores (0.58 steps a second). After 1 and 6 marked
slices it reached a mean Dice of 0.75 and 0.88; docs/measurements/interactive.md has all figures.

The last three are the data of the paper. The paper's interaction network sees one object at a time;
so do these: each class is an object of its own.
"""

from dataclasses import replace

from invseg_jax.errors import UserError
from invseg_jax.experiment import (
    DataSettings,
    Experiment,
    InteractiveSettings,
    OptimiserSettings,
    PlainSettings,
    Preprocessing,
)

SARCOMA = DataSettings(
    layout="plain",
    plain=PlainSettings(
        images=(("mr", "*/mr_t1.nii.gz"),),
        label="*/tumour.nii.gz",
        classes=(("tumour", 1),),
    ),
)
KITS = PlainSettings(
    images=(("ct", "case_*/imaging.nii.gz"),),
    label="case_*/segmentation.nii.gz",
    classes=(("kidney", 1), ("tumour", 2)),
)
CT = Preprocessing(normalisation=("ct",))
DATA = {
    "cpu": SARCOMA,
    "gpu": SARCOMA,
    "hippocampus": DataSettings(),
    "msd-lung": DataSettings(preprocess=CT),
    "msd-colon": DataSettings(preprocess=CT),
    "kits19": DataSettings(layout="plain", plain=KITS, preprocess=CT),
}
LARGE = InteractiveSettings(
    window=192, channels=(48, 96, 160, 256), couplings=4, key=64, value=192, asked=8
)


def get_config(variant: str = "cpu") -> Experiment:
    """The experiment of a variant."""
    if variant not in DATA:
        raise UserError(f"there is no variant {variant!r}; there are {', '.join(DATA)}")
    experiment = Experiment(
        task="interactive",
        steps=2400,
        eval_every=400,
        data=replace(DATA[variant], batch=4),
        optimiser=OptimiserSettings(warmup=100, average=0.998),
        # Clips of 6 slices need little memory; "plain" takes two thirds of the time on CPUs.
        interactive=InteractiveSettings(memory="plain", asked=6),
    )
    if variant == "cpu":
        return experiment
    if variant == "hippocampus":  # the object has about 20 x 40 voxels of 1 mm
        small = replace(experiment.interactive, window=64, channels=(32, 64, 96), level=1)
        return replace(experiment, steps=1500, interactive=small)
    return replace(
        experiment,
        steps=20_000,
        eval_every=2000,
        save_every=1000,
        data=replace(experiment.data, batch=16),
        optimiser=OptimiserSettings(warmup=500, average=0.999),
        interactive=LARGE,
    )
