"""Every key of a configuration, its default and its meaning; `configs/` changes what it needs."""

from typing import Any, NamedTuple

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from invseg_jax.errors import UserError

# A locked `ml_collections.ConfigDict`; its own annotations give each value every possible type.
Config = Any

# What each network takes, and so what `config.model.settings` holds. The first three have equally
# many parameters, 1.50 million to 1 %, so that what they are worth can be compared.
_NETWORKS: dict[str, dict[str, Any]] = {
    "FullInvRes": dict(
        channels=(32, 64, 128, 256),
        couplings=2,
        convolutions=1,
        groups=8,
        dropout=0.0,
        auxiliary=1,
    ),
    "PartialInvRes": dict(
        channels=(32, 64, 120, 184),
        couplings=2,
        decoder_couplings=2,  # `couplings` are the encoder's alone
        convolutions=1,
        groups=8,
        dropout=0.0,
        skip="sum",
        activate_head=True,
        auxiliary=1,
    ),
    "UNet3D": dict(channels=(24, 48, 72, 112), groups=8, auxiliary=1),
    "CicekUNet3D": dict(channels=(64, 128, 256, 512), batch_norm=True),
}
# What `config.data.embedded` holds, which the configurations of the embedded cohort add.
EMBEDDED: dict[str, Any] = dict(subjects=10, spacing=1.0, seed=0)
SHORT_NAMES = {"full": "FullInvRes", "partial": "PartialInvRes", "unet": "UNet3D"}


def base_config(network: str = "FullInvRes", *, vae: bool = False) -> Config:
    """The defaults, for one of the networks.

    Args:
        network: a name in `models.MODELS`; decides which keys `model.settings` has.
        vae: whether the VAE branch is on, at the size and the weights of Myronenko 2018.

    Returns:
        A locked configuration: a misspelt key is refused, with a suggestion.
    """
    config: Config = ConfigDict()
    config.seed = 0  # of the weights, the crops and the augmentation
    config.steps = 1000  # training steps; the learning rate decays to zero over them
    config.precision = "float32"  # of the convolutions' factors, or bfloat16
    config.devices = 0  # to spread a batch over; 0: as many as divide it evenly
    config.log_every = 20  # steps
    config.eval_every = 250  # steps
    config.eval_cases = 8  # held-out cases scored during training; 0: all
    config.save_every = 250  # steps
    config.keep = 2  # checkpoints

    config.model = ConfigDict()
    config.model.name = network
    config.model.settings = ConfigDict(_NETWORKS[network])  # arguments of the class
    # How it is evaluated, none of which changes the parameters; see layers/execution.py: Execution.
    config.model.memory = "plain" if "UNet3D" in network else "reversible"  # or remat
    config.model.stream = "float32"  # or fixed: inverted exactly, bit for bit
    config.model.fraction_bits = 16  # of the fixed stream
    config.model.slabs = 1  # pieces in which GPUs evaluate a branch; more: less memory
    config.model.loop = "scan"  # couplings of one shape as one loop, or "unrolled"

    # A second decoder that regularises training; evaluation and prediction leave it out.
    config.vae = ConfigDict()
    # Numbers that describe an image, 128 in Myronenko 2018; 0: no branch.
    config.vae.latent = 128 if vae else 0
    config.vae.widths = ()  # channels at each level, finest first; (): those of the network
    config.vae.reconstruction = 0.1  # weight of the mean squared error in the loss
    config.vae.kl = 0.1  # weight of the divergence from N(0, 1) in the loss

    config.data = ConfigDict()
    config.data.layout = "msd"  # see data/layouts
    config.data.plain = ConfigDict()  # for the layout "plain"; see data/layouts/plain.py
    config.data.plain.images = ()  # pairs of a modality and a pattern: (("mr", "*/mr.nii.gz"),)
    config.data.plain.label = ""  # pattern of the label maps
    config.data.plain.classes = ()  # pairs of a name and its value on disk: (("tumour", 1),)
    config.data.plain.reference = ""  # the modality onto whose grid the others are resampled
    config.data.max_bytes = 4 << 30  # that one volume may take; against files that claim too much
    config.data.tolerate = ()  # of "empty-image", "empty-label", "duplicate"; see data/checks
    config.data.cases = ()  # ids of those to train on and to hold out; (): all
    # (3, 3, 3): as if of each case to train on only so many slices across each axis of its file
    # were labelled; (): all are.
    config.data.annotated_slices = ()  # see data/sparse_annotation.py
    config.data.folds = 5  # one of them is held out; 1: nothing is
    config.data.fold = 0
    # r"(sub-\d+)_ses-.*": finds the patient in a case's id; a patient's cases stay together.
    config.data.group = ""
    config.data.split = ""  # a JSON file like nnU-Net's splits_final.json, which replaces folds
    config.data.patch = (64, 64, 64)  # voxels
    config.data.batch = 2  # patches at a time, over all devices; see optimiser.accumulate
    config.data.foreground = 0.33  # share of patches centred on a voxel of a random class
    config.data.threads = 2  # that read ahead; 0: none

    config.data.preprocess = ConfigDict()  # see data/preprocess.py: Preprocessing
    config.data.preprocess.canonical = True  # axes in the order and direction of RAS+
    config.data.preprocess.spacing = placeholder(tuple)  # mm; None: as in the files
    config.data.preprocess.interpolation = "linear"  # of intensities, or cubic
    config.data.preprocess.labels = "linear"  # or nearest
    config.data.preprocess.crop = False  # cut off what is 0 in all modalities
    config.data.preprocess.margin = 0  # voxels of it that are kept
    # z_score_nonzero, z_score or ct; one for all, or one for each modality
    config.data.preprocess.normalisation = ("z_score_nonzero",)

    config.augment = ConfigDict()  # see data/augment/settings.py: Augmentation
    # (0.5, 0.5, 0.5) mirrors half of the patches along each axis. None does the same, but not along
    # the left-right axis where names of classes differ only in their side; see data/flips.py.
    config.augment.flip = placeholder(tuple)
    config.augment.affine_probability = 0.3
    config.augment.rotation = 30.0
    config.augment.scale = (0.7, 1.4)
    config.augment.stretch = 0.05
    config.augment.spacing = (1.0, 1.0, 1.0)
    config.augment.elastic_probability = 0.0
    config.augment.elastic = 4.0
    config.augment.elastic_grid = 32.0
    config.augment.noise_probability = 0.1
    config.augment.noise = (0.0, 0.1)
    config.augment.blur_probability = 0.1
    config.augment.blur = (0.5, 1.0)
    config.augment.brightness_probability = 0.15
    config.augment.brightness = (0.75, 1.25)
    config.augment.bias_field_probability = 0.0
    config.augment.bias_field = (1.0, 1.5)
    config.augment.contrast_probability = 0.15
    config.augment.contrast = (0.75, 1.25)
    config.augment.low_resolution_probability = 0.125
    config.augment.low_resolution = (0.5, 1.0)
    config.augment.gamma_probability = 0.3
    config.augment.gamma = (0.7, 1.5)

    config.loss = ConfigDict()  # see training/losses.py: LossSettings
    config.loss.regions = False  # segment the data set's regions, not its classes
    config.loss.dice = 1.0  # weights of the two terms
    config.loss.cross_entropy = 1.0
    config.loss.weights = ()  # in the cross-entropy, of each class or region; none: all 1
    config.loss.squared = False
    config.loss.per_sample = False
    config.loss.background = False
    config.loss.smoothing = 1.0

    config.optimiser = ConfigDict()  # see training/state.py: OptimiserSettings
    config.optimiser.name = "adamw"  # or sgd
    config.optimiser.learning_rate = 2e-3
    config.optimiser.warmup = 50
    config.optimiser.schedule = "cosine"  # or polynomial
    config.optimiser.power = 0.9  # of the polynomial
    config.optimiser.momentum = 0.99  # of sgd
    config.optimiser.nesterov = True
    config.optimiser.weight_decay = 1e-2
    config.optimiser.clip = 1.0
    config.optimiser.accumulate = 1  # batches a step
    config.optimiser.average = 0.995

    config.inference = ConfigDict()
    config.inference.overlap = 0.5  # of neighbouring windows, as a fraction of the patch
    config.inference.batch = 2  # windows in one call
    # Axes D, H, W along which windows are mirrored and averaged; each doubles the time. Only axes
    # along which augment.flip mirrors in training.
    config.inference.mirror = (False, False, False)
    if network == "CicekUNet3D":
        # As published: valid convolutions fit few sizes, and a batch has its own statistics.
        config.data.patch = (132, 132, 116)
        config.data.batch = config.inference.batch = 1
        config.inference.overlap = 0.0
    return config.lock()


def check_config(config: Config) -> None:
    """Checks the counts that no other part checks.

    Raises:
        UserError: one is too small.
    """
    for name in ("steps", "log_every", "eval_every", "save_every", "keep"):
        if config[name] < 1:
            raise UserError(f"config.{name} is {config[name]}; it must be at least 1")
    for name in ("devices", "eval_cases"):
        if config[name] < 0:
            raise UserError(f"config.{name} is {config[name]}; it must not be negative")
    if config.data.batch < 1:
        raise UserError(f"config.data.batch is {config.data.batch}; it must be at least 1")
    check_inference(config)
    mirror = config.inference.mirror
    if len(mirror) != 3 or not all(isinstance(along, bool) for along in mirror):
        raise UserError(
            f"config.inference.mirror is {mirror}; give True or False for each of D, H and W"
        )


def check_inference(config: Config) -> None:
    """Checks the numbers that evaluation and prediction take from a run's configuration.

    Raises:
        UserError: one is out of range.
    """
    if config.inference.batch < 1 or not 0 <= config.inference.overlap < 1:
        raise UserError("config.inference: batch must be at least 1 and overlap in [0, 1)")
    if not 0 <= config.seed < 2**32:
        raise UserError(f"config.seed is {config.seed}; give a number from 0 to {2**32 - 1}")


def patches_a_step(config: Config) -> int:
    """How many patches one step takes, over all devices."""
    return config.data.batch * config.optimiser.accumulate


class Variant(NamedTuple):
    """What a variant's name asks for.

    Attributes:
        place: one of the file's own variants.
        network: a name in `models.MODELS`.
        vae: whether it is trained with the VAE branch.
    """

    place: str
    network: str = "FullInvRes"
    vae: bool = False


def parse_variant(variant: str, places: tuple[str, ...]) -> Variant:
    """Reads a variant of the form PLACE[-NETWORK][-vae], such as "cpu" or "cpu-partial-vae".

    Args:
        variant: what follows the colon of `--config FILE.py:VARIANT`.
        places: the file's own variants.

    Returns:
        Its parts; the network is FullInvRes where none is given.

    Raises:
        UserError: a variant that the file does not have.
    """
    place, *rest = variant.removesuffix("-vae").split("-")
    short = "-".join(rest) if rest else "full"
    if place not in places or short not in SHORT_NAMES:
        networks = ", ".join(f"-{name}" for name in SHORT_NAMES)
        raise UserError(
            f"there is no variant {variant!r}; there are {', '.join(places)}, each with "
            f"{networks} for another network and then -vae for the VAE branch"
        )
    return Variant(place, SHORT_NAMES[short], variant.endswith("-vae"))
