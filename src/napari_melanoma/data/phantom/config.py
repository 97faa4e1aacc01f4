"""What can be asked of a phantom lesion; apart from the drawing, so that command line and docks can list it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from napari_melanoma.core.config import Config

PhantomModality = Literal["dermoscopic", "macroscopic"]
Structure = Literal["network", "globules", "homogeneous"]
Side = Annotated[int, Field(ge=16, le=8192)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class LesionOptions(Config):
    """How each lesion looks; ``None`` is drawn from the seed, for each lesion anew."""

    diameter_mm: Annotated[float, Field(ge=0.5, le=60)] | None = Field(
        None, description="diameter of the disc of equal area in mm"
    )
    centre: tuple[Share, Share] | None = Field(
        None, description="centre of the first lesion as a fraction of height and width; it may reach out of the image"
    )
    elongation: Annotated[float, Field(ge=1, le=3)] | None = Field(None, description="longer over shorter axis")
    irregularity: Share | None = Field(None, description="how ragged the border is: 0 an oval, 1 notched and lobed")
    asymmetry: Share | None = Field(None, description="how unlike its halves are, in shape and in colour")
    variegation: Share | None = Field(None, description="how many colours: 0 one brown, 1 tan to black, red and grey")
    darkness: Share | None = Field(None, description="how much pigment: 0 a faint tan, 1 nearly black")
    fade_mm: Annotated[float, Field(ge=0.02, le=3)] | None = Field(
        None, description="half of the width over which the border fades, in mm"
    )
    structure: Structure | None = Field(None, description="the pattern of the pigment")
    contrast: Share | None = Field(None, description="how clearly the pattern is seen")
    blotches: Share | None = Field(None, description="dark structureless areas")
    veil: Share | None = Field(None, description="a blue-white veil over a part")
    height: Share | None = Field(None, description="how far it rises over the skin, seen where light is slanting")


class SkinOptions(Config):
    """What the skin around the lesions shows; ``None`` is drawn from the seed."""

    mottling: Share | None = Field(None, description="uneven pigment and blood")
    furrows: Share | None = Field(None, description="relief: furrows and pores")
    freckles: Share | None = Field(None, description="small faint spots, which are no lesion")
    redness: Share | None = Field(None, description="red areas, which are no lesion")


class ArtefactOptions(Config):
    """What lies on the skin and is no lesion; ``None`` is drawn from the seed."""

    hairs: Annotated[int, Field(ge=0, le=200)] | None = Field(None, description="number of hairs")
    ruler: bool | None = Field(None, description="a scale with a tick each mm")
    bubbles: Annotated[int, Field(ge=0, le=100)] | None = Field(None, description="number of gel bubbles")
    ink: bool | None = Field(None, description="a pen line around the first lesion")


class CameraOptions(Config):
    """How the picture was taken; ``None`` is drawn from the seed."""

    aperture: bool | None = Field(None, description="black outside of the round field of the dermoscope")
    vignette: Share | None = Field(None, description="how much darker the corners are")
    gradient: Share | None = Field(None, description="how uneven the light is from side to side")
    shine: Share | None = Field(None, description="specular reflections of the relief")
    cast: Share | None = Field(None, description="how far the white balance is off")
    blur_mm: Annotated[float, Field(ge=0, le=1)] | None = Field(None, description="sigma of the blur in mm on the skin")
    noise: Share | None = Field(None, description="noise of the sensor")


class LesionPhantomConfig(Config):
    """Which phantom lesion to draw; the same values give the same lesion, and ``None`` is drawn from the seed.

    A size with the same ratio of height to width changes the resolution alone: the lesion stays what and where it is.
    """

    seed: int = Field(0, ge=0, description="what all that is not given is drawn from")
    modality: PhantomModality = Field("dermoscopic", description="kind of photograph")
    size: tuple[Side, Side] = Field((450, 600), description="height and width in pixels")
    field_mm: Annotated[float, Field(ge=5, le=200)] | None = Field(None, description="width of the view in mm")
    skin_type: Annotated[int, Field(ge=1, le=6)] | None = Field(None, description="Fitzpatrick I to VI as 1 to 6")
    lesions: int = Field(1, ge=0, le=12, description="how many lesions, 0 for none")
    lesion: LesionOptions = LesionOptions()
    skin: SkinOptions = SkinOptions()
    artefacts: ArtefactOptions = ArtefactOptions()
    camera: CameraOptions = CameraOptions()
