"""The augmentation of training images as part of a recipe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from math import inf
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, create_model, field_validator

from napari_melanoma.core.config import Config, OneOf, OptionsOf, omit_unset
from napari_melanoma.core.plugins import object_family

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

NO_VARIATION = {"scale": (1.0, 1.0), "aspect": 1.0}  # values without augmentation that are not 0
SAMPLING_NOTE = "the other images are sampled uniformly, whatever data.sampling is"


@dataclass(frozen=True)
class AugmentationSpec:
    """Metadata of an augmentation of a plug-in: its name in recipes, title and source."""

    name: str
    title: str
    reference: str


AugmentationFunction = Callable[["Tensor", "Sequence[np.random.Generator]"], "Tensor"]


@dataclass(frozen=True)
class Augmentation:
    """An augmentation of a plug-in, applied to the randomly selected images of a batch; masks are unchanged.

    ``function``: maps images, float32 (image, 3, row, column) in [0, 255], and a source of random numbers for each
    image to images of the same shape; values outside the range are clipped.
    """

    spec: AugmentationSpec
    function: AugmentationFunction


def list_augmentation(spec: AugmentationSpec) -> Callable[[AugmentationFunction], Augmentation]:
    """Make an augmentation of the decorated function, for recipes and docks."""
    return partial(Augmentation, spec)


# Those of this package have fields of their own in ``AugmentationConfig``.
AUGMENTATIONS = object_family(
    "augmentations", __name__, Augmentation, "a function with list_augmentation of training.augmentation_config"
)


@cache
def _plugin_options(names: tuple[str, ...]) -> type[Config]:
    """Return the configuration with a probability for each augmentation of a plug-in, for forms."""
    fields: Any = {
        name: (float, Field(0.0, ge=0, le=1, title=AUGMENTATIONS.label(name), description="probability"))
        for name in names
    }
    return create_model("PluginAugmentationConfig", __base__=Config, **fields)


class AugmentationConfig(Config):
    """Augmentation of training images; the amounts are limits of random changes."""

    scale: tuple[float, float] = Field(
        (0.6, 1.6), title="Magnification", description="range of the random magnification"
    )
    aspect: float = Field(
        1.25, title="Maximum stretch", ge=1, description="maximum stretching of one side relative to the other"
    )
    shift: float = Field(
        0.15, title="Shift (share of the side)", ge=0, le=1, description="share of the side, in each direction"
    )
    rotation: float = Field(180, title="Rotation (degrees)", ge=0, le=180, description="degrees in either direction")
    flip: bool = Field(True, description="flip half of the images horizontally")
    vertical_flip: bool = Field(
        False,
        description="flip half of the images vertically too; adds nothing to horizontal flips with rotations by 180 "
        "degrees",
    )
    elsewhere_probability: float = Field(
        0.06,
        title="Close-up probability",
        ge=0,
        le=1,
        description="probability of a close-up of another region, often with no lesion or only part of one",
    )
    brightness: float = Field(0.35, title="Brightness change", ge=0)
    contrast: float = Field(0.3, title="Contrast change", ge=0)
    saturation: float = Field(0.25, title="Saturation change", ge=0)
    hue: float = Field(0.03, title="Hue change", ge=0, le=0.5)
    blur_probability: float = Field(0.15, ge=0, le=1, description="gaussian, sigma up to 2 px")
    sharpen_probability: float = Field(
        0.15, ge=0, le=1, description="users' photographs are sharper than the training images"
    )
    coarse_probability: float = Field(
        0.15,
        title="Low-resolution probability",
        ge=0,
        le=1,
        description="downsampled and upsampled again, down to a third",
    )
    jpeg_probability: float = Field(
        0.25, title="JPEG compression probability", ge=0, le=1, description="JPEG quality 30 to 95"
    )
    noise_probability: float = Field(0.15, ge=0, le=1, description="gaussian, standard deviation up to 0.04")
    mosaic_probability: float = Field(0, ge=0, le=1, description=f"four images, one in each corner; {SAMPLING_NOTE}")
    mosaic_seam: Literal["random", "center"] = Field(
        "random",
        title="Seam of a mosaic",
        description="where the four images meet; random: each is cropped to its corner; center: four whole images at "
        "half their size, as in P2",
    )
    cutmix_probability: float = Field(
        0,
        title="CutMix probability",
        ge=0,
        le=1,
        description=f"a patch of another image with its mask; {SAMPLING_NOTE}",
    )
    hair_probability: float = Field(0, ge=0, le=1, description="4 to 24 artificial hairs, most of them dark")
    bubbles_probability: float = Field(
        0, title="Air bubble probability", ge=0, le=1, description="2 to 12 air bubbles in the gel"
    )
    vignette_probability: float = Field(0, ge=0, le=1, description="dark corners, soft or sharp")
    cutout_probability: float = Field(0, ge=0, le=1, description="a square is covered, the mask is unchanged")

    plugins: Annotated[
        dict[Annotated[str, OneOf.members_of(AUGMENTATIONS)], Annotated[float, Field(ge=0, le=1)]] | None,
        OptionsOf("", lambda _: _plugin_options(tuple(AUGMENTATIONS.members))),
    ] = Field(
        None, title="Augmentations of plug-ins", description="probability of each augmentation of a plug-in, by name"
    )

    _omit_unset = omit_unset("plugins")

    @field_validator("plugins")
    @classmethod
    def _leave_out_unused(cls, plugins: dict[str, float] | None) -> dict[str, float] | None:
        return {name: probability for name, probability in (plugins or {}).items() if probability > 0} or None

    @field_validator("scale")
    @classmethod
    def _check_scale(cls, scale: tuple[float, float]) -> tuple[float, float]:
        if not all(0 < end < inf for end in scale):
            raise ValueError(f"expected two magnifications above 0, found {list(scale)}")
        return scale

    @property
    def is_off(self) -> bool:
        """Whether images are used without augmentation other than horizontal flips."""
        amounts = self.model_dump(exclude={"flip", "mosaic_seam"})
        return all((value or 0) == NO_VARIATION.get(name, 0) for name, value in amounts.items())
