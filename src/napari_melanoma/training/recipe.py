"""The recipe: one frozen value that describes a training run, for every task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self, cast

import numpy as np
from pydantic import Field, model_validator

from napari_melanoma.core.config import Config, OneOf, OptionsOf
from napari_melanoma.core.errors import DataSetError
from napari_melanoma.core.prediction_config import (
    DEPTH_COLUMN,
    DepthInputConfig,
    DepthScale,
    PreprocessingConfig,
    TabularConfig,
    TileConfig,
    ViewConfig,
)
from napari_melanoma.metrics.agreement import standardize_depth
from napari_melanoma.models.weights_location import START_WORDS, find_weights_file
from napari_melanoma.models.zoo import list_architectures
from napari_melanoma.training.losses import losses
from napari_melanoma.training.schedules import schedules

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_melanoma.core.prediction_config import TabularEncoding
    from napari_melanoma.data.features.encoding import TableValues
    from napari_melanoma.models.blocks.options import BiomarkerConfig
    from napari_melanoma.models.bundle import BundleConfig
    from napari_melanoma.training.pixel_store import PixelKind

DEPTH_NETWORK = "biomarker"  # the architecture with a depth module
MIN_CASES = 3  # fewest cases for any statistic


NO_LABEL = -1  # class index of unlabeled images
OTHER_DOMAIN_KEY, PARTNER_KEY = 2**40, 2**41  # added to the key of an image for the additional images of its batch
class DepthTargetConfig(Config):
    """Depth as a second target; cases of unknown depth contribute to the class loss only."""

    column: str = Field(DEPTH_COLUMN, min_length=1, description="table column with the depth in mm")
    weight: float = Field(1.0, gt=0, le=100, description="weight of the depth loss relative to the class loss")
    loss: Literal["smooth_l1", "gaussian_nll"] = Field(
        "smooth_l1",
        description="smooth_l1: absolute error, squared if small; gaussian_nll: the network also predicts its "
        "uncertainty, which requires model.options.heteroscedastic",
    )


def depth_mismatch(
    depth: DepthTargetConfig | None,
    options: BiomarkerConfig | None,
    region: str,
    scale: tuple[float, float],
    aspect: float,
) -> str:
    """Explain which options of a recipe do not fit a depth in mm; "" if all do."""
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
            f"classification.depth needs a network with a depth module: set "
            f"model.architecture = '{DEPTH_NETWORK}' with "
            "use_depth, or remove classification.depth"
        )
    assert options is not None
    if (depth.loss == "gaussian_nll") != options.heteroscedastic:
        return "the loss gaussian_nll and model.options.heteroscedastic require each other: set both, or neither"
    if region != "photograph":
        return (
            "a depth in mm needs images of constant scale, but a crop around the lesion has any scale: set "
            "classification.view.region = 'photograph'"
        )
    if scale != (1, 1) or aspect != 1:
        return (
            f"a magnified image changes the apparent depth: set augmentation.scale = [1, 1] and aspect = 1 (found "
            f"{list(scale)} and {aspect:g})"
        )
    return ""


def depth_options(options: BiomarkerConfig, data: ClassData) -> dict[str, Any]:
    """Return the options of a depth network that follow from the training data.

    These are ``depth_mean`` and ``depth_std`` on the network's scale and, if the classifier uses measured depths, their
    position among the tabular inputs.
    """
    found: dict[str, Any] = {}
    if options.predicts_depth:
        plain = standardize_depth(data.learn.depth_mm, DepthScale(log=options.depth_log))
        known = plain[~np.isnan(plain)]
        if len(known) < MIN_CASES:
            raise DataSetError(
                f"{len(known)} of {len(plain)} training images have a depth, expected at least {MIN_CASES}. Fill in the "
                "column that classification.depth.column names, or remove classification.depth."
                "the column that classification.depth.column names, or leave classification.depth out."
            )
        found = {"depth_mean": round(float(known.mean()), 6), "depth_std": round(float(known.std()) or 1.0, 6)}
    if options.predicts_depth and options.depth_source == "measured":
        found["measured"] = _measured_depth_input(data.encoding).model_dump(mode="json")
    return found


def depth_metrics(predicted_mm: NDArray[np.float64], true_mm: NDArray[np.float64]) -> dict[str, float]:
    """Evaluate predicted depths.

    ``predicted_mm``, ``true_mm``: float64 (image,); NaN if unknown. Returns ``tuning_depth_mae_mm`` and
    ``tuning_depth_r`` (Pearson; 0 if all predictions are equal); empty if there are too few cases.
    """
    """
    known = ~np.isnan(true_mm)
    said, true = predicted_mm[known], true_mm[known]
    if len(true) < MIN_CASES:
        return {}
    spread = float(predicted.std() * true.std())
    correlation = float(((predicted - predicted.mean()) * (true - true.mean())).mean()) / together if together > 0 else 0.0
    return {"tuning_depth_mae_mm": float(np.abs(said - true).mean()), "tuning_depth_r": related}


def _measured_depth_input(encoding: TabularEncoding | None) -> DepthInputConfig:
    """Position and scale of the measured depth among the tabular inputs."""
    columns = encoding.numbers if encoding else ()
    for column in columns:
        if column.name == DEPTH_COLUMN and column.encoding == "standardised" and column.has_indicator:
            assert encoding is not None
            place = [one.field for one in encoding.continuous].index(DEPTH_COLUMN)
            return DepthInputConfig(place=place, mean=column.mean, std=column.std)
    raise DataSetError(
        f'depth_source = "measured" needs {{ name = "{DEPTH_COLUMN}", missing = "unknown" }} among '
        "classification.tabular.numbers. Add it, or set model.options.depth_source to predicted."
    )


BAG_RECIPE_DEFAULTS: dict[str, Any] = {
    "title": "Slide classification",
    "batch_size": 4,
    "learning_rate": 5e-4,
    "epochs": 50,
    "patience": 10,
    "precision": "fp32",  # two small layers: half precision saves no time and costs digits
}
BAG_MODEL_DEFAULTS = {"architecture": "attention_mil", "start": "none"}


class BagConfig(Config):
    """Slides as bags of embeddings: the tiles sampled per epoch. Validation uses all tiles."""
tiles: int = Field(4096, ge=1, description="greatest number of tiles of a slide in a training step, sampled per epoch")
    )


def unsupported_bag_options(config: ClassificationConfig) -> list[str]:
    """Return the changed options of a classification that do not apply to bags of embeddings."""
    usual = type(config)()
    names = (
        *("view", "masks", "tabular", "features", "mixup", "cutmix", "mirrored", "freeze_encoder", "adaptation"),
        *("stages", "depth"),
    )
    return [f"classification.{name}" for name in names if getattr(config, name) != getattr(usual, name)]


class AdaptationConfig(Config):
    """Adaptation of a classifier to another domain; ``to`` lists data sets whose labels are not used.

    The domains are those of the training images and those of ``to``.
    """
    """

    method: Literal["none", "adversarial", "coral", "adabn", "fourier", "pseudo_labels"] = Field(
        description="adversarial: features do not distinguish the domains (gradient reversal); coral: covariances of the "
        "features are aligned; adabn: normalization statistics are computed on `to` after training; fourier: low "
        "frequencies are exchanged; pseudo_labels: confident predictions for `to` are used as labels",
        "pseudo_labels: sure answers for `to` are learnt from",
    )
    strength: float = Field(0.1, ge=0, le=10, description="weight of the second loss; of fourier, share of the images")
    reach: float = Field(0.05, gt=0, le=0.5, description="of fourier: how far from the mean, as a share of the side")
    to: tuple[str, ...] = Field((), description="folders of data sets without answers, seen by the second loss alone")
    sure: float = Field(0.9, gt=0.5, lt=1, description="of pseudo_labels: probability from which an answer is a label")


class ClassificationConfig(Config):
    """A classification: its target column, the network's inputs, and the calibration of its predictions."""

    target: str = Field("melanoma", min_length=1, description="column of the table that holds the answer")
    classes: tuple[str, ...] = Field(
        (),
        description="values of the column, in order; empty: all values in the training rows, or for 1/0: other and the "
        "column name",
    )
    positive: str = Field("melanoma", min_length=1, description="the class that sensitivity is about")
    view: ViewConfig = ViewConfig()
    masks: Literal["reference", "predicted"] = Field(
        "reference", description="where the roi comes from: the data set's masks, or those that a model draws"
    )
    segmenter: str = Field("lesion-small", min_length=1, description="the model that draws them")
    tabular: TabularConfig | None = Field(None, description="columns of the table that the network gets; none: pixels")
    features: str = Field("", description="a table of `data features`, whose columns can be chosen too")
    drop_field: float = Field(0.1, ge=0, lt=1, description="chance that a field of a row is taken away while learning")
    drop_form: float = Field(0.25, ge=0, lt=1, description="chance that a row is shown without any of them")
    class_weight: Literal["none", "balanced"] = Field("none", description="balanced: rare classes count more")
    label_smoothing: float = Field(0.0, ge=0, lt=0.5)
    focal_gamma: float = Field(2.0, ge=0, le=10, description="of the focal loss")
    mixup: float = Field(0.0, ge=0, le=1, description="chance that an image is blended with another, answers too")
    cutmix: float = Field(0.0, ge=0, le=1, description="chance that a patch of another image covers it, answers too")
    freeze_encoder: bool = Field(False, description="only what stands behind the encoder learns")
    stages: Literal[1, 2] = Field(
        1, description="2: image and depth learn first, by themselves; then the head alone, over what they have learnt"
    )
    first_stage: float = Field(0.6, gt=0, lt=1, description="of two stages, share of the epochs that the first takes")
    depth: DepthTargetConfig | None = Field(None, description="a depth that is learnt beside the class")
    mirrored: bool = Field(False, description="the model answers by the mean over a view and its mirror images")
    sensitivity: float = Field(0.9, gt=0, lt=1, description="at which the operating point is chosen")
    coverage: float = Field(0.9, gt=0, lt=1, description="how often the set of classes shall hold the true one")
    neighbours: bool = Field(False, description="keep the ids of the training cases, to show those that are alike")
    adaptation: AdaptationConfig = AdaptationConfig()

    @model_validator(mode="after")
    def _check_classes(self) -> Self:
        if self.classes and len(set(self.classes)) < max(2, len(self.classes)):
            raise ValueError(f"classes are {self.classes}, expected two or more, each once")
        if self.classes and self.positive not in self.classes:
            raise ValueError(f"positive is '{self.positive}', expected one of the classes ({', '.join(self.classes)})")
        return self


NO_VARIATION = {"scale": (1.0, 1.0), "aspect": 1.0}  # amounts that vary nothing; every other is 0
SAMPLING_NOTE = "the others are drawn evenly, whatever data.sampling is"


class DataConfig(Config):
    """The images of a run: training, validation and test sets, and how they are sampled."""

    datasets: tuple[str, ...] = Field(min_length=1, description="folders of data sets")
    split: str = Field("train", min_length=1, description="the split that is learnt from; 'all': every image")
    held_out_split: str = Field("val", min_length=1, description="the split that the new model is judged on, unseen")
    held_out_fraction: float = Field(
        0.2, ge=0, lt=0.9, description="share of the patients of images without a split that is kept for judging"
    )
    tuning_fraction: float = Field(
        0.1, gt=0, lt=0.5, description="share of the patients to learn from that picks epoch and threshold instead"
    )
    base: tuple[str, ...] = Field((), description="folders of data sets that keep a model from forgetting")
    base_share: float = Field(0.5, gt=0, lt=1, description="share of each batch that comes from them")
    sampling: Literal["shuffle", "balanced", "mixed"] = Field(
        "shuffle",
        description="balanced: each class as often, drawn with replacement; mixed: half of a batch so, half shuffled",
    )
    balance_by: Literal["diagnosis", "domain"] = Field("diagnosis", description="what a class is when sampling")
    cache_size: int = Field(320, ge=32, le=2048, description="side in pixels at which images are kept decoded")


class ModelConfig(Config):
    """The network, and its initial weights."""

    architecture: Annotated[str, OneOf(list_architectures, lambda name: list_architectures()[name].spec.title)] = Field(
        "deeplabv3plus", description="a name of the zoo"
    )
    options: Annotated[
        dict[str, Any], OptionsOf("architecture", lambda name: list_architectures()[name].spec.config)
    ] = Field(default_factory=dict, description="the architecture's own options")
    start: str = Field("imagenet", description="'imagenet' (encoder), 'none', a bundle or its folder, or a file")
    take: Literal["all", "encoder"] = Field(
        "all", description="of a bundle of the same task: all of it; or its encoder, with a new head for any classes"
    )
    input_size: int = Field(256, ge=32, le=2048, multiple_of=32, description="side in pixels of the network's input")
    preprocessing: PreprocessingConfig = PreprocessingConfig()
    pixels: Literal["usual", "unit"] = Field(
        "usual", description="usual: less a mean, over a spread, as the start or this program has them; unit: in [0, 1]"
    )
    freeze_normalisation: bool = Field(
        False,
        description="keep the statistics of batch normalisation as they are, as few images ask for",
    )

    @model_validator(mode="after")
    def _check_options(self) -> Self:
        config = list_architectures()[self.architecture].spec.config
        options = config.parse(self.options, f"the options of '{self.architecture}'")
        least: int = getattr(options, "least_size", 0)
        if self.input_size < least:
            raise ValueError(f"with these options {self.architecture} needs an input_size of {least} or more")
        return self

    @property
    def starts_from_bundle(self) -> bool:
        """Whether training starts from a model bundle."""
        return self.start not in START_WORDS and find_weights_file(self.start) is None


class AugmentationConfig(Config):
    """Augmentation of training images; each amount is the greatest that is drawn."""

    scale: tuple[float, float] = Field((0.6, 1.6), description="magnification is drawn between these")
    aspect: float = Field(1.25, ge=1, description="one side may be stretched by this factor against the other")
    shift: float = Field(0.15, ge=0, le=1, description="of the side, in each direction")
    rotation: float = Field(180, ge=0, le=180, description="degrees, either way")
    flip: bool = Field(True, description="mirror one image in two")
    elsewhere_probability: float = Field(
        0.06, ge=0, le=1, description="a near view of another part, often without a lesion or with a part of one"
    )
    brightness: float = Field(0.35, ge=0)
    contrast: float = Field(0.3, ge=0)
    saturation: float = Field(0.25, ge=0)
    hue: float = Field(0.03, ge=0, le=0.5)
    blur_probability: float = Field(0.15, ge=0, le=1, description="gaussian, sigma up to 2 px")
    sharpen_probability: float = Field(
        0.15, ge=0, le=1, description="users' photographs are sharper than the training's"
    )
    coarse_probability: float = Field(0.15, ge=0, le=1, description="shrunk and enlarged again, down to a third")
    jpeg_probability: float = Field(0.25, ge=0, le=1, description="JPEG quality 30 to 95")
    noise_probability: float = Field(0.15, ge=0, le=1, description="gaussian, standard deviation up to 0.04")
    mosaic_probability: float = Field(0, ge=0, le=1, description=f"four images, one in each corner; {SAMPLING_NOTE}")
    cutmix_probability: float = Field(
        0, ge=0, le=1, description=f"a patch of another image with its mask; {SAMPLING_NOTE}"
    )
    hair_probability: float = Field(0, ge=0, le=1, description="4 to 24 artificial hairs, most of them dark")
    bubbles_probability: float = Field(0, ge=0, le=1, description="2 to 12 bubbles of air in the gel")
    vignette_probability: float = Field(0, ge=0, le=1, description="dark corners, soft or sharp")
    cutout_probability: float = Field(0, ge=0, le=1, description="a square is covered, its mask stays")

    @property
    def is_off(self) -> bool:
        """Whether images are used without augmentation other than flips."""
        return all(value == NO_VARIATION.get(name, 0) for name, value in self.model_dump(exclude={"flip"}).items())


class TrainRecipe(Config):
    """A training run, from data to bundle."""

    name: str = Field("lesion", min_length=1, description="name of the bundle that comes out")
    title: str = Field("Lesion segmentation", description="one line for a list of models")
    task: Literal["segmentation", "classification"] = "segmentation"
    classes: tuple[str, ...] = Field(
        (), max_length=256, description="names of the values 0, 1, 2 ... of label images; none: masks of one lesion"
    )
    data: DataConfig
    classification: ClassificationConfig | None = Field(None, description="of a classifier: what it tells, and of what")
    model: ModelConfig = ModelConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    loss: Annotated[str, OneOf(losses, lambda name: losses()[name].spec.title)] = Field(
        "bce_dice", description="what learning makes as small as it can"
    )
    lesion_weight: Annotated[float, Field(gt=0)] | Literal["auto"] = Field(
        1.0, description="weight of lesion pixels against skin in cross-entropy; auto: from their shares"
    )
    optimiser: Literal["adamw", "adam", "sgd"] = "adamw"
    learning_rate: float = Field(2e-3, gt=0, le=10, description="the highest of the schedule")
    0.5, gt=0, le=1, description="learning-rate multiplier of the encoder; 1 if model.start is 'none'"
        0.5, gt=0, le=1, description="the encoder's learning rate relative to it; 1 where model.start is 'none'"
    )
    weight_decay: float = Field(1e-2, ge=0, le=1)
    schedule: Annotated[str, OneOf(schedules, lambda name: schedules()[name].spec.title)] = Field(
        "one_cycle", description="how the learning rate goes"
    )
    cycle_epochs: float = Field(
        4, gt=0, le=1000, description="epochs of the first cycle of cosine_restarts; other schedules have none"
    )
    cycle_growth: float = Field(2, ge=1, le=10, description="each further cycle is so many times as long")
    batch_size: Annotated[int, Field(ge=2)] | Literal["auto"] = Field(
        16, description="images of one step, over all devices together; auto: what fits and runs fastest"
    )
    pieces: int = Field(
        1, ge=1, description="each device computes its share of a step in so many pieces (gradient accumulation)"
    )
    epochs: int = Field(16, ge=1)
    patience: int = Field(
        8, ge=1, description="epochs without a greater tuning Jaccard, of a classifier AUC, before it stops"
    )
    keep: Literal["best", "last"] = Field(
        "best",
        description="of which epoch the model is; last: the tuning images have no say in it, and nothing stops early",
    )
    gradient_clip: float = Field(1.0, gt=0, description="greatest norm of the gradient")
    ema_decay: float = Field(
        0.0, ge=0, lt=1, description="the model is a moving average of the weights with this decay; 0: the weights"
    )
    blend: float = Field(
        1.0,
        gt=0,
        le=1,
        description="share of what was learnt in the model; the rest stays as the bundle it started from",
    )
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="auto: bf16 where it is quicker")
    device: Literal["auto", "cpu", "gpu"] = "auto"
    devices: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        1, description="how many of them on each machine; auto: all"
    )
    nodes: int = Field(1, ge=1, description="machines, as the cluster's scheduler gives them")
    workers: int = Field(0, ge=0, description="processes that read images ahead")
    samples: int = Field(6, ge=0, le=64, description="tuning images whose prediction is drawn after each epoch")
    seed: int = Field(0, ge=0)
    threshold_rule: Literal["steady", "best", "half"] = Field(
        description="best: the threshold of fifty in [0.5, 1] with the greatest validation Jaccard, as in P4; steady: the "
        "same, but a model that started from another keeps its threshold unless the best is better by more than chance; "
        "half: 0.5",
        "a model that started from another keeps the other's unless the best is better by more than chance; half: 0.5",
    )
    licence: str = Field("unknown", description="of the bundle that comes out")
    modalities: tuple[str, ...] = Field((), description="kinds of photograph it is meant for")
    tile: TileConfig | None = Field(
        None, description="of a model of slides: scale and size of the tiles it learns from"
    )
    bags: BagConfig | None = Field(
        None, description="of a classifier of whole slides, which learns from the embeddings of their tiles"
    )

    @property
    def mask_kind(self) -> PixelKind:
        """The kind of masks: one lesion, or labels of several classes."""
        return "labels" if self.classes else "mask"

    def continues_from(self, config: BundleConfig) -> bool:
        """Whether all weights of a model can be used as initial weights, or only its encoder.

        True for the same task and, for a segmentation, the same classes in the same order or one lesion in both; always
        False if ``model.take`` is the encoder.
        """
        """
        if self.model.take == "encoder":
            return False
        if config.task != self.task or self.task == "classification":
            return config.task == self.task
        return config.classes == self.classes if self.classes else config.segments_one_class

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_task(cls, values: Any) -> Any:  # noqa: ANN401 - whatever a file holds
        """Fill in the defaults that depend on the task."""
        if not isinstance(values, dict):
            return values
        if values.get("task") != "classification":
            return _with_multi_class_defaults(values) if values.get("classes") else values
        model = values.get("model", {})
        bags = values.get("bags") is not None
        if isinstance(model, dict):
            model = {**(BAG_MODEL_DEFAULTS if bags else {"architecture": "image_tabular"}), **model}
        own = {"title": "Lesion classification", "loss": "cross_entropy", "classification": {}}
        own |= BAG_RECIPE_DEFAULTS if bags else {}
        return {**own, **values, "model": model}

    @model_validator(mode="after")
    def _check_task(self) -> Self:
        if (self.task == "classification") != (self.classification is not None):
            raise ValueError(f"task is {self.task}: the part 'classification' belongs to classification alone")
        name, spec = self.model.architecture, list_architectures()[self.model.architecture].spec
        expected = "bags" if self.bags is not None else self.task
        if spec.task != wanted:
            raise ValueError(f"the architecture '{name}' is for {spec.task}, the task is {wanted}")
        if self.classification is not None and self.data.base:
            "data.base is supported for segmentation only; a classifier trains on all of data.datasets"
                "data.base keeps a segmentation model from forgetting; a classifier learns from all of data.datasets"
            )
        if losses()[self.loss].spec.task != self.task:
            raise ValueError(f"the loss '{self.loss}' is for {losses()[self.loss].spec.task}, the task is {self.task}")
        if self.task == "classification" and self.classes:
            raise ValueError(
                "'classes' are those of label images; name those of a classifier in classification.classes"
            )
        return self

    @model_validator(mode="after")
    config = self.classification
        config = self.classification
        if asked is None or self.bags is not None:
            spec, options = list_architectures()[self.model.architecture].spec, None
        spec, told = list_architectures()[self.model.architecture].spec, None
        if spec.name == DEPTH_NETWORK:
            augmentation, region = self.augmentation, config.view.region
            if why := depth_mismatch(config.depth, options, region, augmentation.scale, augmentation.aspect):
                raise ValueError(why)
            raise ValueError(said)
        if asked.stages == 2 and (self.devices != 1 or self.nodes != 1):
            raise ValueError("two stages are learnt on one device: set devices and nodes to 1, or stages to 1")
        return self

    @model_validator(mode="after")
    def _check_bags(self) -> Self:
        if self.bags is None:
            return self
        if self.classification is None:
            raise ValueError("'bags' is of a classifier of whole slides: set task to classification")
        unsupported = [*unsupported_bag_options(self.classification), *(["tile"] if self.tile else [])]
        if self.model.start != "none":
            unsupported.append(f"model.start = '{self.model.start}'")
        if unsupported:
            f"{', '.join(unsupported)}: not available for slides as bags of embeddings, which have no image, clinical "
            "metadata or initial weights. Remove it"
                "Leave it out"
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
            f"model.options has classes = {maps}, but the recipe lists {len(self.classes)} classes: remove it from the "
            "options, and list the values of the label images in 'classes'"
                "of the options, and name the values of the label images in 'classes'"
            )
        if self.classes and not losses()[self.loss].spec.multi_class:
            fitting = ", ".join(name for name, known in losses().items() if known.spec.multi_class)
            raise ValueError(f"the loss '{self.loss}' knows lesion and skin alone; for several classes take {fitting}")
        if self.classes and self.lesion_weight not in (1, "auto"):
            raise ValueError("lesion_weight is of lesion against skin; for several classes leave it out or say 'auto'")
        return self


def _with_multi_class_defaults(values: dict[str, Any]) -> dict[str, Any]:
    """Fill in the defaults for several classes: one output map per class, and a multi-class loss."""
    given = values.get("model", {})
    model = given.model_dump() if isinstance(given, ModelConfig) else given
    if isinstance(model, dict) and isinstance(model.get("options", {}), dict):
        model = {**model, "options": {"classes": len(values["classes"]), **model.get("options", {})}}
    return {"title": "Tissue segmentation", "loss": "ce_dice", **values, "model": model}

OTHER_DOMAIN_KEY, PARTNER_KEY = 2**40, 2**41  # added to the key of an image for those that stand behind it


"""The labels and tabular values of one part, in the order of its cache.
class ClassPart:
    ``labels``: int64 (image,), class indices; ``NO_LABEL`` for unlabeled images. ``values``: tabular values; None
    without a table. ``domains``: int64 (image,), index of the data set among the domains. ``depth_mm``: float64
    (image,), NaN if unknown or not used.
    """
    """

    labels: NDArray[np.int64]
    values: TableValues | None
    domains: NDArray[np.int64]
    depth_mm: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ClassData:
    """The classes, tabular values and domains of a classification.
``names``: the classes, in the order of the logits. ``encoding``: encoding of table rows as inputs, fitted on the
training set; None without a table.
"""
    """

    names: tuple[str, ...]
    encoding: TabularEncoding | None
    domains: tuple[str, ...]
    learn: ClassPart
    tuning: ClassPart
    unlabelled: ClassPart

    @property
    def counts(self) -> tuple[int, ...]:
        """Training images of each class."""
        return tuple(int((self.learn.labels == place).sum()) for place in range(len(self.names)))


class ClassBatch(NamedTuple):
    """A batch of a classification: labeled images, unlabeled images, and mixing partners.
``images`` is uint8 (batch, 3, row, column), ``masks`` uint8 (batch, 1, row, column) or without rows if no mask is
known, ``keys`` int64 (labeled, 2): epoch and key, ``shares`` float32 (labeled, class), each row summing to 1.
``continuous`` float32 (seen, input), ``categories`` int64 (seen, embedding) and ``domains`` int64 (seen,) belong to
all images but the partners, ``partner_shares`` float32 (partner, class), ``depth_mm`` float32 (labeled,), NaN if
unknown.
"""
    """

    images: Tensor
    masks: Tensor
    keys: NDArray[np.int64]
    shares: Tensor
    continuous: Tensor
    categories: Tensor
    domains: Tensor
    partner_shares: Tensor
    depth_mm: Tensor
