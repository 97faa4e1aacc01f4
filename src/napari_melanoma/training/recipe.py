"""The recipe: one frozen value that describes a training run completely; read from TOML, kept in the run folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, cast

from pydantic import Field, model_validator

from napari_melanoma.core.config import Config, OneOf, OptionsOf
from napari_melanoma.core.preprocessing import PreprocessingConfig
from napari_melanoma.core.tile import TileConfig
from napari_melanoma.models.weights_files import WORDS, weights_file
from napari_melanoma.models.zoo import architectures
from napari_melanoma.training.bagging import DEFAULTS, NETWORK, BagConfig, out_of_place
from napari_melanoma.training.classifying import ClassificationConfig
from napari_melanoma.training.depth_learning import NETWORK as DEPTH_NETWORK
from napari_melanoma.training.depth_learning import misfit
from napari_melanoma.training.losses import losses
from napari_melanoma.training.schedules import schedules

if TYPE_CHECKING:
    from napari_melanoma.models.bundle import BundleConfig
    from napari_melanoma.models.zoo.biomarker import BiomarkerConfig
    from napari_melanoma.training.cache_index import Kind

STILL = {"scale": (1.0, 1.0), "aspect": 1.0}  # amounts that vary nothing; every other is 0
EVENLY = "the others are drawn evenly, whatever data.sampling is"


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

    architecture: Annotated[str, OneOf(architectures, lambda name: architectures()[name].spec.title)] = Field(
        "deeplabv3plus", description="a name of the zoo"
    )
    options: Annotated[dict[str, Any], OptionsOf("architecture", lambda name: architectures()[name].spec.config)] = (
        Field(default_factory=dict, description="the architecture's own options")
    )
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
    def _options_fit(self) -> Self:
        config = architectures()[self.architecture].spec.config
        options = config.parse(self.options, f"the options of '{self.architecture}'")
        least: int = getattr(options, "least_size", 0)
        if self.input_size < least:
            raise ValueError(f"with these options {self.architecture} needs an input_size of {least} or more")
        return self

    @property
    def starts_from_bundle(self) -> bool:
        """Whether it goes on from a model that knows the task already."""
        return self.start not in WORDS and weights_file(self.start) is None


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
    mosaic_probability: float = Field(0, ge=0, le=1, description=f"four images, one in each corner; {EVENLY}")
    cutmix_probability: float = Field(0, ge=0, le=1, description=f"a patch of another image with its mask; {EVENLY}")
    hair_probability: float = Field(0, ge=0, le=1, description="4 to 24 artificial hairs, most of them dark")
    bubbles_probability: float = Field(0, ge=0, le=1, description="2 to 12 bubbles of air in the gel")
    vignette_probability: float = Field(0, ge=0, le=1, description="dark corners, soft or sharp")
    cutout_probability: float = Field(0, ge=0, le=1, description="a square is covered, its mask stays")

    @property
    def is_still(self) -> bool:
        """Whether images are shown as they are, or as they are in a mirror: every amount is none."""
        return all(value == STILL.get(name, 0) for name, value in self.model_dump(exclude={"flip"}).items())


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
    def mask_kind(self) -> Kind:
        """As what masks are read: where one lesion is, or which of several classes each pixel is of."""
        return "labels" if self.classes else "mask"

    def goes_on_from(self, config: BundleConfig) -> bool:
        """Say whether it can go on from the whole of a model; of another it takes the encoder alone.

        True where both are of one task, and of a segmentation draw one lesion or the same classes in one order; never
        where ``model.take`` asks for the encoder.
        """
        if self.model.take == "encoder":
            return False
        if config.task != self.task or self.task == "classification":
            return config.task == self.task
        return config.classes == self.classes if self.classes else config.draws_one_class

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_task(cls, values: Any) -> Any:  # noqa: ANN401 - whatever a file holds
        """Fill in what a task has for a default of its own."""
        if not isinstance(values, dict):
            return values
        if values.get("task") != "classification":
            return _with_a_map_a_class(values) if values.get("classes") else values
        model = values.get("model", {})
        bags = values.get("bags") is not None
        if isinstance(model, dict):
            model = {**(NETWORK if bags else {"architecture": "image_tabular"}), **model}
        own = {"title": "Lesion classification", "loss": "cross_entropy", "classification": {}}
        own |= DEFAULTS if bags else {}
        return {**own, **values, "model": model}

    @model_validator(mode="after")
    def _fits_its_task(self) -> Self:
        if (self.task == "classification") != (self.classification is not None):
            raise ValueError(f"task is {self.task}: the part 'classification' belongs to classification alone")
        name, spec = self.model.architecture, architectures()[self.model.architecture].spec
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
    def _fits_a_depth(self) -> Self:
        asked = self.classification
        if asked is None or self.bags is not None:
            return self
        spec, told = architectures()[self.model.architecture].spec, None
        if spec.name == DEPTH_NETWORK:
            told = cast("BiomarkerConfig", spec.config.parse(self.model.options, "model.options"))
        varied = self.augmentation
        if said := misfit(asked.depth, told, asked.view.region, varied.scale, varied.aspect):
            raise ValueError(said)
        if asked.stages == 2 and (self.devices != 1 or self.nodes != 1):
            raise ValueError("two stages are learnt on one device: set devices and nodes to 1, or stages to 1")
        return self

    @model_validator(mode="after")
    def _fits_slides(self) -> Self:
        if self.bags is None:
            return self
        if self.classification is None:
            raise ValueError("'bags' is of a classifier of whole slides: set task to classification")
        strange = [*out_of_place(self.classification), *(["tile"] if self.tile else [])]
        if self.model.start != "none":
            strange.append(f"model.start = '{self.model.start}'")
        if strange:
            raise ValueError(
                f"{', '.join(strange)}: not for slides as bags of embeddings, which have no picture, form or start. "
                "Leave it out"
            )
        return self

    @model_validator(mode="after")
    def _classes_fit(self) -> Self:
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
        if self.classes and not losses()[self.loss].spec.several:
            fitting = ", ".join(name for name, known in losses().items() if known.spec.several)
            raise ValueError(f"the loss '{self.loss}' knows lesion and skin alone; for several classes take {fitting}")
        if self.classes and self.lesion_weight not in (1, "auto"):
            raise ValueError("lesion_weight is of lesion against skin; for several classes leave it out or say 'auto'")
        return self


def _with_a_map_a_class(values: dict[str, Any]) -> dict[str, Any]:
    """Fill in what several classes have for defaults: a map of the network for each, a loss that tells them apart."""
    given = values.get("model", {})
    model = given.model_dump() if isinstance(given, ModelConfig) else given
    if isinstance(model, dict) and isinstance(model.get("options", {}), dict):
        model = {**model, "options": {"classes": len(values["classes"]), **model.get("options", {})}}
    return {"title": "Tissue segmentation", "loss": "ce_dice", **values, "model": model}
