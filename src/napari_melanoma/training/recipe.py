"""The recipe of a training run of any task: its sections, defaults and checks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, cast

from pydantic import Field, model_validator

from napari_melanoma.core.config import Computed, Config, OneOf, OptionsOf, omit_unset
from napari_melanoma.core.errors import DataSetError
from napari_melanoma.core.prediction_config import (
    DEPTH_COLUMN,
    CloserViews,
    PreprocessingConfig,
    TabularConfig,
    TileConfig,
    TurnedViews,
    ViewConfig,
)
from napari_melanoma.models.bundle import SLIDE, BundleConfig
from napari_melanoma.models.weights_files import START_WORDS, find_weights_file
from napari_melanoma.models.zoo import NETWORKS, answers_prompts, list_architectures
from napari_melanoma.training.augmentation_config import AugmentationConfig
from napari_melanoma.training.losses import LOSSES, losses
from napari_melanoma.training.schedules import SCHEDULES

if TYPE_CHECKING:
    from napari_melanoma.models.blocks.options import BiomarkerConfig
    from napari_melanoma.training.pixel_store import PixelKind


DEPTH_NETWORK = "biomarker"  # the architecture with a depth module
MIN_DEPTHS = 3  # fewest training images with a depth
TRACKER_NAMES = ("tensorboard", "mlflow", "wandb")
NO_LABEL = -1  # class index of unlabeled images
# Added to the key of an image, to get the keys of the additional images in its batch.
OTHER_DOMAIN_KEY, PARTNER_KEY = 2**40, 2**41


class DepthTargetConfig(Config):
    """Depth as a second target; cases of unknown depth contribute to the class loss only."""

    column: str = Field(DEPTH_COLUMN, min_length=1, description="table column with the depth in mm")
    weight: float = Field(1.0, gt=0, le=100, description="weight of the depth loss relative to the class loss")
    loss: Literal["smooth_l1", "gaussian_nll"] = Field(
        "smooth_l1",
        description="smooth_l1: absolute error, squared if small; gaussian_nll: the network also predicts its "
        "uncertainty, which requires model.options.heteroscedastic",
    )


class AdaptationConfig(Config):
    """Adaptation of a classifier to other domains; each data set is a domain.

    ``to`` lists data sets of the target domains, whose labels are not used.
    """

    method: Literal["none", "adversarial", "coral", "adabn", "fourier", "pseudo_labels"] = Field(
        "none",
        title="Adaptation method",
        description="adversarial: features do not distinguish the domains (gradient reversal); coral: covariances of "
        "the features are aligned; adabn: normalization statistics are computed on `to` after training; fourier: low "
        "frequencies are exchanged; pseudo_labels: confident predictions for `to` are used as labels",
    )
    strength: float = Field(
        0.1,
        title="Weight of the adaptation",
        ge=0,
        le=10,
        description="weight of the adaptation loss; for fourier, share of the images",
    )
    reach: float = Field(
        0.05,
        title="Highest frequency exchanged (share)",
        gt=0,
        le=0.5,
        description="for fourier: highest exchanged frequency, as a share of the side",
    )
    to: tuple[str, ...] = Field(
        (), title="Target data sets", description="folders of unlabeled data sets, used by the adaptation loss only"
    )
    sure: float = Field(
        0.9,
        title="Pseudo-label probability",
        gt=0.5,
        lt=1,
        description="for pseudo_labels: probability from which a prediction is used as a label",
    )


METASTASIS = "metastasis"  # target column and positive class of risk models
COMPARED_COLUMNS = ("depth_mm", "clark")  # of the comparators of risk models


class ClassificationConfig(Config):
    """A classification: its target column, the network's inputs, and the calibration of its predictions."""

    target: str = Field("melanoma", min_length=1, description="table column with the class")
    classes: tuple[str, ...] = Field(
        (),
        description="values of the column, in order; empty: all values in the training rows, or for 1/0: other and the "
        "column name",
    )
    positive: str = Field(
        "melanoma", title="Positive class", min_length=1, description="the class that sensitivity refers to"
    )
    view: ViewConfig = ViewConfig()
    masks: Literal["reference", "predicted"] = Field(
        "reference",
        title="Source of masks",
        description="source of the ROI: the data set's masks, or masks predicted by a model",
    )
    segmenter: str = Field(
        "lesion-small", title="Segmentation model", min_length=1, description="the model that predicts the masks"
    )
    tabular: TabularConfig | None = Field(
        None, description="table columns that the network uses as inputs; none: pixels only"
    )
    features: str = Field(
        "", title="Feature table", description="a table of `data features`, whose columns can be used too"
    )
    drop_field: float = Field(
        0.1,
        title="Hide single fields (probability)",
        ge=0,
        lt=1,
        description="probability that a field of a row is hidden during training",
    )
    drop_form: float = Field(
        0.25,
        title="Hide all fields (probability)",
        ge=0,
        lt=1,
        description="probability that all fields of a row are hidden",
    )
    class_weight: Literal["none", "balanced"] = Field(
        "none", title="Class weights", description="balanced: rare classes have more weight"
    )
    label_smoothing: float = Field(0.0, ge=0, lt=0.5, description="share of each label that is spread over all classes")
    focal_gamma: float = Field(2.0, title="Focal loss gamma", ge=0, le=10, description="gamma of the focal loss")
    mixup: float = Field(
        0.0,
        title="MixUp probability",
        ge=0,
        le=1,
        description="probability that an image and its label are blended with another image",
    )
    cutmix: float = Field(
        0.0,
        title="CutMix probability",
        ge=0,
        le=1,
        description="probability that a patch of another image is pasted in, with its share of the label",
    )
    freeze_encoder: bool = Field(False, description="train only the layers after the encoder")
    augmented_versions: int = Field(
        0,
        title="Augmented versions of an image",
        ge=0,
        description="with a frozen encoder: number of augmented versions of each image, encoded once on a CPU, of "
        "which one is drawn in each epoch; 0: a new one in each epoch",
    )
    stages: Literal[1, 2] = Field(
        1,
        title="Training stages",
        description="2: train image and depth modules first, then only the head on top of them",
    )
    first_stage: float = Field(
        0.6,
        title="First stage (share of epochs)",
        gt=0,
        lt=1,
        description="share of the epochs in the first of two stages",
    )
    depth: DepthTargetConfig | None = Field(None, description="depth as a second target")
    test_time_augmentation: bool = Field(
        False,
        title="Test-time augmentation",
        description="average the logits over eight views of the image: turned by quarter turns and mirrored",
    )
    sensitivity: float = Field(
        0.9, title="Target sensitivity", gt=0, lt=1, description="sensitivity at which the operating point is chosen"
    )
    coverage: float = Field(
        0.9, title="Prediction set coverage", gt=0, lt=1, description="coverage of conformal prediction sets"
    )
    neighbours: bool = Field(
        False,
        title="Store similar cases",
        description="store the ids of the training cases in the bundle, to show similar cases",
    )
    adaptation: AdaptationConfig = AdaptationConfig()

    @property
    def stored_columns(self) -> tuple[str, ...]:
        """Columns that a run stores besides its inputs: of the depth, and of the comparators of a risk model."""
        depth = (self.depth.column,) if self.depth else ()
        compared = COMPARED_COLUMNS if self.target == METASTASIS else ()
        return tuple(dict.fromkeys((*depth, *compared)))

    @model_validator(mode="after")
    def _check_classes(self) -> Self:
        if self.classes and len(set(self.classes)) < max(2, len(self.classes)):
            raise ValueError(f"classes are {self.classes}, expected two or more, each once")
        if self.classes and self.positive not in self.classes:
            raise ValueError(f"positive is '{self.positive}', expected one of the classes ({', '.join(self.classes)})")
        if self.augmented_versions and not self.freeze_encoder:
            raise ValueError("augmented_versions needs a frozen encoder: set freeze_encoder = true, or leave it out")
        return self


def depth_mismatch(
    depth: DepthTargetConfig | None,
    options: BiomarkerConfig | None,
    region: str,
    scale: tuple[float, float],
    aspect: float,
) -> str:
    """Explain which options of a recipe conflict with the prediction of a depth in mm; "" if none do.

    ``depth``: the depth target; None without. ``options``: those of a network with a depth module; None for other
    networks. ``region``, ``scale``, ``aspect``: of the view and the augmentation.
    """
    predicts_depth = options is not None and options.predicts_depth
    if depth is None:
        return (
            "the network has a depth module, but the recipe has no depth target: add [classification.depth], or set "
            "model.options.use_depth = false"
            if predicts_depth
            else ""
        )
    if not predicts_depth:
        return (
            f"classification.depth needs a network with a depth module: set model.architecture = '{DEPTH_NETWORK}' "
            "with use_depth, or remove classification.depth"
        )
    assert options is not None
    if (depth.loss == "gaussian_nll") != options.heteroscedastic:
        return "the loss gaussian_nll and model.options.heteroscedastic require each other: set both, or neither"
    if region != "photograph":
        return (
            "a depth in mm needs images of constant scale, but crops around lesions differ in scale: set "
            "classification.view.region = 'photograph'"
        )
    if scale != (1, 1) or aspect != 1:
        return (
            f"a magnified image changes the apparent depth: set augmentation.scale = [1, 1] and aspect = 1 (found "
            f"{list(scale)} and {aspect:g})"
        )
    return ""


def check_depth_count(depths: int, images: int) -> None:
    """Raise if too few training images have a depth."""
    if depths < MIN_DEPTHS:
        raise DataSetError(
            f"{depths} of {images} training images have a depth, expected at least {MIN_DEPTHS}. Fill in the column "
            "that classification.depth.column names, or remove classification.depth."
        )


SLIDES_PER_STEP = 4  # if a recipe for slides has no batch size, or "auto"
BAG_RECIPE_DEFAULTS: dict[str, Any] = {
    "title": "Slide classification",
    "batch_size": SLIDES_PER_STEP,
    "learning_rate": 5e-4,
    "epochs": 50,
    "patience": 10,
    "precision": "fp32",  # two small layers: half precision saves no time and is less accurate
}
BAG_MODEL_DEFAULTS = {"architecture": "attention_mil", "start": "none"}


class BagConfig(Config):
    """Training on slides as bags of embeddings; validation uses all tiles."""

    tiles: int = Field(
        4096, ge=1, description="maximum number of tiles of a slide in a training step, sampled per epoch"
    )
    encoder: str = Field(
        "encoder:imagenet-tiles",
        min_length=1,
        description="encoder of slides that have no embeddings yet: encoder:BUNDLE, timm:NAME, uni ...",
    )


VIEWS_OPTIONS = ("model.closer_views", "model.turned_views")
# Options without effect on bags, whose embeddings were computed before; beside those of ``unsupported_bag_options``
IMAGE_OPTIONS = (
    *("augmentation", "model.preprocessing", "model.pixels", "model.freeze_normalisation"),
    *("data.cache_size", "data.replay_share"),
)


def _is_changed(config: Config, key: str) -> bool:
    """Whether an option differs from its default; ``key``: with the names of sections before it, such as ``a.b``."""
    section, _, rest = key.partition(".")
    if rest:
        return _is_changed(getattr(config, section), rest)
    default: object = type(config).model_fields[key].get_default(call_default_factory=True)
    return bool(getattr(config, key) != default)


def unsupported_bag_options(config: ClassificationConfig) -> list[str]:
    """Return the names of changed options that are not available for bags of embeddings."""
    names = (
        *("view", "masks", "features", "mixup", "cutmix", "test_time_augmentation", "freeze_encoder", "adaptation"),
        *("stages", "depth", "augmented_versions"),
    )
    return [f"classification.{name}" for name in names if _is_changed(config, name)]


class FoldConfig(Config):
    """How a run uses the folds of a cross-validation; ``train --folds`` writes it."""

    number: int = Field(ge=1, description="the fold whose images are the test set; those of other folds are trained on")
    table: str = Field(min_length=1, description="folds.csv of the cross-validation: the fold of each image")


class DataConfig(Config):
    """The images of a run: training, validation and test sets, and how they are sampled."""

    datasets: tuple[str, ...] = Field(title="Data sets", min_length=1, description="folders of data sets")
    split: str = Field(
        "train", title="Training split", min_length=1, description="the split to train on; 'all': every image"
    )
    validation_split: str = Field(
        "val",
        title="Validation split",
        description="the validation split, for epoch and threshold; empty, or in data sets without it: see "
        "validation_fraction",
    )
    test_split: str = Field("test", title="Test split", min_length=1, description="the test split")
    test_fraction: float = Field(
        0.2,
        title="Test set (share of patients)",
        ge=0,
        lt=0.9,
        description="share of the patients without a split that are used as test set",
    )
    validation_fraction: float = Field(
        0.1,
        title="Validation set (share of patients)",
        ge=0,
        lt=0.5,
        description="in data sets without the validation split, share of the training patients that are used as "
        "validation set; 0: none, for segmentation with keep = 'last' and threshold_rule = 'half': without validation "
        "images the curves are those of the test set",
    )
    accept_leaks: bool = Field(
        False,
        title="Accept probable patient leaks",
        description="train although patients that the table does not name are probably in the training and test sets",
    )
    replay: tuple[str, ...] = Field(
        (), title="Replay data sets", description="folders of data sets that preserve the initial model's performance"
    )
    replay_share: float = Field(
        0.5, title="Replay images per batch (share)", gt=0, lt=1, description="share of replay images in each batch"
    )
    sampling: Literal["shuffle", "balanced", "mixed"] = Field(
        "shuffle",
        description="balanced: equal class frequencies, drawn with replacement; mixed: half balanced, half shuffled",
    )
    balance_by: Literal["diagnosis", "domain"] = Field(
        "diagnosis", title="Classes to balance", description="the classes of balanced sampling"
    )
    cache_size: int = Field(
        320, title="Decoded image size (px)", ge=32, le=2048, description="side in pixels of the decoded images"
    )
    fold: Annotated[FoldConfig | None, Computed()] = Field(
        None, description="in a cross-validation: the fold that is the test set, instead of splits"
    )

    _omit_unset = omit_unset("fold")


class ModelConfig(Config):
    """The network, and its initial weights."""

    architecture: Annotated[str, OneOf.members_of(NETWORKS)] = Field(
        "deeplabv3plus", description="name of the architecture"
    )
    options: Annotated[
        dict[str, Any], OptionsOf("architecture", lambda name: list_architectures()[name].spec.config)
    ] = Field(default_factory=dict, description="the architecture's own options")
    start: str = Field(
        "imagenet",
        title="Initial weights",
        description="'imagenet' (encoder; needs napari-melanoma[imagenet] or a network connection), 'none', a bundle "
        "or its folder, or a file",
    )
    start_weights: Literal["all", "encoder"] = Field(
        "all",
        title="Weights to use",
        description="weights of an initial bundle of the same task to use: all; or the encoder with a new head for "
        "any classes",
    )
    input_size: int = Field(
        256,
        title="Input size (px)",
        ge=32,
        le=2048,
        multiple_of=32,
        description="side in pixels of the network's input",
    )
    preprocessing: PreprocessingConfig = PreprocessingConfig()
    pixels: Literal["standardized", "unit"] = Field(
        "standardized",
        title="Pixel scaling",
        description="standardized: by the mean and spread of the initial model; unit: scaled to [0, 1]",
    )
    closer_views: CloserViews | None = Field(
        None, description="sides of the closer views, in lengths of the lesion; none: those of the initial model"
    )
    turned_views: TurnedViews | None = Field(
        None, description="views of a photograph to average, 4 or 8; none: those of the initial model"
    )
    freeze_normalisation: bool = Field(
        False,
        title="Freeze batch normalization",
        description="keep the statistics of batch normalization fixed, advisable for few images",
    )

    _omit_unset = omit_unset("closer_views", "turned_views")

    @model_validator(mode="after")
    def _check_options(self) -> Self:
        config = list_architectures()[self.architecture].spec.config
        options = config.parse(self.options, f"the options of '{self.architecture}'")
        min_size: int = getattr(options, "least_size", 0)
        if self.input_size < min_size:
            raise ValueError(f"with these options {self.architecture} needs an input_size of {min_size} or more")
        return self

    @property
    def starts_from_bundle(self) -> bool:
        return self.start not in START_WORDS and find_weights_file(self.start) is None


class PromptsConfig(Config):
    """Training with a simulated user, who prompts a lesion and corrects its mask."""

    clicks: int = Field(3, title="Most corrections", ge=1, le=20, description="most corrections of an image in a step")
    composites: float = Field(
        0.15,
        title="Composites (share)",
        ge=0,
        le=1,
        description="share of images that are shown among three others, where only the prompted lesion is the target; "
        "none in micro-batches of fewer than four images",
    )


class TrainRecipe(Config):
    """A training run, from data to bundle."""

    name: str = Field("lesion", title="Model name", min_length=1, description="name of the resulting bundle")
    title: str = Field("Lesion segmentation", title="Model title", description="one line for a list of models")
    task: Literal["segmentation", "classification"] = Field(
        "segmentation",
        description="classification: a class for each image or lesion, with the keys of [classification]",
    )
    classes: tuple[str, ...] = Field(
        (),
        title="Classes of label images",
        max_length=256,
        description="names of the values 0, 1, 2 ... of label images; none: masks of one lesion",
    )
    data: DataConfig
    classification: ClassificationConfig | None = Field(
        None, description="for a classifier: target, inputs and calibration"
    )
    model: ModelConfig = ModelConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    loss: Annotated[str, OneOf.members_of(LOSSES)] = Field(
        "bce_dice", title="Loss function", description="the loss function"
    )
    lesion_weight: Annotated[float, Field(gt=0)] | Literal["auto"] = Field(
        1.0,
        title="Weight of lesion pixels",
        description="weight of lesion pixels against skin in cross-entropy; auto: equal total weight, at most 20",
    )
    optimiser: Literal["adamw", "adam", "sgd"] = Field("adamw", title="Optimizer", description="sgd: with momentum 0.9")
    learning_rate: float = Field(2e-3, gt=0, le=10, description="maximum learning rate of the schedule")
    encoder_rate: float = Field(
        0.5,
        title="Encoder learning-rate multiplier",
        gt=0,
        le=1,
        description="learning-rate multiplier of the encoder; 1 if model.start is 'none'",
    )
    weight_decay: float = Field(1e-2, ge=0, le=1, description="weight decay of the optimizer")
    schedule: Annotated[str, OneOf.members_of(SCHEDULES)] = Field(
        "one_cycle",
        title="Learning-rate schedule",
        description="one_cycle: rises over a fifth of the run, then falls; cosine: rises over a twentieth; "
        "cosine_restarts: repeated cosine cycles, as in P4; constant",
    )
    cycle_epochs: float = Field(
        4,
        title="Epochs of the first cycle",
        gt=0,
        le=1000,
        description="epochs of the first cycle of cosine_restarts; not used by other schedules",
    )
    cycle_growth: float = Field(
        2, title="Cycle growth factor", ge=1, le=10, description="growth factor of the cycle length"
    )
    batch_size: Annotated[int, Field(ge=2)] | Literal["auto"] = Field(
        16, description="images per step over all devices; auto: the largest that fits into half of the free memory"
    )
    accumulate_batches: int = Field(
        1,
        title="Gradient accumulation (micro-batches)",
        ge=1,
        description="micro-batches per step and device (gradient accumulation)",
    )
    epochs: int = Field(16, ge=1, description="maximum number of epochs")
    patience: int = Field(
        8,
        title="Patience (epochs)",
        ge=1,
        description="epochs without improvement on the validation set before training stops; `monitor` is the measure",
    )
    monitor: Literal["metric", "loss"] = Field(
        "metric",
        title="Early stopping by",
        description="validation measure that selects the best epoch and stops training: metric (Jaccard; for a "
        "classifier, AUC), or loss, as in P1 and P3",
    )
    keep: Literal["best", "last"] = Field(
        "best",
        title="Epoch to keep",
        description="epoch of the model; last: independent of the validation set, without early stopping",
    )
    gradient_clip: float = Field(
        1.0, title="Maximum gradient norm", ge=0, description="maximum gradient norm; 0: not limited"
    )
    ema_decay: float = Field(
        0.0,
        title="Weight averaging (EMA decay)",
        ge=0,
        lt=1,
        description="decay of the moving average of the weights; 0: no averaging",
    )
    wise_ft_weight: float = Field(
        1.0,
        title="Weight interpolation (WiSE-FT)",
        gt=0,
        le=1,
        description="weight interpolation (WiSE-FT): weight of the trained values against those of the initial bundle",
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", title="Number format", description="auto: bf16 if faster"
    )
    device: Literal["auto", "cpu", "gpu"] = Field("auto", description="auto: a GPU if there is one")
    devices: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        1, title="Devices per machine", description="devices per machine; auto: all"
    )
    nodes: int = Field(1, title="Machines", ge=1, description="machines assigned by the cluster's scheduler")
    workers: int = Field(0, title="Data loading processes", ge=0, description="data loading processes")
    checkpoint_minutes: float = Field(
        5.0,
        title="Checkpoint interval (min)",
        gt=0,
        le=1440,
        description="minutes between checkpoints within an epoch, at which a run that was killed continues; the end of "
        "an epoch, a pause and a cancel are saved in any case",
    )
    samples: int = Field(
        6,
        title="Sample images per epoch",
        ge=0,
        le=64,
        description="validation images drawn with their prediction after each epoch",
    )
    trackers: tuple[str, ...] = Field(
        (),
        title="Trackers",
        description=f"programs that the run is also recorded for: {', '.join(TRACKER_NAMES)}; they write to the run "
        "folder unless the environment names a server",
    )
    seed: int = Field(0, title="Random seed", ge=0, description="seed of everything that is random")
    threshold_rule: Literal["steady", "best", "half"] = Field(
        "steady",
        description="best: the threshold of fifty in [0.5, 1] with the greatest validation Jaccard, as in P4; steady: "
        "the same, but a model that started from another keeps its threshold unless the best is better by more than "
        "chance; half: 0.5",
    )
    licence: str = Field("unknown", title="License", description="license of the resulting bundle")
    modalities: tuple[str, ...] = Field(
        (), title="Photograph types", description="types of photograph that the model is intended for"
    )
    tile: TileConfig | None = Field(None, description="for slide models: scale and size of the training tiles")
    prompts: PromptsConfig | None = Field(None, description="for segmentation by prompts: a simulated user")
    bags: BagConfig | None = Field(None, description="for classifiers of whole slides: training on embeddings of tiles")

    @property
    def needs_masks(self) -> bool:
        """Whether only images with a mask are used: not if a classifier views the whole image, or predicts masks."""
        options = self.classification
        return options is None or (options.view.region != "photograph" and options.masks != "predicted")

    @property
    def mask_kind(self) -> PixelKind:
        """The kind of masks: one lesion, or labels of several classes."""
        return "labels" if self.classes else "mask"

    def continues_from(self, config: BundleConfig) -> bool:
        """Whether all weights of a model can be used as initial weights, or only its encoder.

        True for the same task and, for a segmentation, the same classes in the same order or one lesion in both; always
        False if ``model.start_weights`` is the encoder.
        """
        if self.model.start_weights == "encoder":
            return False
        if config.task != self.task or self.task == "classification":
            return config.task == self.task
        return config.classes == self.classes if self.classes else config.segments_one_class

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_task(cls, values: Any) -> Any:  # noqa: ANN401 - any content of a file
        """Fill in the defaults that depend on the task; explicit values take precedence."""
        if not isinstance(values, dict):
            return values
        if values.get("teacher") is not None:
            raise ValueError("distillation is not supported any more. Remove the section 'teacher' to train on labels")
        if values.get("task") != "classification":
            if isinstance(model := values.get("model"), dict) and answers_prompts(model.get("architecture")):
                values = {"prompts": {}, **values}
            classes = values.get("classes")
            return _with_multi_class_defaults(values) if classes and isinstance(classes, list | tuple) else values
        model = values.get("model", {})
        bags = values.get("bags") is not None
        if isinstance(model, dict):
            model = {**(BAG_MODEL_DEFAULTS if bags else {"architecture": "image_tabular"}), **model}
        defaults = {"title": "Lesion classification", "loss": "cross_entropy", "classification": {}}
        defaults |= BAG_RECIPE_DEFAULTS if bags else {}
        return {**defaults, **values, "model": model}

    @model_validator(mode="after")
    def _check_task(self) -> Self:
        if (self.task == "classification") != (self.classification is not None):
            raise ValueError(f"task is {self.task}: the section 'classification' is valid for classification only")
        name, spec = self.model.architecture, list_architectures()[self.model.architecture].spec
        expected = "bags" if self.bags is not None else self.task
        if spec.task != expected:
            raise ValueError(f"the architecture '{name}' is for {spec.task}, but the task is {expected}")
        if (self.prompts is not None) != spec.answers_prompts:
            raise ValueError(
                f"the section 'prompts' and an architecture that answers prompts require each other; found '{name}' "
                f"{'with' if self.prompts is not None else 'without'} the section"
            )
        if self.tile is not None and self.model.preprocessing.is_on:
            raise ValueError(
                f"model.preprocessing is on ({self.model.preprocessing.description}), but slides are analyzed without "
                "it: set the stain of tiles in the options of the slide analysis"
            )
        if self.classification is not None and self.data.replay:
            raise ValueError(
                "data.replay is supported for segmentation only; a classifier trains on all of data.datasets"
            )
        if without_effect := [key for key in self._list_irrelevant_options() if _is_changed(self, key)]:
            tasks = {"several classes": self.classes, "whole slides": self.bags, "a classifier": self.classification}
            kind = next((name for name, section in tasks.items() if section), "prompts or slides")
            raise ValueError(f"{', '.join(without_effect)}: without effect in a recipe for {kind}. Remove it")
        if losses()[self.loss].spec.task != self.task:
            raise ValueError(
                f"the loss '{self.loss}' is for {losses()[self.loss].spec.task}, but the task is {self.task}"
            )
        if self.task == "classification" and self.classes:
            raise ValueError(
                "'classes' lists the classes of label images; set those of a classifier in classification.classes"
            )
        return self

    @model_validator(mode="after")
    def _check_trackers(self) -> Self:
        if unknown := [name for name in self.trackers if name not in TRACKER_NAMES]:
            raise ValueError(f"trackers has '{unknown[0]}', expected some of {', '.join(TRACKER_NAMES)}")
        return self

    def _list_irrelevant_options(self) -> tuple[str, ...]:
        """List the options that have no effect for the task."""
        if self.task == "classification":
            return ("lesion_weight", "threshold_rule", *VIEWS_OPTIONS, *(IMAGE_OPTIONS if self.bags else ()))
        if self.classes:
            return ("threshold_rule", *VIEWS_OPTIONS)
        if self.prompts is not None:
            return VIEWS_OPTIONS
        return VIEWS_OPTIONS if self.tile or SLIDE in self.modalities else ()

    @model_validator(mode="after")
    def _check_validation(self) -> Self:
        if self.data.validation_fraction > 0:
            return self
        if self.task == "classification":
            raise ValueError(
                "data.validation_fraction is 0, but a classifier is calibrated on validation images: set a share such "
                "as 0.1, which is not used in data sets with the split 'val' (data.validation_split)"
            )
        needs_threshold = self.threshold_rule != "half" and not self.classes
        if self.keep != "last" or needs_threshold or self.data.replay:
            rule = "" if self.classes else " and threshold_rule = 'half'"
            raise ValueError(
                "data.validation_fraction is 0: set a share such as 0.1, which is not used in data sets with the split "
                f"'val' (data.validation_split), or set keep = 'last'{rule} and leave data.replay empty"
            )
        return self

    @model_validator(mode="after")
    def _check_depth(self) -> Self:
        config = self.classification
        if config is None or self.bags is not None:
            return self
        spec, options = list_architectures()[self.model.architecture].spec, None
        if spec.name == DEPTH_NETWORK:
            options = cast("BiomarkerConfig", spec.config.parse(self.model.options, "model.options"))
        augmentation, region = self.augmentation, config.view.region
        if why := depth_mismatch(config.depth, options, region, augmentation.scale, augmentation.aspect):
            raise ValueError(why)
        if config.stages == 2 and (self.devices != 1 or self.nodes != 1):
            raise ValueError("two-stage training needs one device: set devices and nodes to 1, or stages to 1")
        return self

    @model_validator(mode="after")
    def _check_bags(self) -> Self:
        if self.bags is None:
            return self
        if self.classification is None:
            raise ValueError("'bags' requires a classifier of whole slides: set task to classification")
        unsupported = [*unsupported_bag_options(self.classification), *(["tile"] if self.tile else [])]
        if self.model.start != "none":
            unsupported.append(f"model.start = '{self.model.start}'")
        if unsupported:
            raise ValueError(
                f"{', '.join(unsupported)}: not available for slides as bags of embeddings, which have no image "
                "or initial weights. Remove it"
            )
        return self

    @model_validator(mode="after")
    def _check_classes(self) -> Self:
        if self.task == "classification":
            return self
        if self.classes and len(set(self.classes)) < max(2, len(self.classes)):
            raise ValueError(f"classes are {', '.join(self.classes)}, expected two or more, each once")
        maps = self.model.options.get("classes", 1)
        if maps != max(1, len(self.classes)):
            raise ValueError(
                f"model.options has classes = {maps}, but the recipe lists {len(self.classes)} classes: remove it "
                "from the options, and list the values of the label images in 'classes'"
            )
        if self.classes and not losses()[self.loss].spec.multi_class:
            fitting = ", ".join(name for name, loss in losses().items() if loss.spec.multi_class)
            raise ValueError(f"the loss '{self.loss}' supports lesion and skin only; for several classes use {fitting}")
        if self.classes and self.lesion_weight not in (1, "auto"):
            raise ValueError(
                "lesion_weight applies to lesion and skin only; for several classes remove it or set 'auto'"
            )
        return self


def _with_multi_class_defaults(values: dict[str, Any]) -> dict[str, Any]:
    """Fill in the defaults for several classes: one output map per class, and a multi-class loss."""
    model_values = values.get("model", {})
    model = model_values.model_dump() if isinstance(model_values, ModelConfig) else model_values
    if isinstance(model, dict) and isinstance(model.get("options", {}), dict):
        model = {**model, "options": {"classes": len(values["classes"]), **model.get("options", {})}}
    return {"title": "Tissue segmentation", "loss": "ce_dice", **values, "model": model}
