"""Brain tumours in four modalities, BraTS-like, with the fully invertible network.

    python -m invseg_jax.train --config configs/brats.py --data ROOT --workdir RUN
    python -m invseg_jax.train --config configs/brats.py:brats2020 --data ROOT --workdir RUN
    python -m invseg_jax.plan --config configs/brats.py --memory 4GiB

For `gpu`, the variant where none is given, ROOT is MSD Task01_BrainTumour (Antonelli et al. 2022),
four modalities and four classes; its cases are those of BraTS 2016 and 2017. For `brats2020`, ROOT
holds the folders BraTS20_Training_NNN of BraTS 2020, and the challenge's three overlapping regions
are segmented, a sigmoid each: whole tumour, tumour core, enhancing tumour. Both are of the same
make: FLAIR, T1, T1 with contrast and T2 at 1 mm, 240x240x155 voxels. The patch is nnU-Net's for
this data; the channels are this project's own choice, as Yamazaki et al. 2021 give none.

`gpu-partial`, `gpu-unet` and so on take another network, and `-vae` behind either, such as
`brats2020-vae` or `gpu-partial-vae`, adds the auto-encoder branch with which Myronenko 2018 won
BraTS 2018. None was run here, which needs the challenge's data: no score is claimed.
`plan` tells what one step takes of a CPU, GPU or TPU, for this patch or for the largest that fits.
"""

from dataclasses import replace

from invseg_jax.experiment import (
    Experiment,
    InferenceSettings,
    LossSettings,
    OptimiserSettings,
    Preprocessing,
    base_experiment,
    parse_variant,
)


def get_config(variant: str = "gpu") -> Experiment:
    """The experiment of a variant."""
    place, network, vae = parse_variant(variant, ("gpu", "brats2020"))
    base = base_experiment(network, vae=vae)
    return replace(
        base,
        steps=50_000,
        eval_every=2000,
        save_every=2000,
        data=replace(
            base.data,
            layout="brats2020" if place == "brats2020" else "msd",
            preprocess=Preprocessing(crop=True),  # skulls are stripped, the rest is air
            patch=(128, 128, 128),  # nnU-Net's
            batch=2,
        ),
        # Whole tumour, tumour core, enhancing tumour.
        loss=LossSettings(regions=place == "brats2020"),
        optimiser=OptimiserSettings(warmup=1000, average=0.999),
        inference=InferenceSettings(batch=1),
    )
