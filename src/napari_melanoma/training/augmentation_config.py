"""The augmentation of training images as part of a recipe."""

from __future__ import annotations

from math import inf
from typing import Literal

from pydantic import Field, field_validator

from napari_melanoma.core.config import Config

NO_VARIATION = {"scale": (1.0, 1.0), "aspect": 1.0}  # values without augmentation that are not 0
SAMPLING_NOTE = "the other images are sampled uniformly, whatever data.sampling is"


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
        return all(value == NO_VARIATION.get(name, 0) for name, value in amounts.items())
