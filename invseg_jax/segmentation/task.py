"""The supervised segmentation of the cases of a data set, as a task for the trainer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jax
from flax import nnx

from invseg_jax.data.batches.flips import choose_flips
from invseg_jax.data.batches.pipeline import training_batches
from invseg_jax.data.batches.regions import Regions, regions_to_segment
from invseg_jax.data.batches.source import chosen_cases, open_source, prepared_split, tell_split
from invseg_jax.data.checks.cases import refuse_faults
from invseg_jax.data.layouts import Dataset
from invseg_jax.data.prepare.cached_case import CachedCase
from invseg_jax.data.prepare.fingerprint import Fingerprint
from invseg_jax.devices import mesh
from invseg_jax.experiment import Experiment
from invseg_jax.inference.mirroring import check_mirror
from invseg_jax.inference.network import as_network, build_model
from invseg_jax.inference.trained_run import DataDescription, describe
from invseg_jax.reversible.layer import Array
from invseg_jax.runs.run_folder import RunDescription
from invseg_jax.segmentation.objective import SegmentationObjective
from invseg_jax.segmentation.validate import mean_dice, mean_reconstruction
from invseg_jax.training.task import Batch, Batches, Parameters, Part, Validation

Say = Callable[[str], None]


@dataclass(frozen=True)
class SegmentationTask:
    """A `training.task.Task`; `open` makes one.

    Attributes:
        experiment: all settings, none of them left open.
        data: what the network is trained to see and to say.
        objective: the loss.
        training: the prepared cases to train on.
        held_out: the prepared cases to score.
        fingerprint: of the cases to train on.
        margin: voxels at each side of a patch that the network gives nothing for.
    """

    experiment: Experiment
    data: DataDescription
    objective: SegmentationObjective
    training: list[CachedCase]
    held_out: list[CachedCase]
    fingerprint: Fingerprint
    margin: int

    shown = {"dice": "Dice"}

    @classmethod
    def open(
        cls,
        experiment: Experiment,
        root: str | None,
        say: Say,
        *,
        known_by: str,
    ) -> "SegmentationTask":
        """Checks the settings, then opens, checks and prepares the data.

        Args:
            experiment: what is trained, and on what.
            root: of the data set; None for the embedded cohort, where the experiment has one.
            say: told one line at a time.
            known_by: what the digests of cases are taken of; see `DataDescription`.

        Raises:
            UserError: a fault of the settings or of the data.
        """
        dataset = open_source(experiment.data, root, say)
        regions = regions_to_segment(experiment.loss, dataset)
        # All settings are checked first: reading the data may take long.
        modalities = len(dataset.modalities)
        outputs = len(regions or dataset.classes)
        check_mirror(experiment.augment, experiment.inference)
        mesh.make_mesh(experiment.devices, experiment.data.batch)
        model = nnx.eval_shape(lambda: build_model(experiment, modalities, outputs))
        experiment.data.preprocess.schemes(modalities)
        tell_split(experiment.data, dataset, say)
        cases = chosen_cases(experiment.data, dataset)
        refuse_faults(experiment.data, dataset, cases, say)
        training, held_out, fingerprint = prepared_split(experiment.data, dataset, say)
        experiment = settled(experiment, dataset, regions, fingerprint, say)
        check_mirror(experiment.augment, experiment.inference)
        return cls(
            experiment,
            DataDescription.of(
                experiment.data.layout,
                dataset,
                root,
                training,
                held_out,
                segments_regions=experiment.loss.regions,
                known_by=known_by,
            ),
            SegmentationObjective.build(experiment, nnx.split(model)[0], modalities, regions),
            training,
            held_out,
            fingerprint,
            model.margin,
        )

    @property
    def title(self) -> str:
        """The name of the network."""
        return self.experiment.model.name

    @property
    def summary(self) -> str:
        """How many cases there are, and how many patches a step takes."""
        return (
            f"{len(self.training)} training and {len(self.held_out)} held-out cases, batch "
            f"{self.experiment.patches_a_step}"
        )

    @property
    def description(self) -> RunDescription:
        """The experiment, the data and their fingerprint."""
        return describe(self.experiment, self.data, self.fingerprint)

    @property
    def batch(self) -> Mapping[str, jax.ShapeDtypeStruct]:
        """Shapes of image and label."""
        return self.objective.batch

    @property
    def remedy(self) -> str:
        """What may help where the loss is not finite."""
        remedy = "lower config.optimiser.learning_rate, or look at the data"
        model = self.experiment.model
        if model.stream != "fixed":
            return remedy
        limit = 2 ** (31 - model.fraction_bits)
        return (
            f"an activation may have left the fixed-point stream's range of +-{limit}: take fewer "
            f"config.model.fraction_bits than {model.fraction_bits}, {remedy}"
        )

    def parameters(self, key: Array) -> Parameters:
        """The network's first parameters, a Flax state."""
        return nnx.split(build_model(self.experiment, *self._channels, key=key))[1]

    def loss(
        self, parameters: Parameters, batch: Batch, key: Array
    ) -> tuple[Array, dict[str, Array]]:
        """See `SegmentationObjective.loss`."""
        return self.objective.loss(parameters, batch, key)

    def batches(self, part: Part) -> Batches:
        """Random crops of the cases to train on."""
        return training_batches(
            self.training,
            self.experiment.data,
            patches=self.experiment.patches_a_step,
            seed=self.experiment.seed,
            margin=self.margin,
            process=part.process,
            processes=part.processes,
        )

    def validate(self, parameters: Parameters) -> Validation | None:
        """Mean Dice of some held-out cases on the network's grid, and the VAE branch's terms."""
        if not self.held_out:
            return None
        network = as_network(
            self.experiment,
            self.objective.network,
            parameters,
            self._channels[1],
            jax.tree.leaves(parameters)[0].sharding.mesh,
            self.objective.regions,
        )
        cases = self.held_out[: self.experiment.eval_cases or None]
        dice = mean_dice(network, cases, self.data.classes)
        terms = mean_reconstruction(network, cases)
        scores = "  ".join(f"{name} {value:.3f}" for name, value in dice.items())
        others = "".join(f"  {name} {value:.3g}" for name, value in terms.items())
        named = {f"dice/{name}": value for name, value in dice.items()}
        return Validation(f"held-out Dice: {scores}{others}", named | terms)

    @property
    def _channels(self) -> tuple[int, int]:
        """How many channels the image has, and how many outputs the network."""
        return len(self.data.modalities), len(self.objective.regions or self.data.classes)


def settled(
    experiment: Experiment,
    dataset: Dataset,
    regions: Regions | None,
    fingerprint: Fingerprint,
    say: Say,
) -> Experiment:
    """An experiment whose open settings are as the data want them.

    Args:
        experiment: `augment.flip` and `augment.spacing` may be left open.
        dataset: says whether names of classes differ only in their side.
        regions: what is segmented instead of the classes.
        fingerprint: says which axis is left-right, and how large voxels are.
        say: told where mirroring is left out along an axis, and why.
    """
    augment, preprocess = experiment.augment, experiment.data.preprocess
    flips = choose_flips(augment, preprocess, dataset.classes, regions, fingerprint)
    if flips.note:
        say(flips.note)
    spacing = fingerprint.median_spacing(preprocess.spacing)
    return experiment.changed({"augment": augment.settled(flips.probabilities, spacing)})
