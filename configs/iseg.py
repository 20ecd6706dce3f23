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

from ml_collections import ConfigDict

from invseg_jax.configuration import EMBEDDED, Config, base_config, parse_variant

# About as many as 12 minutes allow on 2 CPU cores, without the VAE branch.
STEPS = {"FullInvRes": 1350, "PartialInvRes": 1400, "UNet3D": 900}


def get_config(variant: str = "full") -> Config:
    """The configuration of a variant."""
    place, network, vae = parse_variant(variant, ("quick", "cpu", "full"))
    config = base_config(network, vae=vae)
    config.data.layout = "iseg"
    config.data.foreground = 0.5
    # Read where no --data is given.
    with config.unlocked():
        config.data.embedded = ConfigDict(EMBEDDED)
    config.augment.flip = (0.5, 0.0, 0.0)  # left and right
    config.augment.rotation = 15.0
    config.augment.scale = (0.85, 1.2)
    if place in ("quick", "cpu"):
        config.data.embedded.spacing = 2.0
        config.data.patch = (48, 48, 48)
        if place == "quick":
            config.model.settings.channels = (32, 64, 128)
        config.steps = 400 if place == "quick" else STEPS[network]
        # A short run on few and alike subjects: fast first, and only light augmentation.
        config.optimiser.learning_rate = 4e-3
        config.optimiser.warmup = 30
        config.augment.affine_probability = 0.2
        config.augment.gamma_probability = 0.1
        config.augment.noise_probability = 0.0
        config.augment.blur_probability = 0.0
        config.augment.low_resolution_probability = 0.0
        config.eval_every = config.save_every = 100 if place == "quick" else 300
        config.eval_cases = 2
        config.log_every = 10
        config.inference.overlap = 0.25
        config.optimiser.average = 0.98
    else:
        config.data.patch = (96, 96, 96)
        config.steps = 20_000
        config.eval_every = config.save_every = 1000
        config.optimiser.warmup = 500
        config.optimiser.average = 0.999
    return config
