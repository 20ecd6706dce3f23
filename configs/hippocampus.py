"""Hippocampus, anterior and posterior, on MSD Task04 (Antonelli et al. 2022).

    python -m invseg_jax.train --config configs/hippocampus.py:cpu --data ROOT --workdir RUN
    python -m invseg_jax.evaluate --workdir RUN

ROOT holds dataset.json, imagesTr and labelsTr. Patch, loss and augmentation follow nnU-Net's plan
for this task in small. A fifth of the cases is held out, chosen as nnU-Net chooses its folds.

`sparse` and `semi` are the two uses of sparse annotation in Çiçek et al. 2016. Of the label maps to
train on they keep 3 slices in each orientation (`--config.data.annotated_slices` changes that), and
they train for 1640 steps, 12 minutes. `sparse` segments new volumes (fully automated). `semi`
completes the label maps of three volumes; here these are dense, and what lies outside of the slices
is scored:

    python -m invseg_jax.train --config configs/hippocampus.py:semi --data ROOT --workdir RUN
    python -m invseg_jax.evaluate --workdir RUN --split train

`sparse` reached a mean Dice of 0.878, with `--config.data.annotated_slices='()'` (dense) 0.881;
`semi` an intersection over union of 0.669 with 1, 1 and 1 slices, 0.748 with 2, 2 and 1, 0.836 with
3, 3 and 2 and 0.854 with 5, 5 and 3.

The three networks have 1.50 million parameters each, to 1 %. On 2 CPU cores `cpu` trains for 30
minutes, in as many steps as each network takes in that time. Measured with 208 labelled cases, Dice
on the 42 held out, one run each:

    variant       network          memory of a step   anterior  posterior  mean
    cpu           FullInvRes       173 MiB            0.893     0.878      0.885
    cpu-partial   PartialInvRes    212 MiB            0.889     0.876      0.882
    cpu-unet      UNet3D           451 MiB            0.894     0.881      0.888

`cpu` with `--config.seed=1` reached 0.885 too (0.893, 0.878). `gpu` (more steps, larger batches)
is not measured yet; nnU-Net, trained for hours on a GPU, reaches 0.895.

`-vae` behind any of them adds the VAE branch (Myronenko 2018) with half the network's widths, and
(but for `gpu`) makes two thirds of the steps: one takes about 1.4 times (UNet3D) to 1.5 times
(FullInvRes) as long; that of PartialInvRes was not timed. `sparse-vae`, `sparse-partial-vae` and
`sparse-unet-vae` with `--config.data.annotated_slices='()'`, that is on dense label maps, one run
each:

    network              steps   memory of a step   anterior  posterior  mean
    FullInvRes, VAE      1093    195 MiB            0.885     0.872      0.879
    PartialInvRes, VAE   1147    236 MiB            0.869     0.862      0.865
    UNet3D, VAE           707    510 MiB            0.872     0.864      0.868

Without it FullInvRes reaches 0.881 in 1640 steps (the dense run above). The three were trained
before the branch's variance was kept from growing exponentially, and not anew since; the 30 minutes
of `cpu-vae`, `cpu-partial-vae` and `cpu-unet-vae` were not run.
"""

from dataclasses import replace

from invseg_jax.experiment import (
    Augmentation,
    Experiment,
    InferenceSettings,
    OptimiserSettings,
    base_experiment,
    parse_variant,
)

# As many as 30 minutes allow on 2 CPU cores.
STEPS = {"FullInvRes": 4100, "PartialInvRes": 4300, "UNet3D": 2650}
SEMI_AUTOMATED = ("hippocampus_001", "hippocampus_003", "hippocampus_004")


def get_config(variant: str = "cpu") -> Experiment:
    """The experiment of a variant."""
    place, network, vae = parse_variant(variant, ("cpu", "gpu", "sparse", "semi"))
    base = base_experiment(network, vae=vae)
    steps = STEPS[network]
    if vae:
        steps = round(steps * 2 / 3)  # in about the same time
    experiment = replace(
        base,
        steps=steps,
        eval_every=1000,
        # With Myronenko's widths, those of the network, a step of FullInvRes is mostly the branch.
        vae=replace(base.vae, widths=tuple(c // 2 for c in base.model.channels) if vae else ()),
        data=replace(base.data, layout="msd", patch=(40, 56, 40)),  # nnU-Net's; most crops fit in
        augment=Augmentation(
            # Left and right hippocampi are mirror images; anterior and posterior are classes.
            flip=(0.5, 0.0, 0.0),
            affine_probability=0.5,
            rotation=15.0,
            scale=(0.85, 1.2),
        ),
    )
    if place == "gpu":
        return replace(
            experiment,
            steps=12_000,
            save_every=1000,
            data=replace(experiment.data, batch=8),
            optimiser=OptimiserSettings(warmup=500, average=0.999),
            inference=InferenceSettings(batch=8),
        )
    light = replace(experiment.augment, blur_probability=0.0, low_resolution_probability=0.0)
    experiment = replace(experiment, augment=light)
    if place == "cpu":
        return experiment
    data = replace(experiment.data, annotated_slices=(3, 3, 3))
    if place == "semi":
        data = replace(data, cases=SEMI_AUTOMATED, folds=1)
    return replace(experiment, steps=round(0.4 * steps), data=data)
