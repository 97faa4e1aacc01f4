"""The recipe: one frozen value that describes a training run completely; read from TOML, kept in the run folder."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from napari_melanoma.core.config import Config


class DataConfig(Config):
    """Which images are learnt from, and which of them only steer the training."""

    datasets: tuple[str, ...] = Field(min_length=1, description="folders of data sets")
    split: str = Field("train", min_length=1, description="the split that is learnt from; 'all': every image")
    tuning_fraction: float = Field(
        0.1, gt=0, lt=0.5, description="share of that split (whole patients or lesions) that picks epoch and threshold"
    )
    cache_size: int = Field(320, ge=32, description="side in pixels at which images are kept decoded")


class ModelConfig(Config):
    """Which network, and what it starts from."""

    architecture: str = Field("deeplabv3plus", description="a name of the zoo")
    options: dict[str, Any] = Field(default_factory=dict, description="the architecture's own options")
    start: str = Field("imagenet", description="'imagenet' (encoder), 'none', or a bundle's name or folder")
    input_size: int = Field(256, ge=32, multiple_of=32, description="side in pixels of the network's input")


class AugmentationConfig(Config):
    """How training images are varied; each amount is the most that is drawn."""

    scale: tuple[float, float] = Field((0.6, 1.6), description="magnification is drawn between these")
    aspect: float = Field(1.25, ge=1, description="one side may be stretched by this factor against the other")
    shift: float = Field(0.15, ge=0, le=1, description="of the side, in each direction")
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


class TrainRecipe(Config):
    """A training run of a segmentation network, from data to bundle."""

    name: str = Field("lesion", min_length=1, description="name of the bundle that comes out")
    title: str = Field("Lesion segmentation", description="one line for a list of models")
    task: Literal["segmentation"] = "segmentation"
    data: DataConfig
    model: ModelConfig = ModelConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    loss: Literal["bce_dice", "bce", "soft_dice", "soft_jaccard"] = "bce_dice"
    learning_rate: float = Field(2e-3, gt=0, description="highest of the one-cycle schedule")
    encoder_rate: float = Field(0.5, gt=0, le=1, description="the encoder's learning rate relative to it")
    weight_decay: float = Field(1e-2, ge=0)
    batch_size: int = Field(16, ge=2)
    epochs: int = Field(16, ge=1)
    patience: int = Field(8, ge=1, description="epochs without a better tuning Jaccard before it stops")
    gradient_clip: float = Field(1.0, gt=0)
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="auto: bf16 where the processor has it")
    device: Literal["auto", "cpu", "gpu"] = "auto"
    workers: int = Field(0, ge=0, description="processes that prepare images")
    seed: int = Field(0, ge=0)
    licence: str = Field("unknown", description="of the bundle that comes out")
    modalities: tuple[str, ...] = Field((), description="kinds of photograph it is meant for")
