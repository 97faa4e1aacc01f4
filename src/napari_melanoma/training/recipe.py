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
MIN_CASES = 3  # cases of which anything can be said


class DepthTargetConfig(Config):
    """The depth as a second thing to learn; cases of which it is not known teach the class alone."""

    column: str = Field(DEPTH_COLUMN, min_length=1, description="column of the table that holds it, in mm")
    weight: float = Field(1.0, gt=0, le=100, description="of its loss beside that of the class")
    loss: Literal["smooth_l1", "gaussian_nll"] = Field(
        "smooth_l1",
        description="smooth_l1: absolute error, squared where it is small; gaussian_nll: the network tells how sure it "
        "is, which model.options.heteroscedastic asks for",
    )


def depth_mismatch(
    depth: DepthTargetConfig | None,
    options: BiomarkerConfig | None,
    region: str,
    scale: tuple[float, float],
    aspect: float,
) -> str:
    """Say what of a recipe does not go with a depth in mm.

    A sentence; "" where all is well.
    """
    tells = options is not None and options.predicts_depth
    if depth is None:
        return (
            "the network has a depth module, and nothing to teach it: add [classification.depth], or set "
            "model.options.use_depth = false"
            if tells
            else ""
        )
    if not tells:
        return (
            f"classification.depth needs a network with a depth module: set "
            f"model.architecture = '{DEPTH_NETWORK}' with "
            "use_depth, or leave it out"
        )
    assert options is not None
    if (depth.loss == "gaussian_nll") != options.heteroscedastic:
        return "the loss gaussian_nll and model.options.heteroscedastic go together: set both, or neither"
    if region != "photograph":
        return (
            "a depth in mm needs pictures of one scale, and the square around a lesion is of any: set "
            "classification.view.region = 'photograph'"
        )
    if scale != (1, 1) or aspect != 1:
        return (
            f"a picture that is magnified shows another depth: set augmentation.scale = [1, 1] and aspect = 1 (found "
            f"{list(scale)} and {aspect:g})"
        )
    return ""


def depth_options(options: BiomarkerConfig, data: ClassData) -> dict[str, Any]:
    """Give what the data decide of a network that tells a depth.

    Returns ``depth_mean`` and ``depth_std`` on the network's scale and, where the classifier gets measured depths,
    where they stand among its inputs.
    """
    found: dict[str, Any] = {}
    if options.predicts_depth:
        plain = standardize_depth(data.learn.depth_mm, DepthScale(log=options.depth_log))
        known = plain[~np.isnan(plain)]
        if len(known) < MIN_CASES:
            raise DataSetError(
                f"{len(known)} of {len(plain)} images to learn from have a depth, expected {MIN_CASES} at least. Fill in "
                "the column that classification.depth.column names, or leave classification.depth out."
            )
        found = {"depth_mean": round(float(known.mean()), 6), "depth_std": round(float(known.std()) or 1.0, 6)}
    if options.predicts_depth and options.depth_source == "measured":
        found["measured"] = _measured_depth_input(data.encoding).model_dump(mode="json")
    return found


def depth_metrics(predicted_mm: NDArray[np.float64], true_mm: NDArray[np.float64]) -> dict[str, float]:
    """Measure depths that were told.

    ``said_mm``, ``true_mm``: float64 (image,); NaN where it is not known. Returns ``tuning_depth_mae_mm`` and
    ``tuning_depth_r`` (Pearson; 0 where all that was said is the same); empty where hardly any is known.
    """
    known = ~np.isnan(true_mm)
    said, true = predicted_mm[known], true_mm[known]
    if len(true) < MIN_CASES:
        return {}
    together = float(said.std() * true.std())
    related = float(((said - said.mean()) * (true - true.mean())).mean()) / together if together > 0 else 0.0
    return {"tuning_depth_mae_mm": float(np.abs(said - true).mean()), "tuning_depth_r": related}


def _measured_depth_input(encoding: TabularEncoding | None) -> DepthInputConfig:
    """Where the measured depth stands among the inputs."""
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
    """Slides as bags of embeddings: what is drawn of each in an epoch. All tiles count when it is measured."""

    tiles: int = Field(
        4096, ge=1, description="tiles of a slide that a step learns from at most, drawn anew each epoch"
    )


def unsupported_bag_options(config: ClassificationConfig) -> list[str]:
    """Name the options of a classification that need pictures or a form, and say nothing of bags."""
    usual = type(config)()
    names = (
        *("view", "masks", "tabular", "features", "mixup", "cutmix", "mirrored", "freeze_encoder", "adaptation"),
        *("stages", "depth"),
    )
    return [f"classification.{name}" for name in names if getattr(config, name) != getattr(usual, name)]


class AdaptationConfig(Config):
    """How two domains are brought together; ``to`` names data sets whose answers are not used.

    The domains are those of the images that are learnt from, and those of ``to``.
    """

    method: Literal["none", "adversarial", "coral", "adabn", "fourier", "pseudo_labels"] = Field(
        "none",
        description="adversarial: features must not tell the domain (gradient reversal); coral: their covariances are "
        "drawn together; adabn: normalisation is measured on `to` at the end; fourier: low frequencies are swapped; "
        "pseudo_labels: sure answers for `to` are learnt from",
    )
    strength: float = Field(0.1, ge=0, le=10, description="weight of the second loss; of fourier, share of the images")
    reach: float = Field(0.05, gt=0, le=0.5, description="of fourier: how far from the mean, as a share of the side")
    to: tuple[str, ...] = Field((), description="folders of data sets without answers, seen by the second loss alone")
    sure: float = Field(0.9, gt=0.5, lt=1, description="of pseudo_labels: probability from which an answer is a label")


class ClassificationConfig(Config):
    """A classification: the column that is told, what the network gets, and how its answers are made honest."""

    target: str = Field("melanoma", min_length=1, description="column of the table that holds the answer")
    classes: tuple[str, ...] = Field(
        (), description="words of the column, in order; none: all of the training rows, of 1/0: other and the column"
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
    """Which images are learnt from, and which of them only steer the training."""

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
    """Which network, and what it starts from."""

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
        """Whether it goes on from a model that knows the task already."""
        return self.start not in START_WORDS and find_weights_file(self.start) is None


class AugmentationConfig(Config):
    """How training images are varied; each amount is the most that is drawn."""

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
        """Whether images are shown as they are, or as they are in a mirror: every amount is none."""
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
    encoder_rate: float = Field(
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
        "steady",
        description="best: of fifty in [0.5, 1] that with the highest tuning Jaccard, as in P4; steady: the same, but "
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
        """As what masks are read: where one lesion is, or which of several classes each pixel is of."""
        return "labels" if self.classes else "mask"

    def continues_from(self, config: BundleConfig) -> bool:
        """Say whether it can go on from the whole of a model; of another it takes the encoder alone.

        True where both are of one task, and of a segmentation draw one lesion or the same classes in one order; never
        where ``model.take`` asks for the encoder.
        """
        if self.model.take == "encoder":
            return False
        if config.task != self.task or self.task == "classification":
            return config.task == self.task
        return config.classes == self.classes if self.classes else config.segments_one_class

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_task(cls, values: Any) -> Any:  # noqa: ANN401 - whatever a file holds
        """Fill in what a task has for a default of its own."""
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
        wanted = "bags" if self.bags is not None else self.task
        if spec.task != wanted:
            raise ValueError(f"the architecture '{name}' is for {spec.task}, the task is {wanted}")
        if self.classification is not None and self.data.base:
            raise ValueError(
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
    def _check_depth(self) -> Self:
        asked = self.classification
        if asked is None or self.bags is not None:
            return self
        spec, told = list_architectures()[self.model.architecture].spec, None
        if spec.name == DEPTH_NETWORK:
            told = cast("BiomarkerConfig", spec.config.parse(self.model.options, "model.options"))
        varied = self.augmentation
        if said := depth_mismatch(asked.depth, told, asked.view.region, varied.scale, varied.aspect):
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
        strange = [*unsupported_bag_options(self.classification), *(["tile"] if self.tile else [])]
        if self.model.start != "none":
            strange.append(f"model.start = '{self.model.start}'")
        if strange:
            raise ValueError(
                f"{', '.join(strange)}: not for slides as bags of embeddings, which have no picture, form or start. "
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
            raise ValueError(
                f"model.options has classes = {maps}, and the recipe names {len(self.classes)} classes: leave it out "
                "of the options, and name the values of the label images in 'classes'"
            )
        if self.classes and not losses()[self.loss].spec.multi_class:
            fitting = ", ".join(name for name, known in losses().items() if known.spec.multi_class)
            raise ValueError(f"the loss '{self.loss}' knows lesion and skin alone; for several classes take {fitting}")
        if self.classes and self.lesion_weight not in (1, "auto"):
            raise ValueError("lesion_weight is of lesion against skin; for several classes leave it out or say 'auto'")
        return self


def _with_multi_class_defaults(values: dict[str, Any]) -> dict[str, Any]:
    """Fill in what several classes have for defaults: a map of the network for each, a loss that tells them apart."""
    given = values.get("model", {})
    model = given.model_dump() if isinstance(given, ModelConfig) else given
    if isinstance(model, dict) and isinstance(model.get("options", {}), dict):
        model = {**model, "options": {"classes": len(values["classes"]), **model.get("options", {})}}
    return {"title": "Tissue segmentation", "loss": "ce_dice", **values, "model": model}


NO_LABEL = -1  # in the place of a class
OTHER_DOMAIN_KEY, PARTNER_KEY = 2**40, 2**41  # added to the key of an image for those that stand behind it


@dataclass(frozen=True, eq=False)
class ClassPart:
    """The answers and rows of one part, in the order of its cache.

    ``labels``: int64 (image,), the place of the class among the names; ``UNANSWERED`` where nobody says. ``values``:
    what the rows say; None where pixels are all there is. ``domains``: int64 (image,), the place of the data set among
    the domains. ``depth_mm``: float64 (image,), NaN where it is not known or not learnt.
    """

    labels: NDArray[np.int64]
    values: TableValues | None
    domains: NDArray[np.int64]
    depth_mm: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ClassData:
    """What the data of a classification decide.

    ``names``: the classes, in the order of the logits. ``encoding``: how rows of the table become inputs, fitted on
    what is learnt from; None where pixels are all there is.
    """

    names: tuple[str, ...]
    encoding: TabularEncoding | None
    domains: tuple[str, ...]
    learn: ClassPart
    tuning: ClassPart
    unlabelled: ClassPart

    @property
    def counts(self) -> tuple[int, ...]:
        """Images to learn from of each class."""
        return tuple(int((self.learn.labels == place).sum()) for place in range(len(self.names)))


class ClassBatch(NamedTuple):
    """A batch of a classification: images with answers, those without, and partners that some are to be mixed with.

    ``images`` is uint8 (batch, 3, row, column), ``masks`` uint8 (batch, 1, row, column) or without rows where no mask
    is known, ``keys`` int64 (labelled, 2): epoch and key, ``shares`` float32 (labelled, class), each row summing to 1,
    ``continuous`` float32 (seen, input), ``categories`` int64 (seen, embedding) and ``domains`` int64 (seen,) are of
    all but the partners, ``partner_shares`` float32 (partner, class), ``depth_mm`` float32 (labelled,), NaN where it
    is not known.
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
