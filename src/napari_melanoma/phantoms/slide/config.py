"""Options of a phantom slide, and the tissue labels of its pixels."""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from napari_melanoma.core.config import Config, OneOf
from napari_melanoma.phantoms.slide.looks import look_names

LookFamily = Literal["train", "test"]
Side = Annotated[int, Field(ge=256, le=2**17)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class SlideLesionOptions(Config):
    """Lesions of each section; values that are ``None`` are chosen at random by the seed."""

    malignant: int = Field(1, ge=0, le=4, description="invasive melanomas in each section")
    benign: int = Field(1, ge=0, le=4, description="nevi in each section")
    breslow_mm: Annotated[float, Field(ge=0.15, le=8)] | None = Field(
        None,
        description="Breslow thickness of the first melanoma in mm, from the granular layer or the ulcer's base; "
        "by default random",
    )
    width_mm: Annotated[float, Field(ge=0.3, le=20)] | None = Field(None, description="width of the first melanoma")
    ulceration: bool | None = Field(None, description="whether the first melanoma is ulcerated; by default random")
    pigment: Share | None = Field(None, description="melanin in the cells: 0 none, 1 black")
    mitoses_per_mm2: Annotated[float, Field(ge=0, le=60)] | None = Field(None, description="mitoses in a melanoma")
    necrosis: float = Field(
        0.0, ge=0, le=0.5, allow_inf_nan=False, description="necrotic share of each melanoma, in pale ragged areas"
    )
    position: Share | None = Field(
        None, description="position of the first lesion along the section; at 0 and 1 it is cut by the section's end"
    )


class SectionOptions(Config):
    """The piece of skin; values that are ``None`` are chosen at random by the seed."""

    width_mm: Annotated[float, Field(ge=0.3, le=60)] | None = Field(None, description="along the surface")
    depth_mm: Annotated[float, Field(ge=0.3, le=20)] | None = Field(None, description="from the surface down")
    rotation_deg: Annotated[float, Field(ge=-180, le=180)] | None = Field(
        None, description="rotation of the section on the glass"
    )
    oblique_deg: float = Field(
        0.0, ge=0, le=60, description="tilt of the section plane in degrees; all layers appear thicker"
    )


class SlideArtifactOptions(Config):
    """Artifacts of the slide."""

    pens: int = Field(0, ge=0, le=8, description="pen marks on the glass")
    folds: int = Field(0, ge=0, le=8, description="folds in each section")
    defocus: int = Field(0, ge=0, le=20, description="areas that are out of focus")


class SlidePhantomConfig(Config):
    """Options of a phantom slide; equal options give the same slide.

    Values that are ``None`` are chosen at random by the seed.
    """

    seed: int = Field(0, ge=0, description="seed of all random choices")
    size: tuple[Side, Side] = Field((8192, 8192), description="height and width in pixels")
    mpp: float = Field(0.5, ge=0.2, le=1.0, description="micrometers per pixel")
    family: LookFamily = Field("train", description="appearances to choose from: for training, or reserved for tests")
    look: Annotated[str, OneOf(look_names)] | None = Field(
        None, description="name of one appearance: stain, texture and nuclei; by default random"
    )
    stain_strength: float = Field(1.0, ge=0.2, le=1.6, description="strength of the stain: 1 is usual, 0.4 pale")
    stain_variation: Share = Field(0.4, description="variation of hue and strength around the look")
    sections: int = Field(1, ge=0, le=24, description="pieces of skin; 0 gives a blank slide")
    lesions: SlideLesionOptions = SlideLesionOptions()
    section: SectionOptions = SectionOptions()
    artefacts: SlideArtifactOptions = SlideArtifactOptions()
    levels: Annotated[int, Field(ge=1, le=12)] | None = Field(
        None, description="levels of the pyramid, each half the one before; by default down to one tile"
    )


FIRST_LESION_LABEL = 32  # label of the first lesion of a section; the label of lesion i is 32 + i


class TissueKind(IntEnum):
    """Labels of pixels, besides those of lesions; their order has no meaning."""

    GLASS = 0
    DERMIS = 1
    KERATIN = 2
    EPIDERMIS = 3
    FAT = 4
    SHEATH = 5
    INNER_SHEATH = 6
    HAIR = 7
    SEBACEOUS = 8
    ECCRINE = 9
    LUMEN = 10
    WALL = 11
    BLOOD = 12
    INFILTRATE = 13
    CRUST = 14
    MUSCLE = 15
    NERVE = 16
    STROMA = 17
    NECROSIS = 18


def _make_class_table() -> np.ndarray:
    """Return the class of each label, uint8 (256,)."""
    classes = np.ones(256, np.uint8)
    classes[[TissueKind.GLASS, TissueKind.KERATIN, TissueKind.CRUST]] = 0
    classes[TissueKind.EPIDERMIS] = 2
    classes[FIRST_LESION_LABEL:] = 3
    classes[TissueKind.NECROSIS] = 3  # necrotic tumor counts as tumor, also for the thickness
    return classes


CLASS_OF = _make_class_table()  # by label; classes: 0 background, 1 dermis, 2 epidermis, 3 tumor
