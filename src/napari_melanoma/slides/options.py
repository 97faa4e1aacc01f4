"""Options of the analysis of a slide, and whether the predictions are valid for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from napari_melanoma.core.config import Config
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.validity import ScaleMatch, Validity, ValidityInputs, is_scale_refused
from napari_melanoma.phantoms.markers import is_phantom
from napari_melanoma.slides.lesions import LesionConfig
from napari_melanoma.slides.scores import SlideScoreConfig
from napari_melanoma.slides.stain import StainConfig
from napari_melanoma.slides.tiling import Border
from napari_melanoma.slides.tissue import TissueConfig

if TYPE_CHECKING:
    from napari_melanoma.io.slide_store import SlideResult
    from napari_melanoma.slides.reading.slide import SlideInfo
    from napari_melanoma.slides.tile_models import TileModelInfo
    from napari_melanoma.slides.tiling import TileGrid

DENSE_OVERLAP = 0.125  # of a side: where neighbors meet, dense maps are blended over so much
DIGEST_DIGITS = 16  # of a hash that tells one picture from another
EXECUTION_OPTIONS = (
    "weights",
    "download",
    "device",
    "precision",
    "batch_size",
    "workers",
    "lesions",
    "score",
    "target",
    "prevalence",
    "accept_scale",
)


class SlideOptions(Config):
    """How a slide is analyzed."""

    model: str = Field("", description="a bundle, timm:NAME, or a published encoder; empty: the one that is shipped")
    weights: Path | None = Field(None, description="local file with an encoder's weights")
    download: bool = Field(False, description="let an encoder's weights be fetched from where they are published")
    mpp: float | None = Field(
        None, ge=0.01, le=100, description="micrometers per pixel of the slide; none: what its file states"
    )
    accept_scale: bool = Field(
        False, description="analyze although the scale is far from the model's; outputs are marked as not valid"
    )
    tile_mpp: float | None = Field(None, gt=0, le=100, description="micrometers per pixel of a tile; none: the model's")
    tile_um: float | None = Field(None, gt=0, description="side of a tile in micrometers; decides if given")
    overlap: float | None = Field(
        None, ge=0, le=0.9, description="share of a tile's side that the next sees again; none: an eighth of dense maps"
    )
    border: Border = Field("pad", description="of tiles that reach outside the slide")
    region: tuple[int, int, int, int] | None = Field(
        None, description="top, left, height, width in pixels of the finest level; none: all that was scanned"
    )
    tissue: TissueConfig = TissueConfig()
    tissue_mask: Path | None = Field(None, description="PNG of the whole slide, white in tissue; none: it is found")
    min_tissue: float = Field(0.1, ge=0, le=1, description="share of a tile that must be tissue")
    stain: StainConfig | None = Field(None, description="colors brought to those of a reference; none: as they are")
    stain_reference: Path | None = Field(None, description="picture whose stain is the reference; none: a usual one")
    apply_profile: bool = Field(False, description="convert colors by the slide's ICC profile")
    target: str = Field("", description="class that heatmap and lesions are about; empty: the model's own")
    prevalence: float | None = Field(
        None, gt=0, lt=1, description="share of slides of the positive class where it is used"
    )
    lesions: LesionConfig = LesionConfig()
    score: SlideScoreConfig = SlideScoreConfig()
    batch_size: int = Field(32, ge=1, le=4096, description="tiles in one pass of the network")
    workers: int = Field(0, ge=0, le=256, description="threads that read; 0: as many as cores")
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["auto", "bf16", "fp32"] = Field("auto", description="auto: bf16 where the processor has it")

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if self.region is not None and (min(self.region[2:]) < 1):
            raise ValueError(f"region is {self.region}: height and width are at least 1 pixel")
        return self

    @property
    def normalizes_stain(self) -> bool:
        """Whether colors are brought to a reference at all: the method ``none`` is as good as no word about it."""
        return self.stain is not None and self.stain.method != "none"

    @property
    def tile_settings(self) -> dict[str, Any]:
        """What the values of tiles depend on; beside it only how they are computed, and what is made of them."""
        kept = self.model_dump(mode="json", exclude={*EXECUTION_OPTIONS, "tissue_mask", "stain_reference"})
        if not self.normalizes_stain:
            kept["stain"] = None
        return {key: value for key, value in kept.items() if value is not None}


def hashed_tile_settings(options: SlideOptions) -> dict[str, Any]:
    """Say all that the values of tiles depend on: files count by what is in them, whatever they are called.

    Returns as JSON has it; options that were left out are left out here.
    """
    from napari_melanoma.core.provenance import array_fingerprint

    given = options.tile_settings
    if options.tissue_mask is not None:
        from napari_melanoma.io.results import read_mask

        given["tissue_mask"] = array_fingerprint(read_mask(options.tissue_mask))[:DIGEST_DIGITS]
    if options.stain_reference is not None and options.normalizes_stain:
        from napari_melanoma.io.photographs import read_photograph

        given["stain_reference"] = array_fingerprint(read_photograph(options.stain_reference).rgb)[:DIGEST_DIGITS]
    return given


UM = 1000.0  # in a millimeter
OUT_OF_DISTRIBUTION_SHARE = 0.1  # of the tiles looked at, those that may look unfamiliar


def match_scale(grid: TileGrid, model: TileModelInfo, options: SlideOptions) -> ScaleMatch:
    """Compare the scale of tiles with the scale that a model was trained at.

    Enlarged tiles count as coarse as the slide is: enlarging adds no detail. Who states the scale of tiles accepts it.
    """
    size, seen = grid.pixel_size, grid.mpp
    found = None if size is None or seen is None else max(*seen, size.y_um, size.x_um)
    is_stated = options.tile_mpp is not None or options.tile_um is not None
    return ScaleMatch(found, model.mpp, accepted=options.accept_scale or is_stated)


def check_scale(slide: SlideInfo, grid: TileGrid, model: TileModelInfo, options: SlideOptions) -> None:
    """Refuse tiles that show something else entirely than what a model was trained on."""
    scale = match_scale(grid, model, options)
    if is_scale_refused(scale):
        raise InputError(
            f"the scale of {slide.path.name} is wrong for '{model.name}': tiles would show {scale.found_um:.3g} µm per "
            f"pixel, and the model was trained at {scale.expected_um:g} µm. That is off by a factor of "
            f"{scale.factor:.3g}: nothing that it predicts has a meaning. If the file states a wrong scale, set "
            "the true one under Scale in the Slide dock (command line: --mpp); else choose a model for this scale. "
            "'accept scale' under Options in the Slide dock (command line: --accept-scale) analyzes it all the same "
            "and marks all outputs as not valid."
        )


def check_slide_validity(
    slide: SlideInfo,
    grid: TileGrid,
    model: TileModelInfo,
    options: SlideOptions,
    result: SlideResult,
    out_of_distribution_share: float | None,
) -> Validity:
    """Return whether the predictions for a slide are valid."""
    from napari_melanoma.io.slide_spec import FAILED

    size, finest = grid.pixel_size, slide.levels[0]
    wide = None if size is None else min(finest.height * size.y_um, finest.width * size.x_um) / UM
    return ValidityInputs(
        model.name,
        demonstration=model.demonstration,
        synthetic_share=model.synthetic_share,
        synthetic_input=is_phantom(slide.path),
        scale=match_scale(grid, model, options),
        field_mm=wide,
        model_field_mm=model.side_px * model.mpp / UM,
        distance=out_of_distribution_share,
        limit=OUT_OF_DISTRIBUTION_SHARE,
        failed_share=float((result.state == FAILED).sum()) / max(1, len(result.order)),
        calibrated=model.calibrated,
    ).check()
