"""A network with its parameters, ready to segment whole volumes."""

import warnings
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import jax
import numpy as np
from flax import nnx
from jax import nn
from jax.sharding import Mesh

from invseg_jax import models
from invseg_jax.data.batches.regions import Regions
from invseg_jax.devices import mesh
from invseg_jax.errors import UserError, UserNotice
from invseg_jax.experiment import Experiment
from invseg_jax.inference.mirroring import Mirror, mean_over_mirrors, refuse_unlearned
from invseg_jax.inference.sliding_window import sliding_window
from invseg_jax.inference.trained_run import DataDescription, SegmentationRun
from invseg_jax.runs.checkpoints import Checkpoints


@partial(jax.jit, static_argnums=(0, 1, 2))
def _probabilities(
    network: nnx.GraphDef,
    each: bool,
    mirrored: tuple[int, ...],
    params: nnx.State,
    patches: jax.Array,
) -> jax.Array:
    def predict(patches: jax.Array) -> jax.Array:
        return (nn.sigmoid if each else nn.softmax)(nnx.merge(network, params)(patches))

    return mean_over_mirrors(predict, patches, mirrored)


@dataclass(frozen=True)
class Network:
    """What prediction needs of a run.

    Attributes:
        graph: the network's static part.
        params: its parameters.
        outputs: how many: the classes with the background, or the regions.
        patch: voxels of a window.
        overlap: least fraction by which windows overlap.
        batch: windows in one call.
        placement: how windows lie on the devices.
        regions: what the outputs stand for, where that is not the classes.
        margin: voxels at each side of a window that the network gives nothing for.
        mirrored: axes (0 to 2 for D, H, W) along which windows are mirrored too.
        step: of the checkpoint that the parameters are from, if they are from one.
    """

    graph: nnx.GraphDef
    params: nnx.State
    outputs: int
    patch: tuple[int, int, int]
    overlap: float
    batch: int
    placement: jax.sharding.Sharding
    regions: Regions | None = None
    margin: int = 0
    mirrored: tuple[int, ...] = ()
    step: int | None = None

    def probabilities(self, image: np.ndarray) -> np.ndarray:
        """Probabilities of a volume: of the classes, which sum to 1, or of each region for itself.

        Args:
            image: (D, H, W, modalities) float32, normalised as in training.

        Returns:
            (D, H, W, outputs) float32.

        Raises:
            UserError: some are no numbers: an activation left the range of a fixed-point stream.
        """

        def predict(patches: np.ndarray) -> jax.Array:
            patches = jax.device_put(patches, self.placement)
            each = self.regions is not None
            return _probabilities(self.graph, each, self.mirrored, self.params, patches)

        found = sliding_window(
            predict,
            image,
            patch=[size - 2 * self.margin for size in self.patch],
            margin=self.margin,
            classes=self.outputs,
            overlap=self.overlap,
            batch=self.batch,
        )
        # As a class, NaN would be the background. One is enough to make the sum one.
        if not np.isfinite(found.sum()):
            raise UserError(
                "the network gives no numbers for this image; look at its intensities, or, where "
                "config.model.stream is fixed, train with fewer config.model.fraction_bits"
            )
        return found

    def with_params(self, params: nnx.State) -> "Network":
        """The same network with other parameters."""
        return replace(self, params=params)


def build_model(
    experiment: Experiment,
    modalities: int,
    outputs: int,
    *,
    training: bool = True,
    key: jax.Array | None = None,
) -> models.Network:
    """The network that an experiment asks for, with what only its training needs or without.

    Args:
        experiment: with the network's settings.
        modalities: channels of the image.
        outputs: the classes with the background, or the regions.
        training: whether with the VAE branch, where there is one.
        key: draws the first weights; None: the experiment's seed does.

    Raises:
        UserError: the network refuses its settings, or the patch.
    """
    model, data = experiment.model, experiment.data
    assert model.settings is not None
    try:
        vae = _vae_settings(experiment) if training else None
        seed = experiment.seed if key is None else key
        built = models.build(
            model.name, modalities, outputs, model.settings, seed, experiment.execution, vae
        )
        built.check_patch(data.patch)
        if built.mixes_batch and experiment.inference.batch != 1:
            raise UserError(
                f"config.inference.batch is {experiment.inference.batch}: {model.name} normalises "
                "by the batch, so that windows would depend on one another; take 1"
            )
        return built
    except UserError:
        raise
    except (ValueError, OverflowError) as error:
        raise UserError(f"config.model: {error}") from error


def _vae_settings(experiment: Experiment) -> models.VAESettings | None:
    if experiment.vae.latent == 0:
        return None
    return models.VAESettings(
        size=experiment.data.patch,
        latent=experiment.vae.latent,
        widths=experiment.vae.widths,
    )


def as_network(
    experiment: Experiment,
    graph: nnx.GraphDef,
    params: nnx.State,
    outputs: int,
    devices: Mesh,
    regions: Regions | None = None,
) -> Network:
    """A network on its devices, with the windows that its experiment sets.

    Args:
        experiment: of the run.
        graph: the network's static part.
        params: its parameters, arrays or shapes.
        outputs: the classes with the background, or the regions.
        devices: over which windows are spread.
        regions: what the outputs stand for, where that is not the classes.
    """
    inference = experiment.inference
    return Network(
        graph,
        jax.device_put(params, mesh.replicated(devices)),
        outputs,
        experiment.data.patch,
        inference.overlap,
        inference.batch,
        mesh.spread(devices, inference.batch),
        regions=regions,
        margin=nnx.merge(graph, params).margin,
        mirrored=tuple(np.flatnonzero(inference.mirror).tolist()),
    )


def load_network(
    workdir: Path, mirror: Mirror | None = None
) -> tuple[Network, Experiment, DataDescription]:
    """Reads a run's newest checkpoint that is not damaged: the averaged parameters.

    Nothing is changed on the disk. Where an older checkpoint is read, a `UserNotice` says so.

    Args:
        workdir: the folder that training wrote.
        mirror: axes along which windows are mirrored too; None: as the run's experiment says.

    Returns:
        The network, the run's experiment (with `mirror`), and what it was trained on.

    Raises:
        UserError: the folder holds no run, or no checkpoint that can be read, or its training did
            not mirror along one of the axes.
    """
    run = SegmentationRun(workdir)
    experiment, data = run.read_config(), run.read_data()
    if experiment.task != "segmentation":
        raise UserError(
            f"{workdir} holds a run of the task {experiment.task}, which marks objects with a "
            "person's help: python -m invseg_jax.annotate, or invseg_jax.Session"
        )
    refuse_unlearned(workdir, experiment.augment, experiment.inference, mirror)
    if mirror is not None:
        experiment = experiment.changed({"inference.mirror": mirror})
    if not run.checkpoints.is_dir():
        raise UserError(f"{workdir} holds no checkpoint yet; let its training reach a save")
    devices = mesh.make_mesh(0, experiment.inference.batch)
    regions = Regions.of(data.regions, data.values)
    outputs = len(regions or data.classes)
    model = build_model(experiment, len(data.modalities), outputs, training=False)
    network = as_network(experiment, *nnx.split(model), outputs, devices, regions)
    say = partial(warnings.warn, category=UserNotice)  # of a checkpoint that is not the newest
    with Checkpoints(run.checkpoints, read_only=True, say=say) as checkpoints:
        # What only training needs stays in the file.
        found = checkpoints.restore_newest_averaged(network.params, without="vae")
    if found is None:
        raise UserError(f"{workdir} holds no checkpoint yet; let its training reach a save")
    step, averaged = found
    return replace(network, params=averaged, step=step), experiment, data
