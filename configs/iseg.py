"""Infant brain tissue at six months, on iSeg-2019 (Sun et al. 2021) or the embedded cohort.

    python -m invseg_jax.train --config configs/iseg.py:quick --workdir RUN
    python -m invseg_jax.train --config configs/iseg.py --data ROOT --workdir RUN
    python -m invseg_jax.evaluate --workdir RUN

ROOT holds subject-N-T1.hdr/.img, -T2, -label (or the folder iSeg-2019-Training with them). Without
--data all variants read the embedded cohort: ten brains simulated from the ICBM 152 template.

`quick`, for a laptop's CPU, on the embedded cohort at 2 mm: 3 minutes of training on 2 cores, Dice
of the two subjects held out 0.97 (CSF), 0.92 (grey matter), 0.88 (white matter). It is made to
show the whole path in minutes, not to score on the real challenge.

`cpu` compares the networks on 2 CPU cores, also at 2 mm: 1.50 million parameters each, to 1 %, the
VAE branch not counted, and 12 minutes of training with `python -m invseg_jax.compare --minutes 12`.
Dice of the two subjects held out, one run each:

    variant           network               steps   memory of a step   CSF     GM      WM
    cpu               FullInvRes            1300    203 MiB            0.970   0.934   0.909
    cpu-partial       PartialInvRes         1330    254 MiB            0.971   0.932   0.905
    cpu-unet          UNet3D                 918    545 MiB            0.970   0.936   0.912
    cpu-full-vae      FullInvRes, VAE        697    283 MiB            0.968   0.926   0.894
    cpu-partial-vae   PartialInvRes, VAE     654    329 MiB            0.968   0.920   0.884
    cpu-unet-vae      UNet3D, VAE            607    693 MiB            0.969   0.930   0.902

With VAE the steps are what 12 minutes allowed before the branch's decoder was made to keep less.

`full`, for a GPU, at 1 mm: Yamazaki et al. 2021 give neither channels nor a recipe for Fully-InvRes
on this data, so all settings are this project's own choice. Not measured yet. For orientation,
nnU-Net reached 0.960 / 0.929 / 0.911 on the challenge's 13 validation subjects.

`-partial` and `-unet` take another network, and `-vae` behind either, such as `quick-vae` or
`full-partial-vae`, adds the VAE branch (Myronenko 2018) as Yamazaki et al. do. It makes a
step take 1.4 to 2 times as long.
"""

from dataclasses import replace

from invseg_jax.experiment import (
    Augmentation,
    EmbeddedSettings,
    Experiment,
    InferenceSettings,
    ModelSettings,
    OptimiserSettings,
    base_experiment,
    parse_variant,
)

# About as many as 12 minutes allow on 2 CPU cores, without the VAE branch.
STEPS = {"FullInvRes": 1350, "PartialInvRes": 1400, "UNet3D": 900}


def get_config(variant: str = "full") -> Experiment:
    """The experiment of a variant."""
    place, network, vae = parse_variant(variant, ("quick", "cpu", "full"))
    base = base_experiment(network, vae=vae)
    # Left and right are mirror images.
    augment = Augmentation(flip=(0.5, 0.0, 0.0), rotation=15.0, scale=(0.85, 1.2))
    # The embedded cohort is read where no --data is given.
    data = replace(base.data, layout="iseg", foreground=0.5, embedded=EmbeddedSettings())
    if place == "full":
        return replace(
            base,
            steps=20_000,
            eval_every=1000,
            save_every=1000,
            data=replace(data, patch=(96, 96, 96)),
            augment=augment,
            optimiser=OptimiserSettings(warmup=500, average=0.999),
        )
    quick = place == "quick"
    return replace(
        base,
        steps=400 if quick else STEPS[network],
        eval_every=100 if quick else 300,
        save_every=100 if quick else 300,
        eval_cases=2,
        log_every=10,
        model=shallow(base.model) if quick else base.model,
        data=replace(data, embedded=EmbeddedSettings(spacing=2.0), patch=(48, 48, 48)),
        # A short run on few and alike subjects: fast first, and only light augmentation.
        augment=replace(
            augment,
            affine_probability=0.2,
            gamma_probability=0.1,
            noise_probability=0.0,
            blur_probability=0.0,
            low_resolution_probability=0.0,
        ),
        optimiser=OptimiserSettings(learning_rate=4e-3, warmup=30, average=0.98),
        inference=InferenceSettings(overlap=0.25),
    )


def shallow(model: ModelSettings) -> ModelSettings:
    """The network with three levels."""
    return model.with_network(channels=(32, 64, 128))
